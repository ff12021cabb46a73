"""The search on Ray Tune: Tune executes and schedules, the driver decides and remembers.

Tune is never asked to remember: its searcher, scheduler and callback hold the driver, and a new run of Tune starts from the store. One
trial of Tune is one attempt of a stored trial, from its start, from a rung or from where an earlier attempt was lost.
"""

import faulthandler
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

from ray import cloudpickle, tune
from ray.exceptions import RayTaskError
from ray.tune import Callback, CheckpointConfig, FailureConfig, RunConfig, Trainable, TuneConfig
from ray.tune.error import TuneError
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from nas.driver import Driver
from nas.engine.cluster import cluster
from nas.engine.interrupts import interruptible
from nas.errors import NasError
from nas.job import Evaluator, Execution, Run, Step
from nas.packing import Slots
from nas.step_limit import HungStepError
from studies.records import Trial, TrialState

_STEP = "step_outcome"
GRACE_S = 10.0  # what a hung step leaves its process to end in good order


class ProxyTrainable(Trainable):  # type: ignore[misc]  # Ray is untyped here
    """One reused actor: a step is an epoch of the trial whose job it was given last."""

    def setup(self, config: dict[str, Any]) -> None:
        """Take a job; training starts in the first step, where what goes wrong is caught."""
        self._take(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next job in the same process."""
        self._run.close()
        self._take(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """One epoch; the trial is done when the step says in which state it ended. A step that hangs is an error: it ends this process."""
        if self._step_timeout is not None:  # a thread outside Python, for what holds up Python itself, and the end of this process
            faulthandler.dump_traceback_later(self._step_timeout + GRACE_S, exit=True, file=sys.__stderr__ or 2)
        step = self._run.step()
        faulthandler.cancel_dump_traceback_later()
        return {_STEP: step, "done": step.state is not None}

    def _take(self, config: Mapping[str, Any]) -> None:
        self._step_timeout = config["step_timeout"]
        self._run = Run(config["job"], config["evaluate"], step_timeout=self._step_timeout)


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


class Bridge:
    """The way from Tune's hooks to the driver, and of which stored trial each of Tune's is an attempt."""

    def __init__(self, driver: Driver, evaluate: Evaluator, how: Execution) -> None:
        self.failure = Failure()
        self._driver, self._evaluate, self._how = driver, evaluate, how
        self._trials: dict[str, Trial] = {}

    def begin(self, trial_id: str) -> dict[str, Any] | str | None:
        """The configuration of the next attempt; FINISHED when none is left, None (ask again) while a running one may leave another."""
        with self.failure.kept():
            trial = self._driver.next_trial(worker=f"ray-{trial_id[:6]}")
            if trial is None:
                return None if self._driver.running else str(Searcher.FINISHED)
            self._trials[trial_id] = trial
            return {"job": self._driver.job(trial), "evaluate": self._evaluate, "step_timeout": self._how.step_timeout}

    def record(self, trial_id: str, step: Step) -> bool:
        """Record a step; whether the attempt goes on."""
        with self.failure.kept():
            return self._driver.record(self._trials[trial_id], step)

    def end(self, trial_id: str, error: BaseException) -> None:
        """Record an attempt that ended without a last step: hung, or lost with its worker."""
        trial = self._trials[trial_id]
        with self.failure.kept():
            if isinstance(error, HungStepError):
                self._driver.record(trial, Step(state=TrialState.FAILED, reason=str(error)))
            else:
                reason = (str(error).strip() or type(error).__name__).splitlines()[-1].partition(" Some common causes")[0]
                self._driver.lost(trial, reason, retries=self._how.max_retries)


class DriverSearcher(Searcher):  # type: ignore[misc]
    """Tune's searcher: every suggestion is an attempt of a trial that the driver has already stored."""

    def __init__(self, bridge: Bridge) -> None:
        super().__init__(metric=None, mode=None)
        self._bridge = bridge

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles searchers for a memory that is not its own here

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The next attempt."""
        return self._bridge.begin(trial_id)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Nothing: scheduler and callback have seen it."""


class DriverScheduler(FIFOScheduler):  # type: ignore[misc]
    """Tune's scheduler: it hears of every epoch after which a trial may go on, and asks the driver whether it does."""

    def __init__(self, bridge: Bridge) -> None:
        super().__init__()
        self._bridge = bridge

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Record an epoch."""
        goes_on = self._bridge.record(trial.trial_id, result[_STEP])
        return str(TrialScheduler.CONTINUE if goes_on else TrialScheduler.STOP)


class DriverCallback(Callback):  # type: ignore[misc]
    """Tune's callback: it alone hears of steps that end a trial by themselves, and of attempts that are lost."""

    def __init__(self, bridge: Bridge) -> None:
        self._bridge = bridge

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any) -> None:
        """Record the end of a trial; the scheduler has recorded any other step."""
        step: Step = result[_STEP]
        if step.state is not None:
            self._bridge.record(trial.trial_id, step)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Record an attempt whose step raised or whose worker died."""
        self._bridge.end(trial.trial_id, _error_of(trial))


def run_ray(driver: Driver, slots: Slots, evaluate: Evaluator, how: Execution) -> None:
    """Train what the driver lacks on reused actors of a Ray cluster: our own, started here and stopped afterwards, or one that runs."""
    if driver.over:
        return
    bridge = Bridge(driver, evaluate, how)
    with ExitStack() as stack:
        stack.enter_context(interruptible(driver))
        terminate = signal.getsignal(signal.SIGTERM)
        stack.callback(_on_sigterm, terminate)
        with driver.ledger.time("start-up"):
            room = stack.enter_context(cluster(slots, how.ray_address))
            driver.ledger.resize(room.workers)
        if callable(terminate):  # Ray has put its own handler there, which ends its processes before the search has
            _on_sigterm(terminate)
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="nas-tune-"))
        tuner = tune.Tuner(_trainable(room), tune_config=_tune_config(bridge, room), run_config=_run_config(bridge, folder))
        try:
            with redirect_stdout(sys.stderr):  # standard output belongs to the result
                tuner.fit()
        except TuneError:
            if bridge.failure.error is None:
                raise
            raise bridge.failure.error from None
    if not driver.over:
        raise NasError("Ray Tune ended before the search did; the same command goes on from here")


def _error_of(trial: Any) -> BaseException:
    """What an attempt ended of, from the file in which Tune has just put it; what is raised in a worker, as it was raised there."""
    try:
        error: BaseException = cloudpickle.loads(Path(trial.pickled_error_file).read_bytes())
    except Exception as unreadable:  # an error class of somebody's that cannot be made here
        return RuntimeError(f"an error that cannot be read: {type(unreadable).__name__}: {unreadable}")
    return getattr(error, "cause", error) if isinstance(error, RayTaskError) else error


def _trainable(room: Slots) -> Any:
    if room.ranks == 1:
        return tune.with_resources(ProxyTrainable, {"CPU": room.cpus, "GPU": room.gpus})
    from nas.engine.group import group_trainable

    return group_trainable(room)


def _tune_config(bridge: Bridge, room: Slots) -> TuneConfig:
    return TuneConfig(
        search_alg=DriverSearcher(bridge),
        scheduler=DriverScheduler(bridge),
        metric=None,
        mode=None,
        num_samples=-1,
        reuse_actors=room.ranks == 1,
        max_concurrent_trials=room.workers,
        trial_dirname_creator=lambda trial: str(trial.trial_id),
    )


def _run_config(bridge: Bridge, folder: str) -> RunConfig:
    return RunConfig(
        name=f"search-{int(time.time())}",
        storage_path=str(Path(folder).absolute()),
        verbose=0,
        callbacks=[DriverCallback(bridge)],
        checkpoint_config=CheckpointConfig(checkpoint_at_end=False),
        failure_config=FailureConfig(max_failures=0),  # the driver puts a lost trial back in its queue
    )


def _on_sigterm(handler: Any) -> None:
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)
