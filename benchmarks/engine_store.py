"""Trials a second into a SQLite file, by our store and by Optuna's own, and how soon a large study asks for its next trial."""

import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import optuna
from optuna.distributions import BaseDistribution, IntDistribution
from optuna.storages import RDBStorage
from sqlalchemy import Engine, event

import nas
from nas.samplers import Sampler
from searchspace.space import Candidate
from searchspace.spaces import stacking_space
from studies.database import Synchronous
from studies.records import NewTrial, Objective, Report, TrialState
from studies.store import Store

TRIALS = 100  # of each sample
EPOCHS = (1, 2, 3)
REOPENED = "reopened"


def store_rates(repeats: int, folder: Path) -> list[dict[str, Any]]:
    """Trials a second of ours and Optuna's at each `synchronous` setting, medians of interleaved repeats."""
    rows = []
    for synchronous in get_args(Synchronous):
        samples = [
            {
                "ours": TRIALS / ours(folder / f"ours-{synchronous}-{repeat}.db", synchronous),
                "optuna": TRIALS / optunas(folder / f"optuna-{synchronous}-{repeat}.db", synchronous),
            }
            for repeat in range(repeats)
        ]
        middle = {name: statistics.median(sample[name] for sample in samples) for name in ("ours", "optuna")}
        ratio = statistics.median(sample["ours"] / sample["optuna"] for sample in samples)
        rows.append({"synchronous": synchronous, **middle, "ratio": ratio, "samples": samples})
    return rows


def ours(path: Path, synchronous: Synchronous) -> float:
    """Seconds for the trials as a driver writes them: begun, two reports, and the end with the third."""
    store = Store(f"sqlite:///{path}", synchronous=synchronous)
    study = store.open("s", {"objectives": [{"metric": "top1", "direction": "maximize"}]})
    with store.driving(study) as lease:
        start = time.perf_counter()
        for number in range(TRIALS):
            trial = store.add(study, [NewTrial(params={"l3": number, "channels": 64}, seed=0)], driver=lease.id)[0]
            *earlier, last = (Report(epoch, {"top1": 0.1 * epoch}) for epoch in EPOCHS)
            for report in earlier:
                store.report(trial, report, fidelity={"epochs": report.step}, driver=lease.id)
            store.finish(trial, TrialState.COMPLETE, fidelity={"epochs": last.step}, last=last, driver=lease.id)
        seconds = time.perf_counter() - start
    assert len(store.trials(study, states=[TrialState.COMPLETE])) == TRIALS
    assert [len(reports) for reports in store.reports(study).values()] == [len(EPOCHS)] * TRIALS
    store.close()
    return seconds


def optunas(path: Path, synchronous: Synchronous) -> float:
    """Seconds for the same content in Optuna's storage, with write-ahead logging and the same `synchronous` on its connections."""
    storage = RDBStorage(f"sqlite:///{path}", engine_kwargs={"connect_args": {"timeout": 30}})
    _tune(storage.engine, synchronous)
    study = optuna.create_study(storage=storage, direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0))
    space: dict[str, BaseDistribution] = {"l3": IntDistribution(0, 10 * TRIALS), "channels": IntDistribution(16, 160, step=16)}
    start = time.perf_counter()
    for _ in range(TRIALS):
        trial = study.ask(space)
        for epoch in EPOCHS:
            trial.report(0.1 * epoch, epoch)
        study.tell(trial, 0.1 * EPOCHS[-1])
    seconds = time.perf_counter() - start
    assert len(study.get_trials(states=[optuna.trial.TrialState.COMPLETE])) == TRIALS
    storage.remove_session()
    storage.engine.dispose()
    return seconds


def _tune(engine: Engine, synchronous: str) -> None:
    engine.dispose()  # connections made before now would keep their own settings

    @event.listens_for(engine, "connect")
    def on_connect(connection: Any, _: Any) -> None:
        for pragma in ("journal_mode=WAL", f"synchronous={synchronous}"):
            connection.execute(f"PRAGMA {pragma}")


def open_and_ask(trials: int, folder: Path) -> float:
    """Seconds from opening a store with one study of `trials` finished trials to the candidate that its search would train next."""
    config = nas.StudyConfig(
        space=stacking_space(channels=[64, 80, 96], group_channels=[16], l1=[1, 2], l3=range(2, trials // 2)),
        objectives=(Objective.of("top1"), Objective.of("flops")),
        sampler="tpe",
    )
    url = f"sqlite:///{folder / REOPENED}.db"
    _fill(Store(url), config, trials)
    start = time.perf_counter()
    store = Store(url)
    study = store.open(REOPENED, config.to_dict())
    sampler = Sampler(config, config.space.feasible_set(), store.trials(study), trials=2 * trials)
    assert sampler.ask() is not None
    return time.perf_counter() - start


def _fill(store: Store, config: nas.StudyConfig, trials: int) -> None:
    """A study as a search leaves it, with made-up accuracies."""
    study = store.open(REOPENED, config.to_dict())
    added = store.add(study, [_new(candidate) for candidate in _candidates(config, trials)])
    for number, trial in enumerate(added):
        store.report(trial, Report(1, {"top1": (number * 7919 % 1000) / 1000}), fidelity={"epochs": 1})
        store.finish(trial, TrialState.COMPLETE)


def _candidates(config: nas.StudyConfig, trials: int) -> Iterator[Candidate]:
    feasible = config.space.feasible_set()
    return (feasible.candidate(index) for index in range(trials))


def _new(candidate: Candidate) -> NewTrial:
    assert candidate.config is not None, "a feasible candidate has been built"
    assert candidate.cost is not None, "and counted"
    cost = {"params": candidate.cost.params, "flops": candidate.cost.flops, "activations": candidate.cost.activations}
    return NewTrial(params=dict(candidate.params), seed=0, model=candidate.config.to_dict(), cost=cost)
