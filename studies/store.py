"""The only memory of a search: studies, trials and reports in SQL, handed out as detached frozen records."""

import json
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import delete, func, select, update
from sqlalchemy.exc import IntegrityError

from studies.artifacts import Artifacts
from studies.database import StoreError, connect, shown, store_folder
from studies.lock import exclusive
from studies.measurements import INSERT, Measurements
from studies.records import NewTrial, Report, StudyRecord, StudySummary, Trial, TrialState, check_finite
from studies.schema import ReportRow, StudyRow, TrialRow
from studies.sessions import Sessions

_TRIAL_COLUMNS = tuple(column.key for column in TrialRow.__table__.columns if column.key not in ("study_id", "updated_at"))


class StudyMismatch(StoreError):
    """A study of this name exists with another configuration."""


class Store:
    """Studies in the SQL database at `url`, made and migrated when missing unless `create` is false; StoreError when it cannot be used.

    One driver writes a study; any number of readers look on. A store pickles as its URL. `artifacts` are the files that trials left,
    `measurements` what is known of candidates before any training.
    """

    def __init__(self, url: str, *, create: bool = True) -> None:
        self.url = url
        self._engine = connect(url, create=create)
        self._sessions = Sessions(self._engine, url)
        self.artifacts = Artifacts(self._sessions, store_folder(url))
        self.measurements = Measurements(self._sessions)
        weakref.finalize(self, self._engine.dispose)  # a store that is dropped gives its connections back

    def __reduce__(self) -> tuple[type["Store"], tuple[str]]:
        return Store, (self.url,)

    def __repr__(self) -> str:
        return f"Store({shown(self.url)!r})"

    def close(self) -> None:
        """Give the database connections back."""
        self._engine.dispose()

    def open(self, name: str, config: Mapping[str, Any]) -> StudyRecord:
        """The study `name`, made now if it is new; StudyMismatch says what differs when it exists with another configuration."""
        values = json.loads(json.dumps(config, allow_nan=False))
        try:
            with self._sessions.write() as session:
                row = session.scalar(select(StudyRow).where(StudyRow.name == name))
                if row is None:
                    row = StudyRow(name=name, config=values, created_at=_now())
                    session.add(row)
                    session.flush()
                study = _study(row)
        except IntegrityError:  # another driver made it between our look and our insert
            study = self.study(name)
        if differences := list(_differences(study.config, values)):
            shown_differences = "; ".join(differences[:4]) + (f"; and {len(differences) - 4} more" if len(differences) > 4 else "")
            raise StudyMismatch(f"study {name!r} exists with another configuration: {shown_differences}; choose another --name")
        return study

    @contextmanager
    def driving(self, study: StudyRecord) -> Iterator[None]:
        """Be the study's only driver for the block; StoreError when another process is."""
        with exclusive(self._engine, study.id) as held:
            if not held:
                raise StoreError(f"study {study.name!r} is being searched by another process; wait for it, or choose another --name")
            yield

    def study(self, name: str) -> StudyRecord:
        """The stored study of this name; StoreError lists the known ones."""
        with self._sessions.read() as session:
            row = session.scalar(select(StudyRow).where(StudyRow.name == name))
            if row is not None:
                return _study(row)
            known = ", ".join(session.scalars(select(StudyRow.name).order_by(StudyRow.id))) or "none yet"
        raise StoreError(f"no study {name!r} in {shown(self.url)}; known: {known}")

    def studies(self) -> list[StudySummary]:
        """All studies, oldest first, with the number of their trials in each state."""
        with self._sessions.read() as session:
            rows = session.scalars(select(StudyRow).order_by(StudyRow.id)).all()
            counted = select(TrialRow.study_id, TrialRow.state, func.count(), func.max(TrialRow.updated_at))
            counts = session.execute(counted.group_by(TrialRow.study_id, TrialRow.state)).all()
        return [_summary(_study(row), [count[1:] for count in counts if count[0] == row.id]) for row in rows]

    def trials(self, study: StudyRecord, *, states: Sequence[TrialState] | None = None) -> list[Trial]:
        """The study's trials by number, all or those in `states`."""
        query = select(TrialRow).where(TrialRow.study_id == study.id).order_by(TrialRow.number)
        if states is not None:
            query = query.where(TrialRow.state.in_(states))
        with self._sessions.read() as session:
            return [_trial(row) for row in session.scalars(query)]

    def trial(self, study: StudyRecord, number: int) -> Trial:
        """One trial by its number; StoreError when the study has none such."""
        query = select(TrialRow).where(TrialRow.study_id == study.id, TrialRow.number == number)
        with self._sessions.read() as session:
            if (row := session.scalar(query)) is not None:
                return _trial(row)
        raise StoreError(f"study {study.name!r} has no trial {number}")

    def reports(self, study: StudyRecord) -> dict[int, list[Report]]:
        """Every report of the study by trial number, in order of epochs."""
        query = (
            select(TrialRow.number, ReportRow.step, ReportRow.metrics)
            .join_from(ReportRow, TrialRow)
            .where(TrialRow.study_id == study.id)
            .order_by(TrialRow.number, ReportRow.step)
        )
        reports: dict[int, list[Report]] = {}
        with self._sessions.read() as session:
            for number, step, metrics in session.execute(query):
                reports.setdefault(number, []).append(Report(step, metrics))
        return reports

    def add(self, study: StudyRecord, trials: Sequence[NewTrial]) -> list[Trial]:
        """The trials as stored, numbered on from the study's last; finished ones carry the moment."""
        with self._sessions.write() as session:
            last = session.scalar(select(func.max(TrialRow.number)).where(TrialRow.study_id == study.id))
            first = 0 if last is None else last + 1
            rows = [_new_row(study, first + i, trial) for i, trial in enumerate(trials)]
            session.add_all(rows)
            session.flush()
            return [_trial(row) for row in rows]

    def start(self, trial: Trial, *, worker: str | None = None) -> None:
        """Mark a trial as running, from its beginning: what an earlier attempt reported is forgotten."""
        fresh: dict[str, Any] = {"metrics": {}, "fidelity": {}, "reason": None, "finished_at": None}
        now = {"state": TrialState.RUNNING, "worker": worker, "started_at": _now(), "updated_at": _now()}
        with self._sessions.write() as session:
            session.execute(delete(ReportRow).where(ReportRow.trial_id == trial.id))
            session.execute(update(TrialRow).where(TrialRow.id == trial.id).values(**fresh, **now))

    def report(self, trial: Trial, report: Report, *, fidelity: Mapping[str, Any]) -> None:
        """Store the metrics of one epoch, which become the trial's; measured again, they replace the earlier ones."""
        check_finite(report.metrics)
        values = {"trial_id": trial.id, "step": report.step, "metrics": dict(report.metrics)}
        insert: Any = INSERT[self._engine.dialect.name](ReportRow).values(values)  # both dialects spell the upsert alike
        upsert = insert.on_conflict_do_update(index_elements=["trial_id", "step"], set_={"metrics": insert.excluded.metrics})
        now = {"metrics": dict(report.metrics), "fidelity": dict(fidelity), "updated_at": _now()}
        with self._sessions.write() as session:
            session.execute(upsert)
            session.execute(update(TrialRow).where(TrialRow.id == trial.id).values(now))

    def finish(self, trial: Trial, state: TrialState, *, reason: str | None = None, fidelity: Mapping[str, Any] | None = None) -> None:
        """End a trial in a finished state; its last report stays as its metrics, and its fidelity too unless one is given."""
        if not state.finished:
            raise ValueError(f"a trial ends COMPLETE, PRUNED, INFEASIBLE or FAILED, got {state}")
        measured = {} if fidelity is None else {"fidelity": dict(fidelity)}
        self._set(trial, state=state, reason=reason, finished_at=_now(), **measured)

    def requeue(self, trial: Trial) -> None:
        """Put a trial back in the queue, as if nobody had taken it."""
        self._set(trial, state=TrialState.QUEUED, worker=None, reason=None, finished_at=None)

    def requeue_running(self, study: StudyRecord) -> int:
        """Put the trials that a dead or stopped driver left running back in the queue; returns how many."""
        query = update(TrialRow).where(TrialRow.study_id == study.id, TrialRow.state == TrialState.RUNNING)
        with self._sessions.write() as session:
            result = session.execute(query.values(state=TrialState.QUEUED, worker=None, updated_at=_now()))
            return int(result.rowcount)  # type: ignore[attr-defined]  # an UPDATE gives a cursor result

    def _set(self, trial: Trial, **values: Any) -> None:
        with self._sessions.write() as session:
            session.execute(update(TrialRow).where(TrialRow.id == trial.id).values(updated_at=_now(), **values))


def _now() -> datetime:
    return datetime.now(UTC)


def _study(row: StudyRow) -> StudyRecord:
    return StudyRecord(id=row.id, name=row.name, config=row.config, created_at=row.created_at)


def _trial(row: TrialRow) -> Trial:
    return Trial(**{column: getattr(row, column) for column in _TRIAL_COLUMNS})


def _new_row(study: StudyRecord, number: int, trial: NewTrial) -> TrialRow:
    now = _now()
    return TrialRow(
        study_id=study.id,
        number=number,
        state=trial.state,
        params=dict(trial.params),
        model=None if trial.model is None else dict(trial.model),
        cost=dict(trial.cost),
        metrics={},
        premeasured=dict(trial.premeasured),
        fidelity={},
        seed=trial.seed,
        reason=trial.reason,
        finished_at=now if trial.state.finished else None,
        updated_at=now,
    )


def _summary(study: StudyRecord, counts: Sequence[tuple[TrialState, int, datetime]]) -> StudySummary:
    moments = [moment for _, _, moment in counts]
    return StudySummary(study=study, counts={state: n for state, n, _ in counts}, updated_at=max([study.created_at, *moments]))


def _differences(stored: Any, asked: Any, path: str = "") -> Iterator[str]:
    """Where two configurations differ, as `path: stored, not asked`."""
    if isinstance(stored, Mapping) and isinstance(asked, Mapping):
        for key in dict.fromkeys([*stored, *asked]):
            yield from _differences(stored.get(key), asked.get(key), f"{path}.{key}" if path else key)
    elif stored != asked:
        yield f"{path} is {_short(stored)}, asked {_short(asked)}"


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:50]} ... ({len(value)} entries)"
