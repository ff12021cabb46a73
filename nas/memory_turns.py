"""Whose turn it is to have the machine alone: a trial that ran out of the memory that it shared with others is tried again without them."""

from collections.abc import Collection, Mapping

from studies.records import Trial


class MemoryTurns:
    """The trials that wait for the machine to themselves, and those that have had it."""

    def __init__(self) -> None:
        self._waiting: set[int] = set()
        self._had: set[int] = set()

    def wants_one(self, number: int, running: Collection[int]) -> bool:
        """Whether a running trial that is out of memory gets a turn: others run, and it has had none."""
        if len(running) < 2 or number in self._had:
            return False
        self._waiting.add(number)
        return True

    def holds_back(self, running: Collection[int]) -> bool:
        """Whether nothing may begin beside what runs: a trial has its turn, or waits for the others to end."""
        return bool(running) and bool(self._waiting or self._had.intersection(running))

    def first(self, queued: Mapping[int, Trial]) -> Trial | None:
        """The trial to begin next of those in the queue."""
        return next((trial for number, trial in queued.items() if number in self._waiting), next(iter(queued.values()), None))

    def begun(self, number: int) -> None:
        """A trial begins; if it waited for its turn, this is it."""
        if number in self._waiting:
            self._waiting.remove(number)
            self._had.add(number)
