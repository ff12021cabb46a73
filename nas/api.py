"""The library behind the commands: run a search, open a study, read its front and its tables."""

import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from traceback import clear_frames
from typing import TYPE_CHECKING, Any

from nas.budget import Budget
from nas.config import StudyConfig
from nas.driver import Driver
from nas.engine import check_cluster
from nas.engine import run as run_engine
from nas.errors import NasError
from nas.evaluators import evaluator
from nas.job import STATE_SHARE, Evaluator, Execution, takes
from nas.kept_weights import Keep, KeptWeights, check_keep, check_writable, folder_of, take_folder
from nas.ledger import Ledger
from nas.preflight import Asked, check_answers, check_candidates, check_devices, check_until, data_bytes, slots_for
from nas.premeasure import REAL, Measures, Premeasuring
from nas.progress_record import Listener
from nas.reuse import Reuse
from nas.samplers import check_sampler
from studies.constraints import Constraint, constraints_of
from studies.database import folder_beside
from studies.pareto import pareto_front
from studies.records import DEFAULT_STORE, Artifact, Objective, StudyRecord, Trial, TrialState, check_text
from studies.seeds import averaged, seeds_of
from studies.store import Store
from trainer.storage import check_place

if TYPE_CHECKING:
    import pandas as pd

UNLIMITED = Budget()
KINDS: Mapping[str, tuple[Any, str]] = {
    "config": (StudyConfig | None, "a StudyConfig, as StudyConfig(space=...) and StudyConfig.read(FILE) make it"),
    "name": (str, "text"),
    "store": (Store | str, f"a Store or a URL such as {DEFAULT_STORE}"),
    "budget": (Budget | None, "a Budget, such as Budget(trials=8)"),
    "listener": (Callable | None, "a function that takes a Progress"),
    "checkpoints": (str | os.PathLike | None, "text or a path"),
    "weights_folder": (str | os.PathLike | None, "text or a path"),
}


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

    @property
    def constraints(self) -> tuple[Constraint, ...]:
        """What a trial must reach to stand on the front."""
        return constraints_of(self.record)

    def trials(self) -> list[Trial]:
        """All trials by number, infeasible and failed ones with their reason."""
        return self.store.trials(self.record)

    def trial(self, number: int) -> Trial:
        """One trial; StoreError when there is none of this number."""
        return self.store.trial(self.record, number)

    def front(self) -> list[Trial]:
        """The Pareto-optimal trials, best in the first objective first; with several seeds one a candidate, with the means over them."""
        return pareto_front(self.averages(), self.objectives, self.constraints)

    def averages(self) -> list[Trial]:
        """What stands for each candidate, as `studies.seeds.averaged` says it; with one seed the trials themselves."""
        return averaged(self.trials(), seeds=seeds_of(self.record))

    def ledger(self) -> dict[str, float]:
        """Device-seconds by category, as `nas.ledger.CATEGORIES` explains them, of all runs and drivers."""
        return self.store.ledger.of(self.record)

    def artifacts(self) -> list[Artifact]:
        """The files that trials left, by their number; whether they are still there is not looked at."""
        return self.store.artifacts.of(self.record)

    def frame(self) -> "pd.DataFrame":
        """One row a trial, with `on_front`; units are plain (parameters, FLOPs, fractions, seconds)."""
        from studies.frames import trials_frame

        return trials_frame(self.trials(), self.objectives, self.constraints, seeds=seeds_of(self.record))


def search(
    config: StudyConfig | None = None,
    *,
    name: str | None = None,
    store: Store | str = DEFAULT_STORE,
    trials: int | None = None,
    budget: Budget | None = None,
    reuse: Sequence[str] = (),
    engine: str = "ray",
    workers: int | None = None,
    cpus_per_trial: float | None = None,
    gpus_per_trial: float | None = None,
    ray_address: str | None = None,
    max_retries: int = 2,
    step_timeout: float | None = None,
    checkpoints: Path | str | None = None,
    listener: Listener | None = None,
    evaluate: Evaluator | None = None,
    measures: Measures = REAL,
    keep_weights: Keep = "front",
    weights_folder: Path | str | None = None,
) -> Study:
    """Run a search until its `budget` is reached (default: every feasible candidate up to 64 trained ones) and return the study.

    A study of the same name and configuration goes on where it stopped, its unfinished trials from their `checkpoints`: a folder or URL
    that all workers share, written after each epoch; unless named, `nas-checkpoints` beside the store `nas.db`, written now and then.
    Scores and latency that it asks for are measured first; what the studies named by `reuse` have measured alike is taken over. `trials`
    is short for a budget of trials. A trial whose worker is lost begins again at most `max_retries` times; an epoch may take
    `step_timeout` seconds. `ray_address` joins a running cluster: `auto` or HOST:PORT. Trained networks leave their weights, recorded as
    artifacts, in `weights_folder` (shared by all workers; `nas-weights/STUDY` unless named, and never among those of another study
    of the name): those of the Pareto front, `all` or `none`; an evaluator that takes no `weights` leaves none. KeyboardInterrupt leaves the
    study resumable. ValueError for bad input, NasError when every trial failed.
    """
    _check_kinds(config=config, name=name or "", store=store, budget=budget, listener=listener)
    _check_kinds(checkpoints=checkpoints, weights_folder=weights_folder)
    _check_reuse(reuse)
    checkpoints = None if checkpoints is None else os.fspath(checkpoints)
    config = config or StudyConfig()
    name = name or config.space.name
    check_text(name, "the name of a study")
    budget = _budget(budget, trials)
    asked = Asked(engine=engine, workers=workers, cpus=cpus_per_trial, gpus=gpus_per_trial, ray_address=ray_address)
    execution = Execution(max_retries=max_retries, step_timeout=step_timeout, ray_address=ray_address)
    check_keep(keep_weights)
    check_sampler(config, trials=None if budget.trials is None else -(-budget.trials // config.seeds))
    check_devices(config, asked)
    check_candidates(config)
    check_until(budget.until, config)
    evaluate = evaluate or evaluator(config)
    check_answers(config, evaluate, asked)
    if checkpoints is not None:
        check_text(checkpoints, "checkpoints")
        check_place(checkpoints)
    slots = slots_for(config, asked, data_bytes(config))
    check_cluster(config, slots, execution)
    keeps = keep_weights != "none" and config.trains and takes(evaluate, "weights")
    if keeps and weights_folder is not None:
        check_text(str(weights_folder), "weights_folder")
        check_writable(Path(weights_folder))
    store = Store(store) if isinstance(store, str) else store
    taken_over = Reuse(store, reuse, config) if reuse else None
    if keeps:
        check_writable(folder_of(store.url, name, weights_folder))
    study = Study(store, store.open(name, config.to_dict()))
    with store.driving(study.record) as lease:
        folder = take_folder(store.url, study.record, weights_folder) if keeps else None
        weights = None if folder is None else KeptWeights(store, study.record, folder, keep_weights)
        ledger = Ledger(max(1, slots.workers))
        with ledger.time("evaluation"):
            plan = Premeasuring(store, study.record, config, measures, listener).plan()
        driver = Driver(
            store,
            study.record,
            config,
            plan,
            lease=lease,
            ledger=ledger,
            budget=budget,
            reuse=taken_over,
            listener=listener,
            weights=weights,
            checkpoints=(checkpoints or str(folder_beside(store.url, "checkpoints"))) if takes(evaluate, "checkpoints") else None,
            state_share=STATE_SHARE if checkpoints is None else None,
        )
        before = len(driver.finished)
        try:
            driver.notify()
            run_engine(engine, driver, slots, evaluate, execution)
        except KeyboardInterrupt as stopped:
            clear_frames(stopped.__traceback__)  # a transaction that was cut off among them keeps the store locked, from us too
            raise
        finally:
            driver.stop()
    _check_some_succeeded(driver, before)
    return study


def open_study(name: str, *, store: Store | str = DEFAULT_STORE) -> Study:
    """The stored study of this name; StoreError lists the known ones."""
    _check_kinds(name=name, store=store)
    store = Store(store, create=False) if isinstance(store, str) else store
    return Study(store, store.study(name))


def _check_kinds(**given: object) -> None:
    """ValueError for an argument that is not of its kind."""
    for argument, value in given.items():
        kind, rule = KINDS[argument]
        if not isinstance(value, kind):
            raise ValueError(f"{argument} must be {rule}, got {value!r}")


def _check_reuse(reuse: object) -> None:
    if not isinstance(reuse, list | tuple) or not all(isinstance(study, str) for study in reuse):
        raise ValueError(f'reuse must be a list of studies by name such as ["base"], got {reuse!r}')


def _budget(budget: Budget | None, trials: int | None) -> Budget:
    if budget is not None and trials is not None:
        raise ValueError("trials are part of the budget; give one of the two")
    return budget or (UNLIMITED if trials is None else Budget(trials=trials))


def _check_some_succeeded(driver: Driver, before: int) -> None:
    """NasError unless a trial has brought a result, now or before, when `before` of them had ended."""
    trained, study = driver.finished, driver.study.name
    if trained and all(trial.state is TrialState.FAILED for trial in trained):
        again = "" if len(trained) > before else f" before and are not repeated; choose another name than {study!r} to train them again"
        raise NasError(f"all {len(trained)} trials failed{again}; the first: {trained[0].reason}")
    if not trained and driver.spent is not None:
        raise NasError(
            f"study {study!r} ended before a trial was trained ({driver.spent}); with more of it the same command goes on from here"
        )
    if not trained:
        raise NasError(f"no candidate could be trained; `nas show {shlex.quote(study)}` has the reasons")
