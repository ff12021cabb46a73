"""The domains of a new scaling space: its base, its φ values and the widths that they can use."""

import math
from collections.abc import Iterable, Mapping, Sequence
from numbers import Real
from typing import Any

from searchspace.depth_split import paper_depth, split_depth
from searchspace.exponents import SCALE_METRICS
from searchspace.model_config import ModelConfig
from searchspace.scaled_base import ScaledBase
from searchspace.scaling import LARGEST_PHI, lattice_step
from searchspace.sizes import Target
from searchspace.styles import restack, restyled, style_of

LARGEST_STEP = 10  # a thousand times the base
PHI = (2, 3, 4)  # with one small φ the lattice leaves a width or two: too few to tell pairs apart
LATTICES = {"coarse": None, "fine": 8}  # channels a group


def start_of(base: ModelConfig, lattice: str, style: str | None) -> ModelConfig:
    """The base of the space: in another style, and regrouped to the lattice; ValueError where it cannot be."""
    if not base.is_aaba:
        raise ValueError(f"a scaling space needs an AABA base (L1 = L2 = L4 <= L3), got {base.short_name}")
    if lattice not in LATTICES:
        raise ValueError(f"unknown lattice {lattice!r}; known: {', '.join(LATTICES)}")
    if style not in (None, style_of(base)):
        base = restyled(base, str(style))
    group = LATTICES[lattice]
    if group is None:
        return base
    if base.one_group:
        raise ValueError(
            "lattice fine regroups the base, which has one group of all channels; its lattice is as fine as can be: take coarse"
        )
    return restack(base, channels=base.channels, group_channels=group, depths=base.depths)


def metric_of(metric: str | None, target: Target | None) -> str:
    """The metric that a step of φ doubles: that of the target, parameters where nothing is named."""
    if target is None:
        return metric or "params"
    if target.metric not in SCALE_METRICS:
        raise ValueError(f"a scaling space takes a target on params, flops or memory, got {target.metric}; set a limit on it instead")
    if metric not in (None, target.metric):
        raise ValueError(f"the target is one of {target.metric} and decides the scaling metric, got {metric}; leave one of them out")
    return target.metric


def steps_of(phi: Sequence[float] | None, target: Target | None, scaled: ScaledBase, *, with_base: bool) -> tuple[float, ...]:
    """The φ values, ascending: those given with 0 for the base, or the one that the target is."""
    if phi is not None and target is not None:
        raise ValueError("phi and target exclude each other: a target decides phi")
    if target is not None:
        return _checked([round(math.log2(target.value / scaled.asked(0)), 4)])
    given = PHI if phi is None else _numbers(phi)
    return _checked([0.0, *given] if with_base and 0 not in given else given)


def widths_of(scaled: ScaledBase, steps: Sequence[float]) -> tuple[int, ...]:
    """The widths that some φ can use, ascending; ValueError for a φ that none can express."""
    split_depth(paper_depth(scaled.base), scaled.base, scaled.setting.split)  # whether the base follows it
    if without := [step for step in steps if not scaled.widths(step)]:
        raise ValueError(_no_width(scaled, without[0]))
    return tuple(sorted({width for step in steps for width in scaled.widths(step)}))


def pair_texts(pairs: Any) -> tuple[str, ...]:
    """The pairs as the domain `pair` writes them; ValueError for what is no list of them."""
    try:
        return tuple(f"{alpha:g},{beta:g}" for alpha, beta in pairs)
    except (TypeError, ValueError):
        raise ValueError(f'pairs must be "paper" or a list of (alpha, beta) such as [(1.09, 1.36)], got {pairs!r}') from None


def _numbers(phi: Any) -> Sequence[float]:
    values = list(phi) if isinstance(phi, Iterable) and not isinstance(phi, Mapping) else []
    if not values or not all(isinstance(value, Real) and not isinstance(value, bool) for value in values):
        raise ValueError(f"phi must be a list of numbers such as [2, 3], got {phi!r}")
    return values


def _checked(steps: Sequence[float]) -> tuple[float, ...]:
    if wrong := [step for step in steps if not -LARGEST_PHI <= step <= LARGEST_STEP]:
        raise ValueError(f"phi must lie in [{-LARGEST_PHI}, {LARGEST_STEP}] to be searched, got phi={wrong[0]:g}")
    return tuple(int(step) if step == int(step) else float(step) for step in sorted(steps))


def _no_width(scaled: ScaledBase, phi: float) -> str:
    low, high = scaled.setting.alpha
    near = ", ".join(f"C1={width} would mean alpha={alpha:.3g}" for width, alpha in sorted(scaled.around(phi).items()))
    return (
        f"phi={phi:g} has no width: no multiple of {lattice_step(scaled.base)} gives an alpha from {low:g} to {high:g} ({near}); "
        "take another phi, lattice fine or a wider range of alpha"
    )
