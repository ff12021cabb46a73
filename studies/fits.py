"""Scaling laws fitted to a study's trials: each stays as it was found, the newest counts."""

import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import insert, select

from studies.records import Fit, StudyRecord
from studies.rows import now
from studies.schema import FITS
from studies.sessions import Sessions

_COLUMNS = (FITS.c.id, FITS.c.metric, FITS.c.content, FITS.c.created_at)


class Fits:
    """What was fitted to each study, and when."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    def add(self, study: StudyRecord, metric: str, content: Mapping[str, Any]) -> Fit:
        """Store a fit beside the earlier ones; ValueError for numbers that are not finite, which JSON cannot hold."""
        plain = json.loads(json.dumps(content, allow_nan=False))
        made = insert(FITS).values(study_id=study.id, metric=metric, content=plain, created_at=now()).returning(*_COLUMNS)
        return Fit(**self._sessions.write(lambda connection: dict(connection.execute(made).mappings().one())))

    def of(self, study: StudyRecord) -> list[Fit]:
        """The study's fits, newest first."""
        query = select(*_COLUMNS).where(FITS.c.study_id == study.id).order_by(FITS.c.id.desc())
        return [Fit(**row) for row in self._sessions.read(lambda connection: connection.execute(query).mappings().all())]
