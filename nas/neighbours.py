"""The other drivers of a study that several share: what they have written, and what the dead among them left."""

import time
from collections.abc import Collection
from datetime import UTC, datetime

from studies import leases
from studies.records import Lease, StudyRecord, Trial
from studies.store import Store

LISTEN_S = 2.0


class Neighbours:
    """News of trials that others write from now on; none, and no look at the store, where a study has one driver."""

    def __init__(self, store: Store, study: StudyRecord, lease: Lease) -> None:
        self._store, self._study, self._lease = store, study, lease
        self._since = datetime.now(UTC)
        self._heard = self._reclaimed = time.monotonic()
        self._signs: dict[str, datetime] = {}

    def news(self, *, at_once: bool = False) -> list[Trial]:
        """Trials as they stand now, of which some may be known or our own; asked for every few seconds unless `at_once`.

        Those that a dead driver was running are back in the queue.
        """
        now = time.monotonic()
        if not self._lease.shared or (now - self._heard < LISTEN_S and not at_once):
            return []
        if now - self._reclaimed >= leases.LEASE_S / 3:
            self._store.reclaim(self._study, self._lease)
            self._reclaimed = now
        since, self._since, self._heard = self._since, datetime.now(UTC), now
        return self._store.changes(self._study, since)

    def may_be_dead(self, drivers: Collection[str | None]) -> bool:
        """Whether one of these has given no sign of life since it was first asked about."""
        if not drivers:
            return False
        signs = self._store.signs_of_life(self._study)
        self._signs = {**signs, **self._signs}
        return any(driver not in signs or signs[driver] == self._signs[driver] for driver in drivers)
