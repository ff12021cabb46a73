"""The choices of (C1, C', L1) in a lattice of stacks: the depths L3 that have a size there, or the rule that leaves none."""

import numpy as np
from numpy.typing import NDArray

from searchspace.cost_arrays import Integers
from searchspace.depth_arrays import DepthArrays
from searchspace.sizes import Target
from searchspace.space import SearchSpace
from searchspace.stacks import KERNEL, Stacks

NONE, WIDTH, ORDER, TOLERANCE, DEPTHS, LIMIT, EDGE = range(7)
RULES = ("", "width lattice", "L1 <= L3", "tolerance", "depth lattice", "limit", "end of the lattice")


class Cells:
    """Every (C1, C', L1) of a stacking space with free L3, arrays (n,) in this order; each domain ascends.

    The L3 that have the size stand in `depths` from place `lowest` on, `counts` of them; where there are none, `rule` is a number of
    `RULES`, the first of these that leaves none: the widths fit no network, the size is exceeded by L3 = L1, no depth is near enough, those
    that are near enough are not in the domain, a limit.
    """

    def __init__(self, space: SearchSpace, target: Target) -> None:
        self.space, self.target = space, target
        *domains, self.depths = (np.sort(np.array(space.domains[name], np.int64)) for name in ("channels", "group_channels", "l1", "l3"))
        self._shape = tuple(map(len, domains))
        self.channels, self.group_channels, self.l1 = (column.ravel() for column in np.meshgrid(*domains, indexing="ij"))
        self.legal = self._stacks(np.arange(len(self))).legal
        self.lowest, self.counts = np.zeros((2, len(self)), np.int64)
        self.rule = np.full(len(self), WIDTH)
        self._solve(np.flatnonzero(self.legal))

    def __len__(self) -> int:
        return len(self.l1)

    def sizes(self, at: Integers, metric: str | None = None) -> DepthArrays:
        """The target's or another metric by L3 in some cells."""
        return self._stacks(at).by_depth(metric or self.target.metric, self.space)

    def beyond(self, axis: int) -> Integers:
        """The rule at each cell's neighbour one step further along C1 (axis 0) or L1 (axis 2)."""
        rules = np.moveaxis(self.rule.reshape(self._shape), axis, 0)
        further = np.concatenate([rules[1:], np.full_like(rules[:1], EDGE)])
        return np.moveaxis(further, 0, axis).ravel()

    def _stacks(self, at: Integers) -> Stacks:
        return Stacks(self.channels[at], self.group_channels[at], self.l1[at], np.full(at.size, KERNEL))

    def _solve(self, at: Integers) -> None:
        l1 = self.l1[at]
        low, high = within(self.sizes(at), self.target)
        start = np.searchsorted(self.depths, np.maximum(low, l1))
        near = np.searchsorted(self.depths, high, side="right")
        end = np.searchsorted(self.depths, np.minimum(high, self._deepest(at)), side="right")
        counts = np.maximum(0, end - start)
        self.lowest[at], self.counts[at] = start, counts
        self.rule[at] = np.select([counts > 0, high < l1, low > high, near <= start], [NONE, ORDER, TOLERANCE, DEPTHS], LIMIT)

    def _deepest(self, at: Integers) -> Integers:
        """The greatest L3 within the limits."""
        limits = [self.sizes(at, limit.metric).deepest_within(limit.value) for limit in self.space.limits]
        deepest: Integers = np.minimum.reduce([np.full(at.size, self.depths[-1]), *limits])
        return deepest


def within(sizes: DepthArrays, target: Target) -> tuple[Integers, Integers]:
    """The least and the greatest L3 ≥ 1 with a size near enough to the target, (n,) each; the least is above where there is none."""

    def near(l3: Integers) -> NDArray[np.bool_]:
        return (l3 >= 1) & target.reached_by(sizes(np.maximum(l3, 1)))

    low = sizes.deepest_within(target.value * (1 - target.tolerance))
    high = sizes.deepest_within(target.value * (1 + target.tolerance))
    # These bounds are rounded, so the depths at them are decided as the target decides.
    above = (high >= 1) & ~near(high) & (sizes(np.maximum(high, 1)) > target.value)
    return np.where(near(low), low, low + 1), high + near(high + 1) - above
