"""The library behind the commands: run a search, open a study, read its front and its tables."""

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nas.config import StudyConfig
from nas.driver import Driver, Listener
from nas.engine import ENGINES
from nas.errors import NasError
from nas.job import Evaluator, train_proxy
from searchspace.cost import cost
from studies.pareto import pareto_front
from studies.records import DEFAULT_STORE, Objective, StudyRecord, Trial, TrialState
from studies.store import Store

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Study:
    """A stored study, read afresh from the store at every call."""

    store: Store
    record: StudyRecord

    @property
    def name(self) -> str:
        """The study's name in its store."""
        return self.record.name

    @property
    def config(self) -> StudyConfig:
        """What makes the study what it is."""
        return StudyConfig.from_dict(dict(self.record.config), source=f"study {self.name!r}")

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """The objectives in their order."""
        return self.record.objectives

    def trials(self) -> list[Trial]:
        """All trials by number, infeasible and failed ones with their reason."""
        return self.store.trials(self.record)

    def trial(self, number: int) -> Trial:
        """One trial; StoreError when there is none of this number."""
        return self.store.trial(self.record, number)

    def front(self) -> list[Trial]:
        """The Pareto-optimal trials, best in the first objective first."""
        return pareto_front(self.trials(), self.objectives)

    def frame(self) -> "pd.DataFrame":
        """One row a trial, with `on_front`; units are plain (parameters, FLOPs, fractions, seconds)."""
        from studies.frames import trials_frame

        return trials_frame(self.trials(), self.objectives)


def search(
    config: StudyConfig | None = None,
    *,
    name: str | None = None,
    store: Store | str = DEFAULT_STORE,
    trials: int | None = None,
    workers: int | None = None,
    engine: str = "ray",
    listener: Listener | None = None,
    evaluate: Evaluator = train_proxy,
    keep_weights: Path | str | None = None,
) -> Study:
    """Run a search until its study has `trials` trained trials (default: every feasible candidate up to 64) and return the study.

    A study of the same name and configuration goes on where it stopped. `keep_weights` is a folder, shared by all workers, where every
    trial trained from now on leaves its network's weights as `STUDY-trial-N.safetensors`. KeyboardInterrupt leaves the study resumable.
    ValueError for bad input, NasError when every trial failed.
    """
    config = config or StudyConfig()
    workers = default_workers(engine) if workers is None else workers
    _check_run(engine, trials, workers)
    _check_device(config.proxy.device)
    _check_trainable(config)
    folder = None if keep_weights is None else _made(Path(keep_weights))
    store = Store(store) if isinstance(store, str) else store
    study = Study(store, store.open(name or config.space.name, config.to_dict()))
    with store.driving(study.record):
        driver = Driver(store, study.record, config, trials=trials, listener=listener, weights=folder)
        try:
            driver.notify()
            ENGINES[engine](driver, workers, evaluate)
        finally:
            driver.stop()
    _check_some_succeeded(driver.finished)
    return study


def open_study(name: str, *, store: Store | str = DEFAULT_STORE) -> Study:
    """The stored study of this name; StoreError lists the known ones."""
    store = Store(store, create=False) if isinstance(store, str) else store
    return Study(store, store.study(name))


def default_workers(engine: str) -> int:
    """One for the local engine, else one for each processor that this process may use."""
    return 1 if engine == "local" else len(os.sched_getaffinity(0))


def _check_run(engine: str, trials: int | None, workers: int) -> None:
    if engine not in ENGINES:
        raise ValueError(f"unknown engine {engine!r}; known: {', '.join(ENGINES)}")
    for name, value in (("trials", trials), ("workers", workers)):
        if value is not None and value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    if engine == "local" and workers > 1:
        raise ValueError(f"the local engine trains in this process, one trial at a time, got workers={workers}; use --engine ray")


def _check_trainable(config: StudyConfig) -> None:
    """ValueError unless the space has feasible candidates whose proxies can be built; before a store is touched."""
    for candidate in config.space.feasible():
        assert candidate.config is not None, "a feasible candidate has been built"
        cost(config.proxy.proxy_of(candidate.config), config.proxy.image_size)


def _made(folder: Path) -> Path:
    """The absolute path of a folder that is there and takes files; NasError where it cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise NasError(f"cannot write to the folder {folder}: {error.strerror}") from None
    return folder.resolve()


def _check_device(device: str) -> None:
    """NasError where CUDA is asked for and not there: a cluster would wait for such a worker for ever."""
    if device == "cpu":
        return
    import torch

    if not torch.cuda.is_available():
        why = "torch finds no CUDA device" if torch.version.cuda else "this torch is built without CUDA"
        raise NasError(f"no CUDA device here ({why}); use --device cpu")


def _check_some_succeeded(finished: Sequence[Trial]) -> None:
    if finished and all(trial.state is TrialState.FAILED for trial in finished):
        raise NasError(f"all {len(finished)} trials failed; the first: {finished[0].reason}")
    if not finished:
        raise NasError("no candidate could be trained; `nas show` has the reasons")
