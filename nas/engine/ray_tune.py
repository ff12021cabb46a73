"""The search on Ray Tune: Tune executes and schedules, the driver decides and remembers.

Tune is never asked to remember: its searcher and callback hold the driver, and a new run of Tune starts from the store.
"""

import logging
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from types import FrameType
from typing import Any

import ray
from ray import tune
from ray.tune import Callback, CheckpointConfig, FailureConfig, RunConfig, Trainable, TuneConfig
from ray.tune.error import TuneError
from ray.tune.search import Searcher

from nas.driver import Driver
from nas.errors import NasError
from nas.job import Evaluator, Run, Step
from nas.packing import Slots
from studies.records import Trial, TrialState

MAX_RETRIES = 2
_STEP = "step_outcome"
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # it would wait for the running epochs and then throw them away
}


class ProxyTrainable(Trainable):  # type: ignore[misc]  # Ray is untyped here
    """One reused actor: a step is an epoch of the trial whose job it was given last."""

    def setup(self, config: dict[str, Any]) -> None:
        """Take a job; training starts in the first step, since Tune retries a failing step but not a failing set-up."""
        self._take(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next job in the same process."""
        self._take(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """One epoch; the trial is done when the step says in which state it ended."""
        step = self._run.step()
        return {_STEP: step, "done": step.state is not None}

    def _take(self, config: Mapping[str, Any]) -> None:
        self._run = Run(config["job"], config["evaluate"])


class Failure:
    """The first error that the driver raised under Tune, which would hand on its text only."""

    def __init__(self) -> None:
        self.error: Exception | None = None

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Keep an error that passes through."""
        try:
            yield
        except Exception as error:
            self.error = self.error or error
            raise


class DriverSearcher(Searcher):  # type: ignore[misc]
    """Tune's searcher: every suggestion is a trial that the driver has already stored."""

    def __init__(self, driver: Driver, evaluate: Evaluator) -> None:
        super().__init__(metric=None, mode=None)
        self.trials: dict[str, Trial] = {}
        self.failure = Failure()
        self._driver = driver
        self._evaluate = evaluate

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles searchers for a memory that is not its own here

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The next job; FINISHED when none is left, None (ask again) while a running trial may still turn out not to count."""
        with self.failure.kept():
            trial = self._driver.next_trial(worker=f"ray-{trial_id[:6]}")
        if trial is None:
            return None if self._driver.running else Searcher.FINISHED
        self.trials[trial_id] = trial
        return {"job": self._driver.job(trial), "evaluate": self._evaluate}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Nothing: the callback sees every report, this hook only some."""


class DriverCallback(Callback):  # type: ignore[misc]
    """Tune's callback: the one hook that sees every report, so what is stored is stored here."""

    def __init__(self, driver: Driver, searcher: DriverSearcher) -> None:
        self._driver = driver
        self._searcher = searcher

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any) -> None:
        """Record an epoch or the end of a trial."""
        self._record(trial, result[_STEP])

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Record a trial whose worker died once too often."""
        error = str(trial.get_error()).strip().splitlines() or ["no word from it"]
        reason = f"the worker was lost {MAX_RETRIES + 1} times: {error[-1]}"
        self._record(trial, Step(state=TrialState.FAILED, reason=reason))

    def _record(self, trial: Any, step: Step) -> None:
        with self._searcher.failure.kept():
            self._driver.record(self._searcher.trials[trial.trial_id], step)


def run_ray(driver: Driver, slots: Slots, evaluate: Evaluator) -> None:
    """Train what the driver lacks on reused actors of a Ray cluster started here and stopped afterwards."""
    if driver.missing == 0:
        return
    with _interruptible(driver), _cluster(slots), tempfile.TemporaryDirectory(prefix="nas-tune-") as folder:
        searcher = DriverSearcher(driver, evaluate)
        resources = tune.with_resources(ProxyTrainable, {"CPU": 1, "GPU": slots.gpus})
        tuner = tune.Tuner(resources, tune_config=_tune_config(searcher, slots.workers), run_config=_run_config(driver, searcher, folder))
        try:
            with redirect_stdout(sys.stderr):  # standard output belongs to the result
                tuner.fit()
        except TuneError:
            if searcher.failure.error is None:
                raise
            raise searcher.failure.error from None
    if driver.missing or driver.running:
        raise NasError("Ray Tune ended before the search did; the same command goes on from here")


def _tune_config(searcher: DriverSearcher, workers: int) -> TuneConfig:
    return TuneConfig(
        search_alg=searcher,
        metric=None,
        mode=None,
        num_samples=-1,
        reuse_actors=True,
        max_concurrent_trials=workers,
        trial_dirname_creator=lambda trial: str(trial.trial_id),
    )


def _run_config(driver: Driver, searcher: DriverSearcher, folder: str) -> RunConfig:
    return RunConfig(
        name=f"search-{int(time.time())}",
        storage_path=str(Path(folder).absolute()),
        verbose=0,
        callbacks=[DriverCallback(driver, searcher)],
        checkpoint_config=CheckpointConfig(checkpoint_at_end=False),
        failure_config=FailureConfig(max_failures=MAX_RETRIES),
    )


@contextmanager
def _interruptible(driver: Driver) -> Iterator[None]:
    """Ctrl-C also asks the driver to stop: Python drops a KeyboardInterrupt that is raised inside somebody's finaliser."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        driver.interrupted = True
        signal.default_int_handler(number, frame)

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _cluster(slots: Slots) -> Iterator[None]:
    """A Ray cluster of our own for as long as the search runs, quiet and without usage reporting."""
    os.environ.update(QUIET)
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # a failed trial is stored and shown by us
    try:
        ray.init(
            address="local",
            num_cpus=slots.workers,
            num_gpus=slots.logical_gpus,
            include_dashboard=False,
            log_to_driver=False,
            logging_level="ERROR",
        )
    except (ConnectionError, RuntimeError, OSError) as error:
        raise NasError(f"cannot start Ray on this machine: {error}; --engine local searches without it") from error
    try:
        yield
    finally:
        ray.shutdown()
