"""The choices of a stacking space over arrays: which are feasible follows from closed forms, without building one."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from searchspace.cost_arrays import PIECE, Integers
from searchspace.feasible import Reachable
from searchspace.model_config import DEEPEST, ModelConfig
from searchspace.stacks import KERNEL, Stacks, stack_variant

if TYPE_CHECKING:
    from searchspace.space import SearchSpace

BEYOND = 2**31  # what is larger is too large all the same


class StackGrid:
    """L3 is a domain, or solved from the target within the limits; an open choice is one of everything but L3.

    Every size grows with L3, so the depths that an open choice may have are an interval: from L1 (rule 4) to the deepest within the limits.
    """

    def __init__(self, space: "SearchSpace") -> None:
        self._space, self._free = space, "l3" in space.domains
        self._domains = {name: np.array([min(int(v), BEYOND) for v in values], np.int64) for name, values in space.domains.items()}
        self._shape = tuple(len(values) for values in self._domains.values())
        self._open_shape = tuple(1 if name == "l3" else len(values) for name, values in self._domains.items())

    def feasible(self) -> Integers:
        """The feasible choices, ascending."""
        low, high = self._of_open(self._interval)
        if not self._free:
            return np.flatnonzero(low <= high)
        if not (self._shallowest(low) <= high).any():  # an answer without a look at every depth
            return np.empty(0, np.int64)
        l3 = self._domains["l3"].reshape([-1 if name == "l3" else 1 for name in self._domains])
        return np.flatnonzero((low.reshape(self._open_shape) <= l3) & (l3 <= high.reshape(self._open_shape)))

    def sizes(self, metric: str, choices: Integers) -> Integers:
        """One size of each of these feasible choices, (N,)."""

        def sized(at: Integers) -> Integers:
            stacks = self._stacks(at, self._shape)
            l3 = self._column("l3", at, self._shape) if self._free else self._solved(stacks)
            return stacks.by_depth(metric, self._space)(l3)

        return _in_pieces(sized, choices)

    def reachable(self, metrics: Sequence[str]) -> Reachable | None:
        """For every open choice the depth that comes nearest: the shallowest of the domain, or the one that is solved, but L1 at least."""
        depths = self._of_open(self._nearest_depths)
        choices = np.flatnonzero(depths <= DEEPEST)
        if not choices.size:
            return None
        stacks, l3 = self._stacks(choices, self._open_shape), depths[choices]

        def config(index: int) -> ModelConfig:
            widths = stacks.channels[index], stacks.group_channels[index], stacks.l1[index], l3[index]
            return stack_variant(*map(int, widths), style=self._space.style, kernel_size=int(stacks.kernel_size[index]))

        return Reachable({metric: stacks.by_depth(metric, self._space)(l3) for metric in metrics}, config)

    def _of_open(self, function: Callable[[Stacks], Integers]) -> Integers:
        """What a function gives for each open choice, by pieces so that memory stays small."""
        every = np.arange(int(np.prod(self._open_shape, dtype=np.int64)))
        return _in_pieces(lambda at: function(self._stacks(at, self._open_shape)), every)

    def _stacks(self, choices: Integers, shape: tuple[int, ...]) -> Stacks:
        names = [name for name in self._domains if name != "l3"]
        columns = {name: self._column(name, choices, shape) for name in names}
        return Stacks(**({"kernel_size": np.full(len(choices), KERNEL)} | columns))

    def _column(self, name: str, choices: Integers, shape: tuple[int, ...]) -> Integers:
        column: Integers = self._domains[name][np.unravel_index(choices, shape)[list(self._domains).index(name)]]
        return column

    def _interval(self, stacks: Stacks) -> Integers:
        """The least and the greatest feasible L3 of each, (2, N); the least is above the greatest where there is none."""
        interval = np.stack([np.ones(len(stacks), np.int64), np.zeros(len(stacks), np.int64)])
        legal = stacks.legal
        stacks = stacks[legal]
        low, high = stacks.l1, self._deepest(stacks)
        if not self._free:
            target, l3 = self._space.target, self._solved(stacks)
            assert target is not None, "without a target the depths are a domain"
            near = target.reached_by(stacks.by_depth(target.metric, self._space)(l3))
            met = near & (low <= l3) & (l3 <= high)
            low, high = np.where(met, l3, 1), np.where(met, l3, 0)
        interval[:, legal] = low, high
        return interval

    def _nearest_depths(self, stacks: Stacks) -> Integers:
        """For each the L3 that comes nearest to what is asked for; beyond the deepest where there is none."""
        depths = np.full(len(stacks), BEYOND)
        legal = stacks.legal
        stacks = stacks[legal]
        depths[legal] = self._shallowest(stacks.l1) if self._free else np.clip(self._solved(stacks), stacks.l1, DEEPEST)
        return depths

    def _deepest(self, stacks: Stacks) -> Integers:
        """The greatest L3 within the limits, 0 where there is none."""
        within = [stacks.by_depth(limit.metric, self._space).deepest_within(limit.value) for limit in self._space.limits]
        deepest: Integers = np.minimum.reduce([np.full(len(stacks), DEEPEST), *within])
        return deepest

    def _solved(self, stacks: Stacks) -> Integers:
        """The L3 nearest to the target within the limits; it may be too deep, never less than 1."""
        target = self._space.target
        assert target is not None, "without a target the depths are a domain"
        nearest = stacks.by_depth(target.metric, self._space).nearest(target.value)
        within = [stacks.by_depth(limit.metric, self._space).deepest_within(limit.value) for limit in self._space.limits]
        solved: Integers = np.maximum(1, np.minimum.reduce([nearest, *within]))
        return solved

    def _shallowest(self, least: Integers) -> Integers:
        """The smallest L3 of the domain from `least` on; beyond all where there is none."""
        depths = np.append(np.sort(self._domains["l3"]), BEYOND)
        return depths[np.minimum(np.searchsorted(depths, least), len(depths) - 1)]


def _in_pieces(function: Callable[[Integers], Integers], choices: Integers) -> Integers:
    pieces = [function(choices[start : start + PIECE]) for start in range(0, max(1, len(choices)), PIECE)]
    return np.concatenate(pieces, axis=-1)
