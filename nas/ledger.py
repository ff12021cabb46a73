"""Where a search's device-seconds went: every slot-second of its wall clock, charged where it is spent.

Slots are charged between events: a free slot to what the driver is doing meanwhile, else to `idle`; a slot that a trial holds to what its
worker measured. So the categories add up to wall × slots, whatever the order of events, and what nobody measured is a line of its own.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from studies.records import Lease, StudyRecord, TrialState

if TYPE_CHECKING:
    from studies.store import Store

CATEGORIES: Mapping[str, str] = {
    "sampling": "slots waited for the sampler",
    "training": "steps of trials that were not pruned",
    "evaluation": "measuring what was trained, and what is measured before any training",
    "start-up": "from a trial's start to its first step, and starting the engine",
    "retries": "attempts that were lost, and epochs trained again after them",
    "pruned": "training and evaluation of pruned trials",
    "idle": "slots without a trial",
    "unaccounted": "what nobody measured",
}
WORKER = ("training", "evaluation", "start-up")  # what a worker measures
_REPEATABLE = ("training", "evaluation")


@dataclass(slots=True)
class _Slot:
    """A slot that a trial holds: charged up to `since` (None while it waits for one), `waits` of the driver known then."""

    since: float | None
    waits: dict[str, float]
    epoch: int
    stepped: bool = False


class Ledger:
    """Device-seconds of one run of one driver with `slots` slots, from now on; `clock` is in seconds and never goes back.

    The driver tells when a trial takes a slot, what each step of it spent in its worker, and when it gives the slot back.
    """

    def __init__(self, slots: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        if slots < 1:
            raise ValueError(f"slots must be at least 1, got {slots}")
        self.slots = slots
        self._clock = clock
        self._before = 0.0  # device-seconds of the time before the slots were as many as now
        self._begun = self._resized = self._now = clock()
        self._totals = dict.fromkeys(CATEGORIES, 0.0)
        self._flushed = dict(self._totals)
        self._held: dict[int, _Slot] = {}
        self._work: dict[int, dict[str, float]] = {}  # what becomes `pruned` once the trial is
        self._doing: list[str] = []
        self._waits: dict[str, float] = {}

    @property
    def elapsed(self) -> float:
        """Seconds of wall clock since the ledger was opened."""
        return self._sweep() - self._begun

    @property
    def device_seconds(self) -> float:
        """Wall clock × slots so far."""
        return self._before + (self._sweep() - self._resized) * self.slots

    def resize(self, slots: int) -> None:
        """From now on there are `slots` slots, none of which a trial may hold: a cluster says what room it has once it is joined."""
        if slots < 1 or self._held:
            raise ValueError(f"slots must be at least 1 and free, got slots={slots} with {len(self._held)} held")
        self._before, self._resized, self.slots = self.device_seconds, self._now, slots

    @property
    def under_way(self) -> float:
        """Slot-seconds of steps that have not come back yet; `totals` and these make up `device_seconds`."""
        now = self._sweep()
        return sum(now - slot.since for slot in self._held.values() if slot.since is not None)

    def totals(self) -> dict[str, float]:
        """Device-seconds by category; a step counts once it has come back."""
        self._sweep()
        return dict(self._totals)

    @contextmanager
    def time(self, category: str) -> Iterator[None]:
        """Charge to `category` what free slots, and steps that have come back, wait for the driver during the block."""
        if category not in CATEGORIES:
            raise ValueError(f"unknown category {category!r}; known: {', '.join(CATEGORIES)}")
        self._sweep()
        self._doing.append(category)
        try:
            yield
        finally:
            self._sweep()
            self._doing.pop()

    def started(self, trial: int, *, epoch: int = 0) -> None:
        """A trial takes a slot; `epoch` is the last that an earlier attempt reported: up to there, steps are repeats.

        With all slots taken it waits for the next one, and is charged from then on.
        """
        now = self._sweep()
        self._held[trial] = _Slot(now if self._free() > 0 else None, dict(self._waits), epoch)

    def step(self, trial: int, spent: Mapping[str, float], *, epoch: int | None = None) -> None:
        """A step came back: `spent` are the seconds that its worker measured, by category of WORKER; `epoch` is the one it reached.

        What is left of the time since the last event was waiting for the driver, then start-up before the first step; else unaccounted.
        """
        if unknown := sorted(set(spent) - set(WORKER)):
            raise ValueError(f"a worker spends {', '.join(WORKER)}, got {', '.join(unknown)}")
        slot, length = self._lap(trial)
        repeated = epoch is not None and epoch <= slot.epoch
        left = length
        for category, seconds in _within(spent, length).items():
            self._charge(trial, "retries" if repeated and category in _REPEATABLE else category, seconds)
            left -= seconds
        self._charge_rest(slot, max(0.0, left), "unaccounted" if slot.stepped else "start-up")
        slot.stepped, slot.epoch = True, max(slot.epoch, epoch or 0)

    def lost(self, trial: int) -> None:
        """An attempt was lost and the trial begins another one in its slot; what the attempt had reported before stays charged."""
        slot, length = self._lap(trial)
        self._charge(trial, "retries", length)
        slot.stepped, slot.waits = False, dict(self._waits)

    def ended(self, trial: int, state: TrialState | None) -> None:
        """A trial gives its slot back in `state`; None puts it back in the queue. Call `step` first where a last step came back.

        Without one, the time since its last event is a lost attempt's if it failed or is queued again.
        """
        slot, length = self._lap(trial)
        if state is None or state is TrialState.FAILED:
            self._charge(trial, "retries", length)
        else:
            self._charge_rest(slot, length, "unaccounted")
        del self._held[trial]
        self._give_on()
        if state is TrialState.PRUNED:
            self.pruned(trial)
        elif state is not None and state.finished:
            self._work.pop(trial, None)

    def pruned(self, trial: int) -> None:
        """A trial, running or paused, is pruned: what this run spent on training and evaluating it becomes `pruned`."""
        for category, seconds in self._work.pop(trial, {}).items():
            self._totals[category] -= seconds
            self._totals["pruned"] += seconds

    def flush(self, store: "Store", study: StudyRecord, lease: Lease) -> None:
        """Add to the store what has been spent since the last flush, under the lease's driver."""
        totals = self.totals()
        spent = {name: seconds - self._flushed[name] for name, seconds in totals.items() if seconds != self._flushed[name]}
        if spent:
            store.ledger.add(study, spent, driver=lease.id)
            self._flushed = totals

    def _free(self) -> int:
        return self.slots - sum(slot.since is not None for slot in self._held.values())

    def _sweep(self) -> float:
        """Charge the free slots up to now, which is returned."""
        now = max(self._now, self._clock())
        passed, self._now = now - self._now, now
        doing = self._doing[-1] if self._doing else "idle"
        self._totals[doing] += self._free() * passed
        if self._doing:
            self._waits[doing] = self._waits.get(doing, 0.0) + passed
        return now

    def _lap(self, trial: int) -> tuple[_Slot, float]:
        """A trial's slot and the seconds since its last event, which are to be charged now."""
        now, slot = self._sweep(), self._held[trial]
        length = 0.0 if slot.since is None else now - slot.since
        slot.since = None if slot.since is None else now
        return slot, length

    def _give_on(self) -> None:
        """Let the trial that has waited longest have the slot that has just become free."""
        for slot in self._held.values():
            if slot.since is None and self._free() > 0:
                slot.since, slot.waits = self._now, dict(self._waits)

    def _charge(self, trial: int, category: str, seconds: float) -> None:
        self._totals[category] += seconds
        if category in _REPEATABLE:
            work = self._work.setdefault(trial, {})
            work[category] = work.get(category, 0.0) + seconds

    def _charge_rest(self, slot: _Slot, seconds: float, category: str) -> None:
        """What of `seconds` the slot cannot have waited for the driver goes to `category`."""
        for doing, total in self._waits.items():
            waited = min(seconds, total - slot.waits.get(doing, 0.0))
            self._totals[doing] += waited
            seconds -= waited
        slot.waits = dict(self._waits)
        self._totals[category] += seconds


def _within(spent: Mapping[str, float], length: float) -> dict[str, float]:
    """`spent` without negative values, scaled down where a worker's clock says more than the driver's `length`."""
    positive = {category: max(0.0, seconds) for category, seconds in spent.items()}
    total = sum(positive.values())
    return positive if total <= length else {category: seconds * length / total for category, seconds in positive.items()}
