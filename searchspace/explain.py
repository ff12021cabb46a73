"""What one variant has over another in the terms of the scaling rule: φ of width and of depth, what each costs alone, switches, stages."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

from searchspace.cost import Cost, cost, cost_by_part
from searchspace.exponents import exponents
from searchspace.model_config import ModelConfig
from searchspace.scaling import ALPHA, BETA
from searchspace.styles import restack

SHAPE = ("channels", "group_channels", "depths")  # the rest of an architecture are its switches
METRICS = ("params", "flops")


@dataclass(frozen=True, slots=True)
class Growth:
    """One size of both, how often it doubles from the first to the second, and how often depth and width alone would double it.

    `depth` and `width` are the logarithms to base 2 of the ratios of D and of C1 times their exponents at the first variant; what they
    leave of `doublings` is due to groups, switches, the head and the power law itself.
    """

    metric: str
    before: int
    after: int
    doublings: float
    depth: float
    width: float


@dataclass(frozen=True, slots=True)
class Change:
    """The first variant with one kind of change alone, and what that costs; for `together` what they cost beyond their sum."""

    what: str
    config: ModelConfig | None
    cost: Cost


@dataclass(frozen=True, slots=True)
class Part:
    """Stem, a stage or head in both: channels, groups and blocks (None for stem and head), and the cost of one image."""

    name: str
    before: tuple[int, int, int] | None
    after: tuple[int, int, int] | None
    cost_before: Cost
    cost_after: Cost


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What `after` has over `before`; a φ is None where its coefficient is 1 and the dimension differs.

    `changes` holds only what differs, `switches` the fields with both values.
    """

    before: ModelConfig
    after: ModelConfig
    phi_width: float | None
    phi_depth: float | None
    growth: tuple[Growth, ...]
    changes: tuple[Change, ...]
    switches: Mapping[str, tuple[Any, Any]]
    parts: tuple[Part, ...]

    @property
    def same(self) -> bool:
        """Whether there is nothing to explain."""
        return self.before == self.after


def explain(before: ModelConfig, after: ModelConfig, *, alpha: float = ALPHA, beta: float = BETA) -> Explanation:
    """What `after` has over `before`; D is the number of blocks, which is 3 · L1 + L3 of an AABA stack.

    FLOPs are those of one image of 224 px. ValueError for α or β below 1.
    """
    if not (1 <= alpha < math.inf and 1 <= beta < math.inf):
        raise ValueError(f"alpha and beta must be at least 1, got alpha={alpha:g}, beta={beta:g}")
    return Explanation(
        before=before,
        after=after,
        phi_width=_phi(after.channels / before.channels, beta),
        phi_depth=_phi(sum(after.depths) / sum(before.depths), alpha),
        growth=tuple(map(partial(_growth, before, after), METRICS)),
        changes=tuple(_changes(before, after)),
        switches=_switches(before, after),
        parts=_parts(before, after),
    )


def _phi(ratio: float, coefficient: float) -> float | None:
    if ratio == 1:
        return 0.0
    return None if coefficient == 1 else math.log(ratio) / math.log(coefficient)


def _growth(before: ModelConfig, after: ModelConfig, metric: str) -> Growth:
    by = exponents(before, metric)
    old, new = (int(getattr(cost(config), metric)) for config in (before, after))
    depth = by.depth * math.log2(sum(after.depths) / sum(before.depths))
    width = by.width * math.log2(after.channels / before.channels)
    return Growth(metric, old, new, math.log2(new / old), depth, width)


def _changes(before: ModelConfig, after: ModelConfig) -> Iterator[Change]:
    start, rest = cost(before), cost(after) - cost(before)
    alone = dict(_alone(before, after))
    for what, config in alone.items():
        rest -= cost(config) - start
        yield Change(what, config, cost(config) - start)
    if len(alone) > 1 or rest != Cost():
        yield Change("together", None, rest)


def _alone(before: ModelConfig, after: ModelConfig) -> Iterator[tuple[str, ModelConfig]]:
    """`before` with each kind of change that leads to `after`; width and C' are one where no network can have one without the other."""
    if after.depths != before.depths:
        yield "depth", _reshaped(before, before, depths=after.depths)
    widths = {"width": {"channels": after.channels}, "C'": {"group_channels": after.group_channels}}
    if before.one_group or after.one_group:
        del widths["C'"]  # which is C1 then
    widths = {what: shape for what, shape in widths.items() if any(getattr(before, name) != value for name, value in shape.items())}
    try:
        yield from [(what, _reshaped(before, before, **shape)) for what, shape in widths.items()]
    except ValueError:
        yield "width and C'", _reshaped(before, before, channels=after.channels, group_channels=after.group_channels)
    if _switches(before, after):
        yield "switches", _switched(before, after)


def _reshaped(switches: ModelConfig, shape: ModelConfig, **changed: Any) -> ModelConfig:
    """The switches of one in the widths and depths of another, some of these changed."""
    return restack(switches, **{name: getattr(shape, name) for name in SHAPE} | changed)


def _switched(before: ModelConfig, after: ModelConfig) -> ModelConfig:
    """`before` with the switches of `after`, and with its C' where `before` has one group and thereby none of its own."""
    own = not before.one_group or before.channels % after.group_channels
    return _reshaped(after, before, group_channels=before.group_channels if own else after.group_channels)


def _switches(before: ModelConfig, after: ModelConfig) -> dict[str, tuple[Any, Any]]:
    """The switches that differ at equal widths and depths (norms behind blocks go with the depth), with the values of both."""
    like = _switched(before, after)
    names = [field.name for field in fields(ModelConfig) if field.name not in SHAPE]
    return {name: (getattr(before, name), getattr(after, name)) for name in names if getattr(before, name) != getattr(like, name)}


def _parts(before: ModelConfig, after: ModelConfig) -> tuple[Part, ...]:
    old, new = cost_by_part(before), cost_by_part(after)
    return tuple(Part(name, _stage(before, name), _stage(after, name), old[name], new[name]) for name in old)


def _stage(config: ModelConfig, part: str) -> tuple[int, int, int] | None:
    if not part.startswith("stage"):
        return None
    stage = int(part.split()[1]) - 1
    return config.widths[stage], config.groups[stage], config.depths[stage]
