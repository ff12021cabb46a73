"""What was measured of a study's candidates before any of them became a trial, so that a killed search measures nothing twice."""

import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import select
from sqlalchemy.dialects import postgresql, sqlite

from studies.records import StudyRecord, check_finite
from studies.schema import MeasurementRow
from studies.sessions import Sessions

INSERT = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}
Choice = Mapping[str, Any]


class Measurements:
    """Values by study, choice and metric."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    def of(self, study: StudyRecord) -> list[tuple[Choice, Mapping[str, float]]]:
        """Every measured choice of a study with what was measured of it."""
        query = select(MeasurementRow).where(MeasurementRow.study_id == study.id).order_by(MeasurementRow.choice, MeasurementRow.metric)
        found: dict[str, dict[str, float]] = {}
        with self._sessions.read() as session:
            for row in session.scalars(query):
                found.setdefault(row.choice, {})[row.metric] = row.value
        return [(json.loads(choice), values) for choice, values in found.items()]

    def record(self, study: StudyRecord, measured: list[tuple[Choice, Mapping[str, float]]]) -> None:
        """Store values of choices, all or none; measured again, they replace the earlier ones."""
        rows = [
            {"study_id": study.id, "choice": json.dumps(dict(choice), sort_keys=True), "metric": metric, "value": value}
            for choice, values in measured
            for metric, value in values.items()
        ]
        for _, values in measured:
            check_finite(values)
        with self._sessions.write() as session:
            for row in rows:
                insert: Any = INSERT[self._sessions.engine.dialect.name](MeasurementRow).values(row)  # both dialects spell it alike
                keys = ["study_id", "choice", "metric"]
                session.execute(insert.on_conflict_do_update(index_elements=keys, set_={"value": insert.excluded.value}))
