"""What may happen to a whole study, each as a function of a writing connection: it is made, renamed or copied."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, case, insert, literal, select, update

from studies.records import StudyRecord, TrialState
from studies.rows import all_studies, now, study_record
from studies.schema import FITS, MEASUREMENTS, REPORTS, STUDIES, TRIALS

_NOT_COPIED = ("id", "study_id", "state", "worker", "driver", "checkpoint")


def find(connection: Connection, name: str) -> StudyRecord | None:
    """The study of this name."""
    row = connection.execute(all_studies().where(STUDIES.c.name == name)).one_or_none()
    return None if row is None else study_record(row)


def make(connection: Connection, name: str, config: Mapping[str, Any]) -> StudyRecord:
    """A new study; IntegrityError when the name is in use."""
    made = insert(STUDIES).values(name=name, config=dict(config), created_at=now())
    return study_record(connection.execute(made.returning(*STUDIES.c)).one())


def rename(connection: Connection, study: StudyRecord, new: str) -> StudyRecord:
    """The study under another name; IntegrityError when that is in use."""
    connection.execute(update(STUDIES).where(STUDIES.c.id == study.id).values(name=new))
    return replace(study, name=new)


def copy(connection: Connection, study: StudyRecord, new: str) -> StudyRecord:
    """A study of the same trials, reports, measurements and fits; IntegrityError when the name is in use.

    Files stay with the first study, checkpoints among them; what runs there waits in the queue here.
    """
    made = make(connection, new, study.config)
    columns = [column for column in TRIALS.c if column.key not in _NOT_COPIED]
    state = case((TRIALS.c.state == TrialState.RUNNING, literal(TrialState.QUEUED, TRIALS.c.state.type)), else_=TRIALS.c.state)
    trials = select(literal(made.id), state, *columns).where(TRIALS.c.study_id == study.id).order_by(TRIALS.c.number)
    connection.execute(insert(TRIALS).from_select(["study_id", "state", *(column.key for column in columns)], trials))
    copied = TRIALS.alias()
    reports = (
        select(copied.c.id, REPORTS.c.step, REPORTS.c.metrics)
        .select_from(REPORTS.join(TRIALS, REPORTS.c.trial_id == TRIALS.c.id).join(copied, copied.c.number == TRIALS.c.number))
        .where(TRIALS.c.study_id == study.id, copied.c.study_id == made.id)
    )
    connection.execute(insert(REPORTS).from_select(["trial_id", "step", "metrics"], reports))
    measured = select(literal(made.id), MEASUREMENTS.c.choice, MEASUREMENTS.c.metric, MEASUREMENTS.c.value)
    measured = measured.where(MEASUREMENTS.c.study_id == study.id)
    connection.execute(insert(MEASUREMENTS).from_select(["study_id", "choice", "metric", "value"], measured))
    fitted = select(literal(made.id), FITS.c.metric, FITS.c.content, FITS.c.created_at)
    fitted = fitted.where(FITS.c.study_id == study.id).order_by(FITS.c.id)
    connection.execute(insert(FITS).from_select(["study_id", "metric", "content", "created_at"], fitted))
    return made
