"""How fast a search goes, and how long the rest of it will take."""

import time
from collections.abc import Iterable

from nas.rungs import epochs_of
from studies.records import Trial


class Pace:
    """The epochs that came in since the first trial began, of trainings of `epochs` each."""

    def __init__(self, epochs: int) -> None:
        self._epochs = epochs
        self._begun_at: float | None = None
        self._seen = 0

    def begin(self) -> None:
        """A trial begins."""
        if self._begun_at is None:
            self._begun_at = time.monotonic()

    def step(self) -> None:
        """An epoch came in."""
        self._seen += 1

    def seconds_left(self, missing: int, running: Iterable[Trial]) -> float | None:
        """How long `missing` trials and the rest of the running ones take at the rate so far; None before the first epoch."""
        if self._begun_at is None or self._seen == 0:
            return None
        left = missing * self._epochs + sum(self._epochs - epochs_of(trial) for trial in running)
        return left * (time.monotonic() - self._begun_at) / self._seen
