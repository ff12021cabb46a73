"""Variants side by side as tables of words: what they are, what they cost and what was measured, differences marked."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import pandas as pd

from dashboard.quantities import shown
from searchspace.cost import COST_METRICS, cost
from searchspace.depth_split import paper_depth
from searchspace.memory import Training, memory_bytes
from searchspace.model_config import ModelConfig
from searchspace.presets import PRESETS
from searchspace.styles import style_text
from studies.fidelity import fidelity_text
from studies.records import METRICS, Trial

MARK = "≠"
DIFFERS, WHAT = "differs", "what"  # the first columns of every table
Shower = Callable[[ModelConfig], str]


@dataclass(frozen=True, slots=True)
class Compared:
    """A variant under the heading of its column: a trial's, or a published one."""

    heading: str
    config: ModelConfig
    trial: Trial | None = None
    preset: str | None = None


def of_trial(trial: Trial) -> Compared:
    """The column of a trial; ValueError for one without an architecture."""
    if trial.model is None:
        raise ValueError(f"trial {trial.number} has no architecture to compare: {trial.reason}")
    config = ModelConfig.from_dict(trial.model)
    return Compared(f"trial {trial.number} · {config.short_name}", config, trial=trial)


def of_preset(name: str) -> Compared:
    """The column of a published variant."""
    return Compared(f"InternImage-{name}", PRESETS[name].config, preset=name)


def architecture_table(columns: Sequence[Compared]) -> pd.DataFrame:
    """The architectures row by row; switches only where one of them has turned them."""
    rows = {what: [show(each.config) for each in columns] for what, show in _SHAPE.items()}
    for name in _FURTHER:
        values = [getattr(each.config, name) for each in columns]
        if any(value != _DEFAULTS[name] for value in values):
            rows[name.replace("_", " ")] = [_word(value) for value in values]
    return _table(columns, rows)


def costs_table(columns: Sequence[Compared], *, image_size: int = 224, num_classes: int = 1000, batch_size: int = 64) -> pd.DataFrame:
    """Exact costs, and the predicted memory of training a batch, each with its ratio to the first column's."""
    sizes = [_sizes(each.config, image_size, num_classes, batch_size) for each in columns]
    rows = {METRICS[name].name: [_with_ratio(name, size[name], sizes[0][name]) for size in sizes] for name in (*COST_METRICS, "memory")}
    return _table(columns, rows)


def measured_table(columns: Sequence[Compared]) -> pd.DataFrame:
    """What was measured of the trials with its difference from the first that has it, and the published accuracies."""
    rows: dict[str, list[str]] = {}
    for name, metric in METRICS.items():
        values = [None if each.trial is None or metric.origin == "cost" else each.trial.value(name) for each in columns]
        if any(value is not None for value in values):
            rows[metric.name] = _with_differences(name, values)
    if any(each.trial for each in columns):
        rows["state"] = ["–" if each.trial is None else each.trial.state.value.lower() for each in columns]
        rows["seed"] = ["–" if each.trial is None else str(each.trial.seed) for each in columns]
    if any(each.preset for each in columns):
        rows["published top-1"] = [_published(each) for each in columns]
    return _table(columns, rows)


def fidelities(columns: Sequence[Compared]) -> str:
    """At what effort the numbers were measured, and whether they may be compared at all."""
    found: dict[str, list[str]] = {}
    for each in columns:
        if each.trial is not None:
            found.setdefault(fidelity_text([each.trial.fidelity]) or "nothing yet", []).append(f"trial {each.trial.number}")
    published = " Published accuracies are ImageNet's." if any(each.preset for each in columns) else ""
    if len(found) > 1:
        told = [f"{', '.join(who)} on {how}" for how, who in found.items()]
        return f"Measured at different fidelities: {'; '.join(told)}.{published}"
    return f"{f'Measured on {next(iter(found))}.' if found else ''}{published}".strip()


_SHAPE: Mapping[str, Shower] = {
    "style": style_text,
    "C1": lambda config: f"{config.channels:,}",
    "C′": lambda config: str(config.group_channels),
    "depths": lambda config: ", ".join(map(str, config.depths)),
    "D = 3·L1 + L3": lambda config: str(paper_depth(config)) if config.is_aaba else "–",
    "widths": lambda config: ", ".join(f"{width:,}" for width in config.widths),
    "groups": lambda config: ", ".join(map(str, config.groups)),
}
_DEFAULTS: Mapping[str, Any] = {field.name: field.default for field in fields(ModelConfig)}
_FURTHER = tuple(name for name in _DEFAULTS if name not in ("channels", "group_channels", "depths"))


def _table(columns: Sequence[Compared], rows: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    table = {
        DIFFERS: [MARK if len(set(values) - {"–"}) > 1 else "" for values in rows.values()],
        WHAT: list(rows),
        **{each.heading: [values[i] for values in rows.values()] for i, each in enumerate(columns)},
    }
    return pd.DataFrame(table)


def _sizes(config: ModelConfig, image_size: int, num_classes: int, batch_size: int) -> dict[str, int | None]:
    try:
        size = cost(config, image_size, num_classes)
        training = Training(batch_size=batch_size, image_size=image_size, num_classes=num_classes)
        return {**{name: int(getattr(size, name)) for name in COST_METRICS}, "memory": memory_bytes(config, training).total}
    except ValueError:  # H's and G's heads do not take every image size
        return dict.fromkeys((*COST_METRICS, "memory"))


def _with_ratio(metric: str, value: int | None, first: int | None) -> str:
    if value is None or not first:
        return shown(metric, value)
    return shown(metric, value) + ("" if value == first else f"  (× {value / first:.2f})")


def _with_differences(metric: str, values: Sequence[float | None]) -> list[str]:
    first = next(value for value in values if value is not None)
    return [shown(metric, value) + _difference(metric, value, first) for value in values]


def _difference(metric: str, value: float | None, first: float) -> str:
    """How far a value lies from the first, in the metric's unit; nothing where that rounds to none."""
    if value is None or METRICS[metric].show(value) == METRICS[metric].show(first):
        return ""
    return f"  ({(value - first) / METRICS[metric].scale:+,.{METRICS[metric].decimals}f})"


def _published(each: Compared) -> str:
    if each.preset is None:
        return "–"
    return f"{PRESETS[each.preset].top1:.1f}% at {PRESETS[each.preset].image_size} px"


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) or "none" if isinstance(value, tuple) else "none" if value is None else str(value)
