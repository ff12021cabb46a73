"""Values of metrics as the dashboard writes them, carrying their unit."""

from studies.records import METRICS


def shown(metric: str, value: float | None) -> str:
    """A value in plain units as people read it: `30.10M`, `71.2%`, `12.3 s`; an en dash when there is none."""
    missing = value is None or value != value  # pandas has NaN where a trial has no value
    return "–" if missing else f"{METRICS[metric].show(value)}{METRICS[metric].unit}"


def number_format(metric: str) -> str:
    """The printf format of the metric's scaled values."""
    return f"%.{METRICS[metric].decimals}f{METRICS[metric].unit.replace('%', '%%')}"
