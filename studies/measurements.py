"""What was measured of a study's candidates before any of them became a trial, so that a killed search measures nothing twice."""

import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import select

from studies.records import StudyRecord, check_finite
from studies.rows import choice_text, upsert
from studies.schema import MEASUREMENTS
from studies.sessions import Sessions

Choice = Mapping[str, Any]


class Measurements:
    """Values by study, choice and metric."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    def of(self, study: StudyRecord) -> list[tuple[Choice, Mapping[str, float]]]:
        """Every measured choice of a study with what was measured of it."""
        columns = (MEASUREMENTS.c.choice, MEASUREMENTS.c.metric, MEASUREMENTS.c.value)
        query = select(*columns).where(MEASUREMENTS.c.study_id == study.id).order_by(*columns[:2])
        found: dict[str, dict[str, float]] = {}
        for choice, metric, value in self._sessions.read(lambda connection: connection.execute(query).all()):
            found.setdefault(choice, {})[metric] = value
        return [(json.loads(choice), values) for choice, values in found.items()]

    def record(self, study: StudyRecord, measured: list[tuple[Choice, Mapping[str, float]]]) -> None:
        """Store values of choices, all or none; measured again, they replace the earlier ones."""
        rows = [
            {"study_id": study.id, "choice": choice_text(choice), "metric": metric, "value": value}
            for choice, values in measured
            for metric, value in values.items()
        ]
        for _, values in measured:
            check_finite(values)
        self._sessions.write(lambda connection: upsert(connection, MEASUREMENTS, rows))
