"""The depth at which a variant of given width comes nearest to a size, found by halving: more depth is always more of every size."""

import math
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from searchspace.cost import cost
from searchspace.depth import Stack
from searchspace.depth_split import least_depth, paper_depth
from searchspace.exponents import SCALE_METRICS, Exponents
from searchspace.memory import Training, memory_bytes
from searchspace.model_config import DEEPEST, ModelConfig
from searchspace.quantity import format_quantity
from searchspace.styles import style_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizing:
    """The size that scaling multiplies, and what it is counted for; `exponents` stand in for `latency_ms`, which nothing can count."""

    metric: str = "params"
    image_size: int = 224
    num_classes: int = 1000
    batch_size: int = 64
    exponents: Exponents | None = None

    def __post_init__(self) -> None:
        if self.metric not in SCALE_METRICS:
            raise ValueError(f"a scaling metric is one of {', '.join(SCALE_METRICS)}, got {self.metric!r}")
        if self.metric == "latency_ms" and self.exponents is None:
            raise ValueError("latency_ms needs the measured exponents of depth and width, got none")

    def of(self, config: ModelConfig, base: ModelConfig) -> float:
        """Parameters, FLOPs of one image or bytes of training a batch; `latency_ms` as a multiple of that of `base`."""
        if self.metric == "latency_ms":
            assert self.exponents is not None, "checked at birth"
            return self.exponents.growth(paper_depth(config) / paper_depth(base), config.channels / base.channels)
        if self.metric == "memory":
            return self._memory(config)
        return float(getattr(cost(config, self.image_size, self.num_classes), self.metric))

    def _memory(self, config: ModelConfig) -> int:
        """By the closed form where a style has one: going through the blocks takes long for deep networks."""
        counted: dict[str, Any] = {"batch_size": self.batch_size, "image_size": self.image_size, "num_classes": self.num_classes}
        if not config.is_aaba or (style := style_of(config)) == "custom":
            return memory_bytes(config, Training(**counted)).total
        l1, _, l3, _ = config.depths
        shape = {"channels": config.channels, "group_channels": config.group_channels, "l1": l1}
        return Stack(style=style, **shape, **counted).cost_of_depth("memory")(l3)

    def text(self, size: float) -> str:
        """A size in words."""
        return f"{size:.3g} times the base's latency" if self.metric == "latency_ms" else f"{self.metric} {format_quantity(size)}"


def nearest_paper_depth(base: ModelConfig, variant: Callable[[int], ModelConfig], size: float, sizing: Sizing, split: str) -> int:
    """The D whose variant is nearest to `size`, the smaller of two equally near; ValueError where 10,000 blocks are not enough."""
    if not (isinstance(size, int | float) and 0 < size < math.inf):
        raise ValueError(f"size must be a positive number, got {size!r}")

    def size_at(depth: int) -> float:
        return sizing.of(variant(depth), base)

    least = least_depth(base, split)
    enough = _deep_enough(size_at, size, max(least, paper_depth(base)), sizing)
    above = least + bisect_left(range(least, enough), size, key=size_at)
    return min(max(least, above - 1), above, key=lambda depth: abs(size_at(depth) - size))


def _deep_enough(size_at: Callable[[int], float], size: float, start: int, sizing: Sizing) -> int:
    """A D at which the size is reached, at most twice too deep, so that no absurdly deep network is counted."""
    depth = min(start, DEEPEST)
    while size_at(depth) < size:
        if depth == DEEPEST:
            raise ValueError(f"no depth up to {DEEPEST:,} blocks reaches {sizing.text(size)} at this width; take a larger one")
        depth = min(2 * depth, DEEPEST)
    return depth
