"""Values of metrics and durations as the dashboard writes them, carrying their unit."""

from collections.abc import Mapping

from studies.records import METRICS

_UNITS: Mapping[str, float] = {"d": 86400.0, "h": 3600.0, "min": 60.0}


def shown(metric: str, value: float | None) -> str:
    """A value in plain units as people read it: `30.10M`, `71.2%`, `12.3 s`; an en dash when there is none."""
    missing = value is None or value != value  # pandas has NaN where a trial has no value
    return "–" if missing else f"{METRICS[metric].show(value)}{METRICS[metric].unit}"


def number_format(metric: str) -> str:
    """The printf format of the metric's scaled values."""
    return f"%.{METRICS[metric].decimals}f{METRICS[metric].unit.replace('%', '%%')}"


def duration(seconds: float | None) -> str:
    """Seconds in the largest unit that they fill: `45 s`, `1.5 h`, `12 d`; an en dash for None."""
    if seconds is None or seconds != seconds:
        return "–"
    if seconds < 1:
        return "< 1\u202fs"
    unit, length = next(((unit, length) for unit, length in _UNITS.items() if seconds >= length), ("s", 1.0))
    return f"{seconds / length:.3g}\u202f{unit}" if seconds / length < 100 else f"{seconds / length:,.0f}\u202f{unit}"
