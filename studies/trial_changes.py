"""What may happen to a trial, each as a function of a writing connection; all of it or nothing is committed.

`driver` guards a change: it is made only while the trial is that driver's, or is paused and nobody's. A driver that was cut off for
longer than its lease so cannot touch what others have taken over. The statements are made once: making one costs more than running it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, bindparam, delete, func, insert, or_, select, update

from studies.database import StoreError
from studies.records import NewTrial, Report, StudyRecord, Trial, TrialState
from studies.rows import choice_text, find_trials, new_row, now, trials_of, upsert
from studies.schema import REPORTS, STUDIES, TRIALS, UtcDateTime

_MINE = bindparam("mine", type_=TRIALS.c.driver.type)
_OWNED = or_(TRIALS.c.driver == _MINE, and_(TRIALS.c.driver.is_(None), TRIALS.c.state == TrialState.PAUSED))
_AT_HAND = or_(
    TRIALS.c.state.in_([TrialState.QUEUED, TrialState.PAUSED]),
    and_(TRIALS.c.state == TrialState.RUNNING, TRIALS.c.driver.is_not_distinct_from(_MINE)),
)
_LOCK = select(STUDIES.c.id).where(STUDIES.c.id == bindparam("study")).with_for_update(key_share=True)  # SQLite locks the whole file anyway
_HELD = select(TRIALS.c.choice, TRIALS.c.seed).where(TRIALS.c.study_id == bindparam("study"), TRIALS.c.choice.is_not(None))
_HELD_OF_CHOICE = _HELD.where(TRIALS.c.choice == bindparam("text"))
_LAST = select(func.max(TRIALS.c.number)).where(TRIALS.c.study_id == bindparam("study"))
_ADD = insert(TRIALS)
_CHANGE = update(TRIALS).where(TRIALS.c.id == bindparam("trial"))
_CHANGE_OWNED = _CHANGE.where(_OWNED)
_START = _CHANGE.where(_AT_HAND).values(attempts=TRIALS.c.attempts + 1)
_GO_ON = _START.values(started_at=func.coalesce(TRIALS.c.started_at, bindparam("moment", type_=UtcDateTime())))
_FORGET_REPORTS = delete(REPORTS).where(REPORTS.c.trial_id == bindparam("trial"))


class Taken(StoreError):
    """The study holds this choice with this seed already."""


def lock(connection: Connection, study: StudyRecord) -> None:
    """Make others who number or reclaim trials of this study wait for our commit; StoreError when it has been deleted."""
    if connection.scalar(_LOCK, {"study": study.id}) is None:
        raise StoreError(f"study {study.name!r} is no longer in its store")


def add(connection: Connection, study: StudyRecord, trials: Sequence[NewTrial], *, driver: str | None, worker: str | None) -> list[Trial]:
    """The trials as stored, in their order; a single one that is held already is `Taken`, among several it comes back as it stands."""
    lock(connection, study)
    keys = [(choice_text(trial.params), trial.seed) for trial in trials]
    held = _held(connection, study, keys)
    if len(keys) == 1 and keys[0] in held:
        raise Taken(f"study {study.name!r} holds the choice {keys[0][0]} with seed {keys[0][1]} already")
    new = {key: trial for key, trial in zip(keys, trials, strict=True) if key not in held}
    last = connection.scalar(_LAST, {"study": study.id})
    first = 0 if last is None else last + 1
    rows = [new_row(study, number, trial, driver=driver, worker=worker) for number, trial in enumerate(new.values(), first)]
    if rows:
        connection.execute(_ADD, rows)
    query = trials_of(study).where(TRIALS.c.choice.is_not(None))
    stored = find_trials(connection, query if held.intersection(keys) else query.where(TRIALS.c.number >= first))
    found = {(choice_text(trial.params), trial.seed): trial for trial in stored}
    return [found[key] for key in keys]


def _held(connection: Connection, study: StudyRecord, keys: Sequence[tuple[str, int]]) -> set[tuple[str, int]]:
    """What the study holds; for a single key only what it holds of its choice."""
    query, parameters = (_HELD_OF_CHOICE, {"study": study.id, "text": keys[0][0]}) if len(keys) == 1 else (_HELD, {"study": study.id})
    return {(choice, seed) for choice, seed in connection.execute(query, parameters)}


def start(connection: Connection, trial: Trial, *, worker: str | None, driver: str | None, fresh: bool) -> bool:
    """Begin an attempt of a waiting trial, or of one that this driver runs already; False when it is another's or finished."""
    whose = {"trial": trial.id, "mine": driver}
    begun = {"state": TrialState.RUNNING, "driver": driver, "worker": worker, "reason": None, "finished_at": None, "updated_at": now()}
    if not fresh:
        return bool(connection.execute(_GO_ON, {**whose, **begun, "moment": now()}).rowcount)
    anew: dict[str, Any] = {"metrics": {}, "fidelity": {}, "checkpoint": None, "started_at": now()}
    if not connection.execute(_START, {**whose, **begun, **anew}).rowcount:
        return False
    connection.execute(_FORGET_REPORTS, {"trial": trial.id})
    return True


def record(connection: Connection, trial: Trial, report: Report | None, values: Mapping[str, Any], *, driver: str | None) -> bool:
    """Set columns of a trial and store the metrics of an epoch, which become the trial's, in place of what was stored of that epoch."""
    if report is None:
        return change(connection, trial, values, driver=driver)
    metrics = dict(report.metrics)
    if not change(connection, trial, {"metrics": metrics, **values}, driver=driver):
        return False
    upsert(connection, REPORTS, [{"trial_id": trial.id, "step": report.step, "metrics": metrics}])
    return True


def change(connection: Connection, trial: Trial, values: Mapping[str, Any], *, driver: str | None) -> bool:
    """Set columns of a trial; False when it is not this driver's, or has been deleted."""
    guard = {} if driver is None else {"mine": driver}
    statement = _CHANGE if driver is None else _CHANGE_OWNED
    return bool(connection.execute(statement, {"trial": trial.id, **guard, **values, "updated_at": now()}).rowcount)


def requeue(connection: Connection, condition: ColumnElement[bool]) -> int:
    """Put all trials of this condition back in the queue, reports and checkpoints kept; returns how many."""
    values = {"state": TrialState.QUEUED, "worker": None, "driver": None, "updated_at": now()}
    return connection.execute(update(TRIALS).where(condition).values(values)).rowcount
