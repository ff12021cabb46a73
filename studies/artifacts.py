"""What trials left behind as files: where they lie, how large they are and what they hash to."""

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import delete, select

from studies.records import Artifact, StudyRecord, Trial
from studies.schema import ArtifactRow, TrialRow
from studies.sessions import Sessions


class Artifacts:
    """The files of a store's trials, one of a kind for each trial; those below the store's `folder` move with it."""

    def __init__(self, sessions: Sessions, folder: Path | None) -> None:
        self._sessions = sessions
        self._folder = folder

    def of(self, study: StudyRecord) -> list[Artifact]:
        """The files of a study's trials, in the order of their numbers; whether they are still there is not looked at."""
        query = (
            select(ArtifactRow, TrialRow.number)
            .join(TrialRow, ArtifactRow.trial_id == TrialRow.id)
            .where(TrialRow.study_id == study.id)
            .order_by(TrialRow.number, ArtifactRow.kind)
        )
        with self._sessions.read() as session:
            return [self._artifact(row, number) for row, number in session.execute(query)]

    def record(self, trial: Trial, kind: str, file: Path) -> Artifact:
        """Store where a trial's file of this kind lies, its size and SHA-256, in place of an earlier one; OSError if it is not there."""
        row = ArtifactRow(
            trial_id=trial.id,
            kind=kind,
            path=self._stored(file),
            size=file.stat().st_size,
            sha256=sha256(file),
            created_at=datetime.now(UTC),
        )
        with self._sessions.write() as session:
            session.execute(delete(ArtifactRow).where(ArtifactRow.trial_id == trial.id, ArtifactRow.kind == kind))
            session.add(row)
            session.flush()
            return self._artifact(row, trial.number)

    def forget(self, artifacts: Sequence[Artifact]) -> None:
        """Take files out of the store; the files stay where they are."""
        with self._sessions.write() as session:
            session.execute(delete(ArtifactRow).where(ArtifactRow.id.in_([artifact.id for artifact in artifacts])))

    def _stored(self, file: Path) -> str:
        file = file.resolve()
        return str(file.relative_to(self._folder)) if self._folder is not None and file.is_relative_to(self._folder) else str(file)

    def _artifact(self, row: ArtifactRow, number: int) -> Artifact:
        path = Path(row.path) if self._folder is None else self._folder / row.path  # an absolute path stays itself
        return Artifact(id=row.id, trial=number, kind=row.kind, path=path, size=row.size, sha256=row.sha256, created_at=row.created_at)


def sha256(file: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal; OSError if it cannot be read."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
