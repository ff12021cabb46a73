"""All variants of one size: which stacks of a lattice cost the same, and which rule leaves none at the other widths and depths."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from searchspace.cost_arrays import Integers, cost_arrays
from searchspace.depth_arrays import depth_arrays
from searchspace.exponents import exponents
from searchspace.iso_cells import DEPTHS, EDGE, NONE, ORDER, RULES, TOLERANCE, WIDTH, Cells, within
from searchspace.model_config import ModelConfig, width_violation
from searchspace.quantity import format_quantity
from searchspace.size_form import size_form
from searchspace.sizes import Target
from searchspace.space import BATCH_SIZE, MAX_ENUMERATED, SearchSpace

Reals = NDArray[np.float64]
STEP, WIDEST = 16, 2**15  # of the widths that are looked at where none are named
LEAST_SHARED = 0.125  # doublings


@dataclass(frozen=True, slots=True)
class Bound:
    """A rule that leaves no variant of the size at `count` choices of (C1, C', L1), with the first of them and what is wrong there."""

    rule: str
    count: int
    first: tuple[int, int, int]
    reason: str


@dataclass(frozen=True, slots=True)
class IsoSize:
    """The variants of one size, arrays (n,) in the order of C1, C', L1 and L3, and what rules out the rest of the lattice.

    `size` is in the target's metric; `next_l1` and `next_channels` are numbers of `RULES`: what leaves no variant one step deeper in stages
    1, 2 and 4 and one step wider, 0 where there is one.
    """

    channels: Integers
    group_channels: Integers
    l1: Integers
    l3: Integers
    params: Integers
    flops: Integers
    size: Integers
    next_l1: Integers
    next_channels: Integers
    bounds: tuple[Bound, ...]

    def __len__(self) -> int:
        return len(self.l3)


def widths_for(target: Target, style: str = "t") -> tuple[int, ...]:
    """The multiples of 16, up to 32,768, of which a stack with one block a stage is not above the target; 16 where there is none."""
    channels = np.arange(STEP, WIDEST + 1, STEP)
    groups = np.maximum(1, channels // 32)  # the fewest of the usual C' 8, 16 and 32
    one = np.ones_like(channels)
    least = depth_arrays(size_form(target.metric, style, batch_size=BATCH_SIZE), {"half": channels // 2, "g1": groups, "l1": one})(one)
    fit: list[int] = channels[least <= target.value * (1 + target.tolerance)].tolist()
    return tuple(fit) or (STEP,)


def iso_size(space: SearchSpace, target: Target) -> IsoSize:
    """Every variant of a stacking space with free L3 that is near enough to `target` and within the limits, from closed forms.

    ValueError with the nearest variant where there is none, and where there are more than 100,000.
    """
    cells = Cells(space, target)
    if not (total := int(cells.counts.sum())):
        raise ValueError(_why_none(cells))
    if total > MAX_ENUMERATED:
        raise ValueError(
            f"{total:,} variants have {_asked(target)}, more than {MAX_ENUMERATED:,} to list; narrow the lattice or the tolerance"
        )
    at = np.repeat(np.arange(len(cells)), cells.counts)
    place = np.arange(total) - np.repeat(np.cumsum(cells.counts) - cells.counts, cells.counts)
    l3 = cells.depths[cells.lowest[at] + place]
    stacks = cells.channels[at], cells.group_channels[at], cells.l1[at], l3
    cost = cost_arrays(*stacks, style=space.style, image_size=space.image_size, num_classes=space.num_classes)
    next_l1, next_channels = (cells.beyond(axis)[at] for axis in (2, 0))
    return IsoSize(*stacks, cost.params, cost.flops, cells.sizes(at)(l3), next_l1, next_channels, _bounds(cells))


def doublings(found: IsoSize, base: ModelConfig, target: Target) -> tuple[Reals, Reals, Reals]:
    """How often the depth and the width of each variant double the size from `base` on, and the share of depth in both, (n,) each.

    The share is below 0 for a shallower and above 1 for a narrower one, and not a number where both make less than an eighth of a doubling.
    """
    by = exponents(base, target.metric)
    depth = by.depth * np.log2((3 * found.l1 + found.l3) / sum(base.depths))
    width = by.width * np.log2(found.channels / base.channels)
    total = depth + width
    return depth, width, np.divide(depth, total, out=np.full_like(total, np.nan), where=np.abs(total) >= LEAST_SHARED)


def _bounds(cells: Cells) -> tuple[Bound, ...]:
    """The rules that leave no variant, in the order in which they are asked."""
    found = []
    for rule in range(NONE + 1, EDGE):
        at = np.flatnonzero(cells.rule == rule)
        if at.size:
            channels, group, l1 = (int(column[at[0]]) for column in (cells.channels, cells.group_channels, cells.l1))
            found.append(Bound(RULES[rule], at.size, (channels, group, l1), _reason(cells, at[:1])))
    return tuple(found)


def _reason(cells: Cells, at: Integers) -> str:
    """What the rule of one cell, given as an array (1,), says there in numbers."""
    rule, l1 = cells.rule[at[0]], cells.l1[at]
    if rule == WIDTH:
        return _width_violation(cells, int(at[0]))
    sizes = cells.sizes(at)
    low, high = within(sizes, cells.target)
    if rule == ORDER:
        return f"L3 may not be below L1={l1[0]}, and L3={l1[0]} is {_error(sizes(l1), cells.target)} off"
    if rule == TOLERANCE:
        return " and ".join(f"L3={l3[0]} is {_error(sizes(l3), cells.target)} off" for l3 in (high, low) if l3[0] >= l1[0])
    if rule == DEPTHS:
        least = max(low[0], l1[0])
        asked = f"{least}" if least == high[0] else f"{least}..{high[0]}"
        return f"the size asks for L3={asked}, none of the {len(cells.depths)} values from {cells.depths[0]} to {cells.depths[-1]}"
    l3 = cells.depths[cells.lowest[at]]
    needed = [limit.violation(int(cells.sizes(at, limit.metric)(l3)[0])) for limit in cells.space.limits]
    return f"L3={l3[0]} is {' and '.join(filter(None, needed))}"


def _width_violation(cells: Cells, at: int) -> str:
    channels, group = int(cells.channels[at]), int(cells.group_channels[at])
    return width_violation(channels, group) or f"channels must be even (the stem halves them), got channels={channels}"


def _why_none(cells: Cells) -> str:
    """Which variant comes nearest, whatever its limits, and which rule is in the way there."""
    legal, target = np.flatnonzero(cells.legal), cells.target
    sizes, l1 = cells.sizes(legal), cells.l1[legal]
    after = np.searchsorted(cells.depths, np.maximum(sizes.nearest(target.value), l1))
    candidates = np.stack([cells.depths[np.clip(after + step, 0, len(cells.depths) - 1)] for step in (-1, 0)])
    errors = [np.where(l3 >= l1, np.abs(np.log(sizes(l3) / target.value)), np.inf) for l3 in candidates]
    if not np.isfinite(errors).any():
        return (
            f"no stack of the lattice keeps the rules; the first: {_width_violation(cells, 0) if not legal.size else 'L1 exceeds every L3'}"
        )
    side, nearest = (int(index) for index in np.unravel_index(np.argmin(errors), candidates.shape))
    at, l3 = legal[nearest : nearest + 1], candidates[side, nearest : nearest + 1]
    got = cells.sizes(at)(l3)
    name = f"{cells.channels[at[0]]},{cells.group_channels[at[0]]},{cells.l1[at[0]]},{l3[0]}"
    return (
        f"no variant of the lattice has {_asked(target)}; the nearest is {name} with {format_quantity(int(got[0]))} "
        f"({_error(got, target)}), where {RULES[cells.rule[at[0]]]} binds: {_reason(cells, at)}; ask for another size or more tolerance"
    )


def _error(size: Integers, target: Target) -> str:
    return f"{int(size[0]) / target.value - 1:+.1%}"


def _asked(target: Target) -> str:
    return f"{target.metric}={format_quantity(target.value)} within {target.tolerance:.1%}"
