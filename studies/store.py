"""The only memory of a search: studies, trials and reports in SQL, handed out as detached frozen records."""

import json
import weakref
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from sqlalchemy import Connection, Text, and_, cast, func, select
from sqlalchemy.exc import IntegrityError

from studies import leases, study_changes, trial_changes
from studies.artifacts import Artifacts
from studies.database import StoreError, Synchronous, connect, shown, store_folder
from studies.fits import Fits
from studies.ledger import LedgerEntries
from studies.measurements import Measurements
from studies.records import Lease, NewTrial, Report, StudyRecord, StudySummary, Trial, TrialState, check_finite, check_text
from studies.rows import all_studies, find_trials, now, study_record, trials_of
from studies.schema import REPORTS, STUDIES, TRIALS
from studies.sessions import Sessions
from studies.trial_changes import Taken

__all__ = ["Store", "StudyMismatch", "Taken"]


class StudyMismatch(StoreError):
    """A study of this name exists with another configuration."""


class Store:
    """Studies in the SQL database at `url`, made and migrated when missing unless `create` is false; StoreError when it cannot be used.

    Any number of readers look on. In a SQLite file a study has one driver at a time and a file any number of studies; on a PostgreSQL
    server several drivers share a study. A server that does not answer is waited for (not when `create` is false: who only looks is told).
    `synchronous` is SQLite's: NORMAL survives every crash of a program, FULL a loss of power too. A store pickles as its URL. `artifacts`
    are the files that trials left, `measurements` what is known of candidates before any training, `ledger` where device-seconds went,
    `fits` the scaling laws that were fitted to a study.
    """

    def __init__(self, url: str, *, create: bool = True, synchronous: Synchronous = "NORMAL") -> None:
        self.url = url
        self._synchronous: Synchronous = synchronous
        self._engine = connect(url, create=create, synchronous=synchronous)
        self._sessions = Sessions(self._engine, url, patient=create)
        self.artifacts = Artifacts(self._sessions, store_folder(url))
        self.measurements = Measurements(self._sessions)
        self.ledger = LedgerEntries(self._sessions)
        self.fits = Fits(self._sessions)
        weakref.finalize(self, self._engine.dispose)  # a store that is dropped gives its connections back

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return partial(Store, synchronous=self._synchronous), (self.url,)

    def __repr__(self) -> str:
        return f"Store({shown(self.url)!r})"

    def close(self) -> None:
        """Give the database connections back."""
        self._engine.dispose()

    def open(self, name: str, config: Mapping[str, Any]) -> StudyRecord:
        """The study `name`, made now if it is new; StudyMismatch says what differs when it exists with another configuration."""
        check_text(name, "the name of a study")
        values = json.loads(json.dumps(config, allow_nan=False))
        try:
            study = self._sessions.write(
                lambda connection: study_changes.find(connection, name) or study_changes.make(connection, name, values)
            )
        except IntegrityError:  # another driver made it between our look and our insert
            study = self.study(name)
        if differences := list(_differences(study.config, values)):
            shown_differences = "; ".join(differences[:4]) + (f"; and {len(differences) - 4} more" if len(differences) > 4 else "")
            raise StudyMismatch(f"study {name!r} exists with another configuration: {shown_differences}; choose another --name")
        return study

    def driving(self, study: StudyRecord) -> AbstractContextManager[Lease]:
        """A lease on the study for a `with` block; StoreError when it lies in a file and another process drives it."""
        return leases.leased(self._sessions, study)

    def study(self, name: str) -> StudyRecord:
        """The stored study of this name; StoreError lists the known ones."""
        check_text(name, "the name of a study")
        if (found := self._sessions.read(lambda connection: study_changes.find(connection, name))) is not None:
            return found
        known = ", ".join(summary.study.name for summary in self.studies()) or "none yet"
        raise StoreError(f"no study {name!r} in {shown(self.url)}; known: {known}")

    def studies(self) -> list[StudySummary]:
        """All studies, oldest first, with the number of their trials in each state and when each driver last wrote."""
        counted = select(TRIALS.c.study_id, TRIALS.c.state, func.count(), func.max(TRIALS.c.updated_at))
        counted = counted.group_by(TRIALS.c.study_id, TRIALS.c.state)
        heard = select(TRIALS.c.study_id, func.max(TRIALS.c.updated_at)).group_by(TRIALS.c.study_id, TRIALS.c.driver)
        heard = heard.where(TRIALS.c.study_id.in_(select(STUDIES.c.id)), TRIALS.c.state == TrialState.RUNNING)  # by the index
        queries = (all_studies(), counted, heard)
        rows, counts, moments = self._sessions.read(lambda connection: [connection.execute(query).all() for query in queries])
        return [_summary(study_record(row), _of(row.id, counts), _of(row.id, moments)) for row in rows]

    def rename(self, study: StudyRecord, new: str) -> StudyRecord:
        """The study under another name; StoreError when that is in use, and while the study is being driven."""

        def change(connection: Connection) -> StudyRecord:
            leases.check_undriven(connection, study, lease)
            return study_changes.rename(connection, study, new)

        with self.driving(study) as lease:
            return self._named(new, change)

    def copy(self, study: StudyRecord, new: str) -> StudyRecord:
        """A second study of the same configuration with trials, reports, measurements and fits, not files; StoreError for a name in use."""
        return self._named(new, lambda connection: study_changes.copy(connection, study, new))

    def delete(self, study: StudyRecord) -> None:
        """Take a study out of the store with its trials; their files stay on disk. StoreError while it is being driven."""
        with self.driving(study) as lease:
            self._sessions.write(lambda connection: leases.delete_study(connection, study, lease))

    def trials(self, study: StudyRecord, *, states: Sequence[TrialState] | None = None) -> list[Trial]:
        """The study's trials by number, all or those in `states`."""
        query = trials_of(study) if states is None else trials_of(study).where(TRIALS.c.state.in_(states))
        return self._sessions.read(lambda connection: find_trials(connection, query))

    def changes(self, study: StudyRecord, since: datetime | None) -> list[Trial]:
        """The trials written since a moment of this driver's clock, all when it is None.

        Those of the half minute before it come once more: drivers' clocks differ, and a trial is seen only when its writing has ended.
        """
        query = (
            trials_of(study) if since is None else trials_of(study).where(TRIALS.c.updated_at > since - timedelta(seconds=leases.OVERLAP_S))
        )
        return self._sessions.read(lambda connection: find_trials(connection, query))

    def columns(self, study: StudyRecord, plain: Sequence[str], as_text: Sequence[str] = ()) -> dict[str, Sequence[Any]]:
        """These columns of the study's trials by number, in bulk, no record for each; those `as_text` as the JSON that is stored."""
        wanted = [*(TRIALS.c[name] for name in plain), *(cast(TRIALS.c[name], Text) for name in as_text)]
        query = select(*wanted).where(TRIALS.c.study_id == study.id).order_by(TRIALS.c.number)
        rows = self._sessions.read(lambda connection: connection.execute(query).all())
        return dict(zip((*plain, *as_text), zip(*rows, strict=True) if rows else ((),) * len(wanted), strict=True))

    def trial(self, study: StudyRecord, number: int) -> Trial:
        """One trial by its number; StoreError when the study has none such."""
        query = trials_of(study).where(TRIALS.c.number == number)
        for trial in self._sessions.read(lambda connection: find_trials(connection, query)):
            return trial
        raise StoreError(f"study {study.name!r} has no trial {number}")

    def reports(self, study: StudyRecord, *, numbers: Collection[int] | None = None) -> dict[int, list[Report]]:
        """The reports of the study by trial number, in order of epochs: of every trial, or of those with these `numbers`."""
        query = (
            select(TRIALS.c.number, REPORTS.c.step, REPORTS.c.metrics)
            .join_from(REPORTS, TRIALS)
            .where(TRIALS.c.study_id == study.id)
            .order_by(TRIALS.c.number, REPORTS.c.step)
        )
        if numbers is not None:
            query = query.where(TRIALS.c.number.in_([int(number) for number in numbers]))
        reports: dict[int, list[Report]] = {}
        for number, step, metrics in self._sessions.read(lambda connection: connection.execute(query).all()):
            reports.setdefault(number, []).append(Report(step, metrics))
        return reports

    def add(self, study: StudyRecord, trials: Sequence[NewTrial], *, driver: str | None = None, worker: str | None = None) -> list[Trial]:
        """The trials as stored, numbered on from the study's last; finished ones carry the moment.

        With `driver` those to be queued run for it at once, on their first attempt. A trial added alone that the study holds already (same
        choice, same seed) is `Taken`; among several such a trial comes back as it stands.
        """
        return self._sessions.write(lambda connection: trial_changes.add(connection, study, trials, driver=driver, worker=worker))

    def start(self, trial: Trial, *, worker: str | None = None, driver: str | None = None, fresh: bool = True) -> bool:
        """Begin an attempt of a queued or paused trial, or of one that this driver runs already; False when another took it first.

        From its beginning, what an earlier attempt reported being forgotten; unless `fresh` is false: then it goes on from its checkpoint.
        """
        return self._sessions.write(lambda connection: trial_changes.start(connection, trial, worker=worker, driver=driver, fresh=fresh))

    def report(self, trial: Trial, report: Report, *, fidelity: Mapping[str, Any], driver: str | None = None) -> bool:
        """Store the metrics of one epoch, which become the trial's; measured again, they replace the earlier ones.

        False, and nothing stored, when the trial is no longer `driver`'s; so for every change below.
        """
        return self._record(trial, report, {"fidelity": dict(fidelity)}, driver)

    def set_checkpoint(self, trial: Trial, path: str, *, driver: str | None = None) -> bool:
        """Store where the trial's training goes on."""
        return self._change(trial, driver, {"checkpoint": path})

    def pause(self, trial: Trial, *, driver: str | None = None) -> bool:
        """Let a trial wait with its metrics, fidelity and checkpoint, for any driver to go on with it."""
        return self._change(trial, driver, {"state": TrialState.PAUSED, "worker": None, "driver": None})

    def finish(
        self,
        trial: Trial,
        state: TrialState,
        *,
        reason: str | None = None,
        fidelity: Mapping[str, Any] | None = None,
        last: Report | None = None,
        driver: str | None = None,
    ) -> bool:
        """End a trial in a finished state; its last report stays as its metrics, and its fidelity too unless one is given.

        A `last` report that is handed in here costs no transaction of its own.
        """
        if not state.finished:
            raise ValueError(f"a trial ends COMPLETE, PRUNED, INFEASIBLE or FAILED, got {state}")
        measured = {} if fidelity is None else {"fidelity": dict(fidelity)}
        return self._record(trial, last, {"state": state, "reason": reason, "finished_at": now(), **measured}, driver)

    def requeue(self, trial: Trial, *, driver: str | None = None) -> bool:
        """Put a trial back in the queue, as if nobody had taken it."""
        waiting = {"state": TrialState.QUEUED, "worker": None, "driver": None, "reason": None, "finished_at": None}
        return self._change(trial, driver, waiting)

    def requeue_running(self, study: StudyRecord, *, driver: str | None = None) -> int:
        """Put the running trials, all or one driver's, back in the queue with their reports and checkpoints; returns how many."""
        running = and_(TRIALS.c.study_id == study.id, TRIALS.c.state == TrialState.RUNNING)
        whose = running if driver is None else and_(running, TRIALS.c.driver == driver)
        return self._sessions.write(lambda connection: trial_changes.requeue(connection, whose))

    def reclaim(self, study: StudyRecord, lease: Lease) -> list[Trial]:
        """The trials that dead drivers left running, back in the queue with their reports and checkpoints."""
        return self._sessions.write(lambda connection: leases.reclaim(connection, study, lease))

    def signs_of_life(self, study: StudyRecord) -> dict[str, datetime]:
        """When each of the drivers that share the study has last renewed its lease, by the server's clock."""
        return self._sessions.read(lambda connection: leases.signs_of_life(connection, study))

    def _change(self, trial: Trial, driver: str | None, values: Mapping[str, Any]) -> bool:
        return self._record(trial, None, values, driver)

    def _record(self, trial: Trial, report: Report | None, values: Mapping[str, Any], driver: str | None) -> bool:
        if report is not None:
            check_finite(report.metrics)
        return self._sessions.write(lambda connection: trial_changes.record(connection, trial, report, values, driver=driver))

    def _named(self, name: str, change: Callable[[Connection], StudyRecord]) -> StudyRecord:
        check_text(name, "the name of a study")
        try:
            return self._sessions.write(change)
        except IntegrityError:
            raise StoreError(f"{shown(self.url)} has a study {name!r} already; choose another name") from None


def _of(study: int, rows: Sequence[Any]) -> list[Any]:
    """The rows that begin with a study's id, without it."""
    return [row[1:] for row in rows if row[0] == study]


def _summary(study: StudyRecord, counts: Sequence[tuple[TrialState, int, datetime]], heard: Sequence[tuple[datetime]]) -> StudySummary:
    updated_at = max([study.created_at, *(moment for _, _, moment in counts)])
    heard_at = tuple(sorted(moment for (moment,) in heard))
    return StudySummary(study=study, counts={state: n for state, n, _ in counts}, updated_at=updated_at, heard_at=heard_at)


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
