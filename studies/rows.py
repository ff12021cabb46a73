"""Rows of the store and the records that they become, column by column: the mapper's objects would take most of the time."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any

from sqlalchemy import Connection, Row, Select, Table, select
from sqlalchemy.dialects import postgresql, sqlite

from studies.records import NewTrial, StudyRecord, Trial, TrialState
from studies.schema import STUDIES, TRIALS

_INSERT = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}
_TRIAL_FIELDS = tuple(name for name in TRIALS.c.keys() if name in Trial.__dataclass_fields__)  # noqa: SIM118  # not a dictionary
_STUDY_COLUMNS = (STUDIES.c.id, STUDIES.c.name, STUDIES.c.config, STUDIES.c.created_at)


def now() -> datetime:
    """This moment, with its zone."""
    return datetime.now(UTC)


def choice_text(params: Mapping[str, Any]) -> str:
    """Parameters as they are compared: JSON with sorted keys."""
    return json.dumps(dict(params), sort_keys=True)


def trials_of(study: StudyRecord) -> Select[Any]:
    """The query of a study's trials by number; `find_trials` makes records of it."""
    return select(*(TRIALS.c[name] for name in _TRIAL_FIELDS)).where(TRIALS.c.study_id == study.id).order_by(TRIALS.c.number)


def find_trials(connection: Connection, query: Select[Any]) -> list[Trial]:
    """The trials that a narrowed `trials_of` finds."""
    return [Trial(**dict(zip(_TRIAL_FIELDS, row, strict=True))) for row in connection.execute(query)]


def all_studies() -> Select[Any]:
    """The query of all studies, oldest first; `study_record` makes a record of a row."""
    return select(*_STUDY_COLUMNS).order_by(STUDIES.c.id)


def study_record(row: Row[Any]) -> StudyRecord:
    """A study as stored."""
    return StudyRecord(id=row.id, name=row.name, config=row.config, created_at=row.created_at)


def new_row(study: StudyRecord, number: int, trial: NewTrial, *, driver: str | None, worker: str | None) -> dict[str, Any]:
    """The columns of a trial that is added; with a driver one that would be queued is running from the start, on its first attempt."""
    moment, runs = now(), driver is not None and trial.state is TrialState.QUEUED
    return {
        "study_id": study.id,
        "number": number,
        "state": TrialState.RUNNING if runs else trial.state,
        "params": dict(trial.params),
        "choice": choice_text(trial.params),
        "model": None if trial.model is None else dict(trial.model),
        "cost": dict(trial.cost),
        "metrics": {},
        "premeasured": dict(trial.premeasured),
        "fidelity": {},
        "seed": trial.seed,
        "reason": trial.reason,
        "worker": worker if runs else None,
        "driver": driver if runs else None,
        "attempts": int(runs),
        "started_at": moment if runs else None,
        "finished_at": moment if trial.state.finished else None,
        "updated_at": moment,
    }


def upsert(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]], *, increase: bool = False) -> None:
    """Insert rows of the same columns; of one whose primary key is there already the others are replaced, or increased."""
    if rows:
        connection.execute(_upsert(connection.dialect.name, table, tuple(rows[0]), increase), rows)


@cache
def _upsert(dialect: str, table: Table, columns: tuple[str, ...], increase: bool) -> Any:
    insert: Any = _INSERT[dialect](table)  # both dialects spell it alike
    keys = [column.key for column in table.primary_key]
    new = {name: table.c[name] + insert.excluded[name] if increase else insert.excluded[name] for name in columns if name not in keys}
    return insert.on_conflict_do_update(index_elements=keys, set_=new)
