"""Metrics as the dashboard writes them: the name without its unit, the unit, and values carrying it."""

from studies.records import METRICS


def name_of(metric: str) -> str:
    """The metric's label without its unit: `FLOPs` of `FLOPs (G)`."""
    return METRICS[metric].label.partition(" (")[0]


def unit_of(metric: str) -> str:
    """What is written behind a value: `G` of `FLOPs (G)`, nothing for a metric without a unit."""
    unit = METRICS[metric].label.partition(" (")[2].rstrip(")")
    return f"\u202f{unit}" if unit.islower() else unit


def shown(metric: str, value: float | None) -> str:
    """A value in plain units as people read it: `30.10M`, `71.2%`, `12.3 s`; an en dash when there is none."""
    missing = value is None or value != value  # pandas has NaN where a trial has no value
    return "–" if missing else f"{METRICS[metric].show(value)}{unit_of(metric)}"


def number_format(metric: str) -> str:
    """The printf format of the metric's scaled values."""
    return f"%.{METRICS[metric].decimals}f{unit_of(metric).replace('%', '%%')}"
