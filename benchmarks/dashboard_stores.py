"""The same made-up trials in a store of ours and in one of Optuna's: three objectives, and reports after every epoch."""

import json
import random
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import optuna
from optuna.distributions import BaseDistribution, IntDistribution
from optuna.storages import RDBStorage
from optuna.trial import TrialState as OptunaState
from optuna.trial import create_trial
from sqlalchemy import insert, select

from searchspace.cost import cost
from searchspace.styles import styled
from studies.records import TrialState
from studies.schema import REPORTS, TRIALS
from studies.store import Store

EPOCHS = 20
PRUNED_AFTER = 4
OBJECTIVES: tuple[tuple[str, Literal["maximize", "minimize"]], ...] = (("top1", "maximize"), ("params", "minimize"), ("flops", "minimize"))
STUDY = "large"
CHUNK = 5000  # trials a statement
LONG_AGO = datetime(2024, 1, 1, tzinfo=UTC)  # a finished study


@dataclass(frozen=True, slots=True)
class MadeUp:
    """A trial: what was chosen, what it built and costs, and what came of it."""

    number: int
    params: dict[str, int]
    model: dict[str, Any]
    cost: dict[str, int]
    top1: float
    pruned: bool


def made_up(trials: int) -> Iterator[MadeUp]:
    """Stacks drawn at random; the larger the better, give or take."""
    rng = random.Random(0)
    for number in range(trials):
        l1 = rng.randint(1, 8)
        params = {"channels": 16 * rng.randint(2, 20), "group_channels": 16, "l1": l1, "l3": rng.randint(l1, 60), "draw": number}
        depths = (l1, l1, params["l3"], l1)
        model = styled(channels=params["channels"], group_channels=16, depths=depths)
        counted = asdict(cost(model))
        top1 = min(0.99, max(0.01, 0.3 + 0.06 * (counted["params"] / 1e6) ** 0.3 + rng.gauss(0, 0.03)))
        yield MadeUp(number, params, model.to_dict(), counted, top1, pruned=rng.random() < 0.1)


def fill_ours(url: str, trials: int) -> None:
    """A finished study of ours."""
    store = Store(url)
    config = {"objectives": [{"metric": name, "direction": way} for name, way in OBJECTIVES], "proxy": {"epochs": EPOCHS}}
    study, trained = store.open(STUDY, config), list(made_up(trials))
    with store._sessions.engine.begin() as connection:
        for start in range(0, trials, CHUNK):
            chunk = trained[start : start + CHUNK]
            connection.execute(insert(TRIALS), [_row(study.id, trial) for trial in chunk])
            numbers = select(TRIALS.c.number, TRIALS.c.id).where(TRIALS.c.number >= start, TRIALS.c.number < start + CHUNK)
            ids = {row.number: row.id for row in connection.execute(numbers)}
            connection.execute(insert(REPORTS), [report for trial in chunk for report in _reports(ids[trial.number], trial)])
        connection.exec_driver_sql("UPDATE studies SET created_at = '2024-01-01 00:00:00.000000'")
    store.close()


def fill_optunas(url: str, trials: int) -> None:
    """The same trials in Optuna's storage; a study of several objectives has no reports there."""
    storage = RDBStorage(url)
    study = optuna.create_study(storage=storage, study_name=STUDY, directions=[way for _, way in OBJECTIVES])
    study.set_metric_names([name for name, _ in OBJECTIVES])
    ranges: dict[str, BaseDistribution] = {"channels": IntDistribution(32, 320), "l1": IntDistribution(1, 8), "l3": IntDistribution(1, 60)}
    study.add_trials(
        [
            create_trial(
                state=OptunaState.COMPLETE,
                params={name: trial.params[name] for name in ranges},
                distributions=ranges,
                values=[trial.top1, trial.cost["params"], trial.cost["flops"]],
            )
            for trial in made_up(trials)
        ]
    )
    storage.remove_session()
    storage.engine.dispose()


def _row(study: int, trial: MadeUp) -> dict[str, Any]:
    begun = LONG_AGO + timedelta(seconds=60 * trial.number)
    epochs = PRUNED_AFTER if trial.pruned else EPOCHS
    fidelity = {"dataset": "shapes", "synthetic": True, "image_size": 64, "epochs": epochs, "channel_divisor": 1, "train_fraction": 1.0}
    return {
        "study_id": study,
        "number": trial.number,
        "state": TrialState.PRUNED if trial.pruned else TrialState.COMPLETE,
        "params": trial.params,
        "choice": json.dumps(trial.params, sort_keys=True),
        "model": trial.model,
        "cost": trial.cost,
        "metrics": _metrics(trial, epochs),
        "premeasured": {},
        "fidelity": {**fidelity, "seed": 0},
        "seed": 0,
        "worker": f"worker {trial.number % 8}",
        "attempts": 1,
        "started_at": begun,
        "finished_at": begun + timedelta(seconds=50),
        "updated_at": LONG_AGO,
    }


def _reports(trial: int, made: MadeUp) -> Iterator[dict[str, Any]]:
    for epoch in range(1, 1 + (PRUNED_AFTER if made.pruned else EPOCHS)):
        yield {"trial_id": trial, "step": epoch, "metrics": _metrics(made, epoch)}


def _metrics(trial: MadeUp, epoch: int) -> dict[str, float]:
    share = epoch / EPOCHS
    return {"top1": trial.top1 * share, "top5": min(1.0, 0.2 + trial.top1 * share), "loss": 3.0 - share, "seconds": 2.5 * epoch}
