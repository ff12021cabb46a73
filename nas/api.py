"""The library behind the commands: run a search, open a study, read its front and its tables."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nas.config import StudyConfig
from nas.driver import Driver, Listener
from nas.engine import ENGINES
from nas.engine import run as run_engine
from nas.errors import NasError
from nas.job import Evaluator, train_proxy
from nas.kept_weights import Keep, KeptWeights, check_keep, check_writable, folder_of, writes_weights
from nas.packing import Slots, gpu_slots
from nas.premeasure import REAL, Measures, Premeasuring, check_premeasuring
from searchspace.cost import cost
from studies.pareto import pareto_front
from studies.records import DEFAULT_STORE, Artifact, Objective, StudyRecord, Trial, TrialState
from studies.store import Store
from trainer.dataset_spec import SOURCES, parse_dataset

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

    def artifacts(self) -> list[Artifact]:
        """The files that trials left, by their number; whether they are still there is not looked at."""
        return self.store.artifacts.of(self.record)

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
    measures: Measures = REAL,
    keep_weights: Keep = "front",
    weights_folder: Path | str | None = None,
) -> Study:
    """Run a search until its study has `trials` trained trials (default: every feasible candidate up to 64) and return the study.

    A study of the same name and configuration goes on where it stopped. Scores and latency that it asks for are measured first. Trained
    networks leave their weights, recorded as artifacts, in `weights_folder` (shared by all workers; `nas-weights/STUDY` beside the store
    `nas.db` unless named): those of the Pareto front, `all` or `none`; an evaluator that takes no `weights` leaves none.
    KeyboardInterrupt leaves the study resumable. ValueError for bad input, NasError when every trial failed.
    """
    config = config or StudyConfig()
    name = name or config.space.name
    _check_run(engine, trials, workers)
    check_keep(keep_weights)
    _check_devices(config)
    _check_candidates(config)
    slots = _slots(config, engine, workers, _data_bytes(config))
    keeps = keep_weights != "none" and config.trains and writes_weights(evaluate)
    if keeps and weights_folder is not None:
        check_writable(Path(weights_folder))
    store = Store(store) if isinstance(store, str) else store
    study = Study(store, store.open(name, config.to_dict()))
    with store.driving(study.record):
        weights = KeptWeights(store, study.record, folder_of(store.url, name, weights_folder), keep_weights) if keeps else None
        if weights is not None:
            weights.take_folder()
        plan = Premeasuring(store, study.record, config, measures, listener).plan()
        driver = Driver(store, study.record, config, plan, trials=trials, listener=listener, weights=weights)
        try:
            driver.notify()
            run_engine(engine, driver, slots, evaluate)
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


def _data_bytes(config: StudyConfig) -> int:
    """The size of the images if they are in files, which are read, and packed if they are not yet, before a store is touched."""
    spec = parse_dataset(config.proxy.dataset)
    if not SOURCES[spec.name].files or not (config.trains or config.scores):
        return 0
    from trainer.packing.cache import opened

    return int(opened(spec, config.proxy.image_size).images.nbytes)


def _slots(config: StudyConfig, engine: str, workers: int | None, data_bytes: int) -> Slots:
    """Room for `workers` trials at a time; unless named, one a processor, or as many as the GPUs' memory holds."""
    if engine == "local" or not config.proxy.device.startswith("cuda"):
        return Slots(workers=default_workers(engine) if workers is None else workers)
    import torch

    memory = [torch.cuda.get_device_properties(gpu).total_memory for gpu in range(torch.cuda.device_count())]
    configs = [candidate.config for candidate in config.space.feasible() if candidate.config is not None]
    fitting = gpu_slots(configs, config.proxy, memory, processors=default_workers(engine), data_bytes=data_bytes)
    return fitting if workers is None else Slots(workers=workers, gpus=min(1.0, len(memory) / workers))


def _check_run(engine: str, trials: int | None, workers: int | None) -> None:
    if engine not in ENGINES:
        raise ValueError(f"unknown engine {engine!r}; known: {', '.join(ENGINES)}")
    for name, value in (("trials", trials), ("workers", workers)):
        if value is not None and value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    if engine == "local" and workers is not None and workers > 1:
        raise ValueError(f"the local engine trains in this process, one trial at a time, got workers={workers}; use --engine ray")


def _check_candidates(config: StudyConfig) -> None:
    """ValueError unless the space has feasible candidates whose proxies can be built and measured; before a store is touched."""
    feasible = config.space.feasible()
    check_premeasuring(config, len(feasible))
    for candidate in feasible:
        assert candidate.config is not None, "a feasible candidate has been built"
        if config.trains or config.scores:
            cost(config.proxy.proxy_of(candidate.config), config.proxy.image_size)
        if config.latency_setting is not None:
            cost(candidate.config, config.latency.image_size)


def _check_devices(config: StudyConfig) -> None:
    """NasError where CUDA is asked for and not there: a cluster would wait for such a worker for ever."""
    latency = [] if config.latency_setting is None else [config.latency_setting.device]
    if not any(device.startswith("cuda") for device in [config.proxy.device, *latency]):
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
