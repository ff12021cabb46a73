"""Where the device-seconds of a study went, by category."""

from collections.abc import Mapping

from sqlalchemy import func, select

from studies.records import StudyRecord, check_finite
from studies.rows import upsert
from studies.schema import LEDGER
from studies.sessions import Sessions


class LedgerEntries:
    """Device-seconds by study, driver and category."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    def add(self, study: StudyRecord, seconds: Mapping[str, float], *, driver: str) -> None:
        """Add what a driver spent since it last said so; ValueError for what is not finite."""
        check_finite(seconds)
        rows = [{"study_id": study.id, "driver": driver, "category": category, "seconds": spent} for category, spent in seconds.items()]
        self._sessions.write(lambda connection: upsert(connection, LEDGER, rows, increase=True))

    def of(self, study: StudyRecord) -> dict[str, float]:
        """Device-seconds by category, summed over drivers."""
        query = select(LEDGER.c.category, func.sum(LEDGER.c.seconds)).where(LEDGER.c.study_id == study.id)
        query = query.group_by(LEDGER.c.category).order_by(LEDGER.c.category)
        return {category: float(seconds) for category, seconds in self._sessions.read(lambda connection: connection.execute(query).all())}
