"""The inverse of the cost: how deep stage 3 must be to meet a size, solved rather than searched.

With everything else given, a cost grows by the same amount with every block of stage 3 and, in the styles of H and G, by one norm more with
every sixth.
"""

from dataclasses import dataclass
from math import floor

from searchspace.closed_form import Style, closed_form
from searchspace.cost import whole
from searchspace.size_form import size_form


@dataclass(frozen=True, slots=True)
class CostOfDepth:
    """A cost as an increasing function of L3: `rest` + `block` · L3 + `norm` · (L3 // `every`)."""

    rest: int
    block: int
    norm: int = 0
    every: int = 1

    def __call__(self, l3: int) -> int:
        """The cost with a stage 3 of `l3` blocks."""
        return self.rest + self.block * l3 + self.norm * (l3 // self.every)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """A stacking variant whose stage-3 depth is still open, and what its size is measured on; `style` may be an architecture's switches."""

    channels: int
    group_channels: int
    l1: int
    style: Style = "t"
    image_size: int = 224
    num_classes: int = 1000
    batch_size: int = 1

    def cost_of_depth(self, metric: str) -> CostOfDepth:
        """The metric by L3: a cost, or `memory`, the bytes of training with a batch; ValueError for another, and for impossible widths."""
        by_depth = size_form(metric, self.style, self.image_size, self.num_classes, self.batch_size)
        form = closed_form(self.style, self.image_size, self.num_classes)
        channels, group_channels, l1 = (whole(name, getattr(self, name)) for name in ("channels", "group_channels", "l1"))
        if l1 < 1:
            raise ValueError(f"L1 must be at least 1, got {l1}")
        if violation := form.width_violation(channels, group_channels):
            raise ValueError(violation)
        variables = {"half": channels // 2, "g1": channels // group_channels, "l1": l1}
        rest, block, norm = (part(variables) for part in (by_depth.rest, by_depth.block, by_depth.norm))
        return CostOfDepth(rest, block, norm, form.norm_every) if form.norm_every else CostOfDepth(rest, block)


def nearest_depth(cost_at: CostOfDepth, target: float) -> int:
    """The L3 ≥ 1 whose cost is nearest to `target`, the smaller of two equally near."""
    below = max(1, deepest_within(cost_at, target))
    return min(below, below + 1, key=lambda l3: abs(cost_at(l3) - target))


def deepest_within(cost_at: CostOfDepth, limit: float) -> int:
    """The largest L3 whose cost does not exceed `limit`; 0 when even one block does."""
    periods, left = divmod(floor(limit) - cost_at.rest, cost_at.every * cost_at.block + cost_at.norm)
    return max(0, periods * cost_at.every + min(cost_at.every - 1, left // cost_at.block))
