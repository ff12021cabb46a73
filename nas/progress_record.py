"""Where a search stands, for whoever watches it."""

from collections.abc import Callable
from dataclasses import dataclass

from studies.records import Trial


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a search stands; `best` is the best trial so far in the first objective, `seconds_left` an estimate or None.

    `stage` says what happens before the first trial; `done` and `total` then count candidates. `paused` trials wait at a rung. `ended` says
    why nothing new starts, once that is so; `sampler` which one chooses, and why. With several `seeds` the best is the mean over them.
    """

    study: str
    proxy: str
    done: int
    running: tuple[Trial, ...]
    total: int
    failed: int
    best: Trial | None
    last: Trial | None
    seconds_left: float | None
    stage: str | None = None
    paused: int = 0
    ended: str | None = None
    sampler: str | None = None
    seeds: int = 1


Listener = Callable[[Progress], None]
