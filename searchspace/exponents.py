"""How a size grows with depth and width: size ∝ depth^d · width^w, so that a pair with α^d · β^w = 2 doubles it at every step of φ."""

import math
from dataclasses import dataclass

from searchspace.cost import Cost, cost_by_part
from searchspace.memory import Training, memory_bytes
from searchspace.model_config import ModelConfig
from searchspace.styles import restack

SCALE_METRICS = ("params", "flops", "memory", "latency_ms")
PAIR_TOLERANCE = 0.02  # the paper's own pairs miss its constraint by up to 0.016
SMALLEST, LARGEST = 0.1, 10.0  # beyond them a doubling would take a factor of 1024, or hardly any


@dataclass(frozen=True, slots=True)
class Exponents:
    """What a factor of depth and a factor of width do to a size: it grows by their powers of `depth` and `width`."""

    depth: float
    width: float

    def __post_init__(self) -> None:
        for name in ("depth", "width"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not SMALLEST <= value <= LARGEST:
                raise ValueError(f"the exponent of {name} must lie in [{SMALLEST:g}, {LARGEST:g}], got {value!r}")

    def growth(self, depth: float, width: float) -> float:
        """By what the size grows when depth and width grow by these factors."""
        return float(depth**self.depth * width**self.width)

    def alpha_of(self, beta: float) -> float:
        """The α that doubles the size together with `beta`."""
        return float((2 / beta**self.width) ** (1 / self.depth))

    def beta_of(self, alpha: float) -> float:
        """The β that doubles the size together with `alpha`."""
        return float((2 / alpha**self.depth) ** (1 / self.width))


def exponents(base: ModelConfig, metric: str, *, image_size: int = 224, num_classes: int = 1000, batch_size: int = 64) -> Exponents:
    """The exponents of a size at `base`.

    For `params` and `flops` depth counts once, as in the paper, and the exponent of width is log2 of the growth of the backbone without
    its head when the width doubles (params of T: 1.9953; the paper has 1.99). For `memory`, the bytes of training `batch_size` images,
    both are log2 of the predicted growth when one of the two doubles. ValueError for another metric: latency is measured.
    """
    if metric in ("params", "flops"):
        return Exponents(1.0, math.log2(_backbone(doubled_width(base), metric, image_size) / _backbone(base, metric, image_size)))
    if metric == "memory":
        training = Training(batch_size=batch_size, image_size=image_size, num_classes=num_classes)
        size, deep, wide = (memory_bytes(config, training).total for config in (base, doubled_depth(base), doubled_width(base)))
        return Exponents(math.log2(deep / size), math.log2(wide / size))
    if metric == "latency_ms":
        raise ValueError("the exponents of latency_ms are measured on a device, not computed; name the measured ones")
    raise ValueError(f"a scaling metric is one of {', '.join(SCALE_METRICS)}, got {metric!r}")


def doubled_depth(base: ModelConfig) -> ModelConfig:
    """`base` with twice as many blocks in every stage."""
    l1, l2, l3, l4 = (2 * depth for depth in base.depths)
    return restack(base, channels=base.channels, group_channels=base.group_channels, depths=(l1, l2, l3, l4))


def doubled_width(base: ModelConfig) -> ModelConfig:
    """`base` with twice as many channels in groups of the same width."""
    return restack(base, channels=2 * base.channels, group_channels=base.group_channels, depths=base.depths)


def check_pair(alpha: float, beta: float, exponents: Exponents) -> None:
    """ValueError unless α and β are at least 1 and |α^d · β^w − 2| ≤ 0.02; it names the nearest pair that doubles the size."""
    if not (1 <= alpha < math.inf and 1 <= beta < math.inf):
        raise ValueError(f"alpha and beta must be at least 1, got alpha={alpha:g}, beta={beta:g}")
    growth = exponents.growth(alpha, beta)
    if abs(growth - 2) <= PAIR_TOLERANCE:
        return
    near_alpha, near_beta = nearest_pair(alpha, beta, exponents)
    raise ValueError(
        f"alpha^{exponents.depth:.4g} * beta^{exponents.width:.4g} must be 2 within {PAIR_TOLERANCE}, so that a step of phi doubles the "
        f"size; got {growth:.3f} for alpha={alpha:g}, beta={beta:g}; nearest: {near_alpha:.4f},{near_beta:.4f}"
    )


def nearest_pair(alpha: float, beta: float, exponents: Exponents) -> tuple[float, float]:
    """The (α, β) with α, β ≥ 1 and α^d · β^w = 2 that is nearest in the ratio of each; ValueError for α or β that are not positive."""
    if not (0 < alpha < math.inf and 0 < beta < math.inf):
        raise ValueError(f"alpha and beta must be positive, got alpha={alpha:g}, beta={beta:g}")
    depth, width = exponents.depth, exponents.width
    x, y = math.log(alpha), math.log(beta)  # where the curve is the line depth · x + width · y = log 2
    along = (math.log(2) - depth * x - width * y) / (depth**2 + width**2)
    x = min(max(0.0, x + along * depth), math.log(2) / depth)
    return math.exp(x), math.exp((math.log(2) - depth * x) / width)


def _backbone(config: ModelConfig, metric: str, image_size: int) -> int:
    parts = cost_by_part(config, image_size)
    return int(getattr(sum((size for part, size in parts.items() if part != "head"), Cost()), metric))
