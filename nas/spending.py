"""What a study has spent, in all its runs and drivers, against what it may spend and what it was to find."""

import time
from collections.abc import Iterable
from dataclasses import replace

from nas.budget import Budget
from nas.ledger import Ledger
from studies.records import Lease, StudyRecord, Trial
from studies.store import Store

FLUSH_S = 30.0


class Spending:
    """A ledger and the budget that it is held against, counts of trials aside; written to the store now and then."""

    def __init__(self, store: Store, study: StudyRecord, lease: Lease, budget: Budget, ledger: Ledger) -> None:
        self._store, self._study, self._lease, self._ledger = store, study, lease, ledger
        self._budget = replace(budget, trials=None)
        self._times = replace(self._budget, until=())
        self._ended: str | None = None
        self._stored = sum(store.ledger.of(study).values())
        self._flushed = 0.0
        self._flushed_at = time.monotonic()

    @property
    def device_seconds(self) -> float:
        """What the study has spent in all its runs and drivers, as far as is known here."""
        return self._stored + self._ledger.device_seconds - self._flushed

    def why_ended(self) -> str | None:
        """Why nothing new starts, in words."""
        return self._ended or self._reached(self._budget)

    @property
    def out_of_time(self) -> bool:
        """Whether what is running must be put back in the queue, too."""
        return self._reached(self._times) is not None

    def found(self, trials: Iterable[Trial]) -> None:
        """Hear of trials that have ended, of which one may be what was looked for."""
        if self._budget.until and self._ended is None:
            self._ended = self._reached(Budget(until=self._budget.until), *trials)

    def flush(self, *, at_once: bool = True) -> None:
        """Write what has been spent to the store, and read what others have."""
        if not at_once and time.monotonic() - self._flushed_at < FLUSH_S:
            return
        self._ledger.flush(self._store, self._study, self._lease)
        self._flushed = sum(self._ledger.totals().values())
        self._stored = sum(self._store.ledger.of(self._study).values())
        self._flushed_at = time.monotonic()

    def _reached(self, budget: Budget, *best: Trial) -> str | None:
        return budget.reached(trained=0, elapsed=self._ledger.elapsed, device_seconds=self.device_seconds, best=best)
