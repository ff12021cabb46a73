"""`searchspace.depth` for many stacks at once: their sizes as functions of L3, and the depths that meet one, over NumPy arrays."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import floor

import numpy as np

from searchspace.cost_arrays import Integers, evaluate
from searchspace.size_form import SizeForm

PART = 2.0**61  # a size just above one that was asked for still fits int64 where its parts stay below this
LARGEST_SIZE = 2**61  # nothing larger is asked for


@dataclass(frozen=True, slots=True)
class DepthArrays:
    """Sizes as increasing functions of L3: `rest` + `block` · L3 + `norm` · (L3 // `every`), arrays (N,) but for `every`."""

    rest: Integers
    block: Integers
    norm: Integers
    every: int

    def __call__(self, l3: Integers) -> Integers:
        """The sizes with stages 3 of `l3` blocks, (N,); ValueError where one exceeds int64."""
        norms = l3 // self.every
        nearly = self.rest.astype(float) + self.block.astype(float) * l3 + self.norm.astype(float) * norms
        if nearly.max(initial=0.0) >= 4 * PART:
            raise ValueError(f"sizes must stay below 2^63 to be counted in arrays, got {nearly.max():.3g}; narrow the domains")
        sizes: Integers = self.rest + self.block * l3 + self.norm * norms
        return sizes

    def deepest_within(self, limit: float) -> Integers:
        """The largest L3 whose size does not exceed `limit`; 0 where even one block does."""
        left = floor(min(limit, LARGEST_SIZE)) - self.rest
        periods, left = np.divmod(left, self.every * self.block + self.norm)
        deepest: Integers = np.maximum(0, periods * self.every + np.minimum(self.every - 1, left // self.block))
        return deepest

    def nearest(self, target: float) -> Integers:
        """The L3 ≥ 1 whose size is nearest to `target`, the smaller of two equally near."""
        below = np.maximum(1, self.deepest_within(target))
        nearest: Integers = below + (np.abs(self(below + 1) - target) < np.abs(self(below) - target))
        return nearest


def depth_arrays(form: SizeForm, variables: Mapping[str, Integers]) -> DepthArrays:
    """The functions of stacks with the variables `half`, `g1` and `l1`; ValueError where a part exceeds 2^61."""
    rest, block, norm = evaluate([form.rest, form.block, form.norm], variables, PART)
    return DepthArrays(rest, block, norm, form.norm_every or 1)
