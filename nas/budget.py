"""How much a search may spend, and when it has found what it was to find."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from studies.constraints import Constraint
from studies.records import Trial, TrialState

UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"^\s*(\d+(?:\.\d*)?|\.\d+)\s*([smhd]?)\s*$", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True, init=False)
class Budget:
    """Limits of a search, whichever is reached first; None is no limit.

    `trials` are trained trials of the study, each seed of a candidate one, `device_seconds` all that the study has spent (slots × wall
    clock of every run and driver), `seconds` the wall clock of one run. `until` is met by one complete trial that keeps all of its bounds;
    with several seeds by a candidate whose means do. A bound may be text such as `top1>=97%`.
    """

    trials: int | None = None
    seconds: float | None = None
    device_seconds: float | None = None
    until: tuple[Constraint, ...] = ()

    def __init__(  # written out, so that type checkers know that a bound may be text
        self,
        *,
        trials: int | None = None,
        seconds: float | None = None,
        device_seconds: float | None = None,
        until: Sequence[Constraint | str] = (),
    ) -> None:
        if trials is not None and (type(trials) is not int or trials < 1):
            raise ValueError(f"trials must be whole and at least 1, got {trials!r}")
        for name, value in {"seconds": seconds, "device_seconds": device_seconds}.items():
            if value is not None and not is_seconds(value):
                raise ValueError(f"{name} must be a number of seconds above 0, got {value!r}")
            object.__setattr__(self, name, value)
        object.__setattr__(self, "trials", trials)
        object.__setattr__(self, "until", _bounds(until))

    def reached(self, *, trained: int, elapsed: float, device_seconds: float, best: Sequence[Trial]) -> str | None:
        """Why nothing new starts, in words; None while there is something left to spend and to find.

        `best` are trials of which one may meet the target: all of the study, or only those that have just ended.
        """
        if self.trials is not None and trained >= self.trials:
            return f"{trained} trials are trained, as many as asked for"
        if self.seconds is not None and elapsed >= self.seconds:
            return f"the time is up: {duration_text(elapsed)} of {duration_text(self.seconds)}"
        if self.device_seconds is not None and device_seconds >= self.device_seconds:
            return f"the device time is spent: {duration_text(device_seconds)} of {duration_text(self.device_seconds)}"
        return self._target_met(best)

    def _target_met(self, trials: Sequence[Trial]) -> str | None:
        if not self.until:
            return None
        for trial in trials:
            if trial.state is TrialState.COMPLETE and all(bound.violation(trial) <= 0 for bound in self.until):
                return f"trial {trial.number} reached the target {' and '.join(bound.text for bound in self.until)}"
        return None


def is_seconds(value: object) -> bool:
    """Whether a value is a finite number above 0."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf


def _bounds(until: Sequence[Constraint | str]) -> tuple[Constraint, ...]:
    """The bounds of `until`, those that are text read; ValueError for anything else."""
    if not isinstance(until, list | tuple) or not all(isinstance(bound, Constraint | str) for bound in until):
        raise ValueError(f'until must be a list of bounds such as ["top1>=97%"], got {until!r}')
    return tuple(Constraint.parse(bound) if isinstance(bound, str) else bound for bound in until)


def parse_duration(text: str) -> float:
    """The seconds that `8h`, `90m`, `1.5d`, `45s` or `3600` write; ValueError otherwise."""
    match = _DURATION.match(text)
    seconds = 0.0 if match is None else float(match[1]) * UNITS[match[2].lower() or "s"]
    if not 0 < seconds < math.inf:
        raise ValueError(f"not a duration: {text[:40]!r}; write a positive number of seconds or with a unit: 3600, 90m, 8h or 1d")
    return seconds


def duration_text(seconds: float) -> str:
    """A duration in the largest unit that it fills, with at most one decimal: `8h`, `1.5h`, `90s` is `1.5m`."""
    unit = next((unit for unit in ("d", "h", "m") if seconds >= UNITS[unit]), "s")
    return f"{round(seconds / UNITS[unit], 1):g}{unit}"
