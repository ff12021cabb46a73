"""What trials left behind as files: where they lie, how large they are and what they hash to."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, delete, insert, select

from studies.records import Artifact, StudyRecord, Trial
from studies.rows import now
from studies.schema import ARTIFACTS, TRIALS
from studies.sessions import Sessions

_COLUMNS = tuple(ARTIFACTS.c[name] for name in ("id", "kind", "path", "size", "sha256", "created_at"))


class Artifacts:
    """The files of a store's trials, one of a kind for each trial; those below the store's `folder` move with it."""

    def __init__(self, sessions: Sessions, folder: Path | None) -> None:
        self._sessions = sessions
        self._folder = folder

    def of(self, study: StudyRecord, *, number: int | None = None) -> list[Artifact]:
        """The files of a study's trials by their number, of all or of one; whether they are still there is not looked at."""
        query = (
            select(*_COLUMNS, TRIALS.c.number)
            .join(TRIALS, ARTIFACTS.c.trial_id == TRIALS.c.id)
            .where(TRIALS.c.study_id == study.id)
            .order_by(TRIALS.c.number, ARTIFACTS.c.kind)
        )
        if number is not None:
            query = query.where(TRIALS.c.number == int(number))
        rows = self._sessions.read(lambda connection: connection.execute(query).mappings().all())
        return [self._artifact(dict(row), row["number"]) for row in rows]

    def record(self, trial: Trial, kind: str, file: Path) -> Artifact:
        """Store where a trial's file of this kind lies, its size and SHA-256, in place of an earlier one; OSError if it is not there."""
        values = {"kind": kind, "path": self._stored(file), "size": file.stat().st_size, "sha256": sha256(file), "created_at": now()}

        def change(connection: Connection) -> int:
            connection.execute(delete(ARTIFACTS).where(ARTIFACTS.c.trial_id == trial.id, ARTIFACTS.c.kind == kind))
            return int(connection.execute(insert(ARTIFACTS).values(trial_id=trial.id, **values).returning(ARTIFACTS.c.id)).scalar_one())

        return self._artifact({"id": self._sessions.write(change), **values}, trial.number)

    def forget(self, artifacts: Sequence[Artifact]) -> None:
        """Take files out of the store; the files stay where they are."""
        query = delete(ARTIFACTS).where(ARTIFACTS.c.id.in_([artifact.id for artifact in artifacts]))
        self._sessions.write(lambda connection: connection.execute(query))

    def _stored(self, file: Path) -> str:
        file = file.resolve()
        return str(file.relative_to(self._folder)) if self._folder is not None and file.is_relative_to(self._folder) else str(file)

    def _artifact(self, row: Mapping[str, Any], number: int) -> Artifact:
        path = Path(row["path"]) if self._folder is None else self._folder / row["path"]  # an absolute path stays itself
        same = {column.key: row[column.key] for column in _COLUMNS}
        return Artifact(**{**same, "trial": number, "path": path})


def sha256(file: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal; OSError if it cannot be read."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
