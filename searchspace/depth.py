"""The inverse of the cost: how deep stage 3 must be to meet a size."""

from collections.abc import Callable
from dataclasses import dataclass

from searchspace.cost import COST_METRICS, cost
from searchspace.stacking import stack
from searchspace.styles import styled

CostOfDepth = Callable[[int], int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """A stacking variant whose stage-3 depth is still open, and what its size is measured on."""

    channels: int
    group_channels: int
    l1: int
    style: str = "t"
    image_size: int = 224
    num_classes: int = 1000

    def cost_of_depth(self, metric: str) -> CostOfDepth:
        """The metric (`params`, `flops` or `activations`) as an increasing function of L3; ValueError for another metric."""
        if metric not in COST_METRICS:
            raise ValueError(f"no closed form for {metric!r}; a size is one of {', '.join(COST_METRICS)}")
        stack(self.channels, self.group_channels, 1, 1, style=self.style)

        def cost_at(l3: int) -> int:
            depths = (self.l1, self.l1, l3, self.l1)
            config = styled(channels=self.channels, group_channels=self.group_channels, depths=depths, style=self.style)
            return int(getattr(cost(config, self.image_size, self.num_classes), metric))

        return cost_at


def nearest_depth(cost_at: CostOfDepth, target: float) -> int:
    """The L3 ≥ 1 whose cost is nearest to `target`, the smaller of two equally near."""
    guess = _depth_at(cost_at, target)
    return min(_around(guess), key=lambda l3: (abs(cost_at(l3) - target), l3))


def deepest_within(cost_at: CostOfDepth, limit: float) -> int:
    """The largest L3 whose cost does not exceed `limit`; 0 when even one block does."""
    guess = _depth_at(cost_at, limit)
    return max((l3 for l3 in _around(guess) if cost_at(l3) <= limit), default=0)


def _depth_at(cost_at: CostOfDepth, size: float) -> int:
    """Where the straight line through the first seven depths meets `size`: H and G add a norm to every sixth block, hence seven."""
    first, slope = cost_at(1), (cost_at(7) - cost_at(1)) / 6
    return max(1, round(1 + (size - first) / slope))


def _around(depth: int) -> range:
    return range(max(1, depth - 2), depth + 3)
