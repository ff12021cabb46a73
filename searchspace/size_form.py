"""A size of all AABA stacks with the same switches, as polynomials by what multiplies the depth of stage 3: cost or training memory.

In float32 what autograd keeps is a sum over blocks, each linear in the width and in the number of groups, so twelve predictions at small
stacks decide the whole form; a test compares it with `memory_bytes` on drawn stacks.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

from searchspace.closed_form import Style, closed_form
from searchspace.cost import COST_METRICS
from searchspace.memory import MOMENTS, Training, saved_bytes
from searchspace.model_config import ModelConfig
from searchspace.polynomial import Monomial, Polynomial
from searchspace.styles import POST_NORM_EVERY, restack, styled
from searchspace.tape import FLOAT32

SIZE_METRICS = (*COST_METRICS, "memory")
WEIGHT_BYTES = FLOAT32 * (2 + MOMENTS)  # a parameter, its gradient and AdamW's moments
DEPTHS: Mapping[Monomial, tuple[int, int, int, int]] = {(): (1, 1, 1, 1), ("l1",): (2, 2, 1, 2), ("l3",): (1, 1, 2, 1)}


@dataclass(frozen=True, slots=True)
class SizeForm:
    """`rest` + `block` · L3 + `norm` · (L3 // `norm_every`), polynomials in `half`, `g1` and `l1`.

    Without extra norms `norm` and `norm_every` are 0.
    """

    rest: Polynomial
    block: Polynomial
    norm: Polynomial
    norm_every: int


def switches_of(style: Style, kernel_size: int | None = None) -> ModelConfig:
    """An architecture with the switches of a style and, where given, another kernel; its widths and depths mean nothing."""
    config = (
        style if isinstance(style, ModelConfig) else styled(channels=2, group_channels=1, depths=(1, 1, POST_NORM_EVERY, 1), style=style)
    )
    return config if kernel_size is None else replace(config, kernel_size=kernel_size)


@lru_cache(maxsize=256)
def size_form(metric: str, style: Style, image_size: int = 224, num_classes: int = 1000, batch_size: int = 1) -> SizeForm:
    """The form of a cost of one image, or of `memory`: bytes of training with a batch in float32; ValueError for another metric."""
    if metric not in SIZE_METRICS:
        raise ValueError(f"no closed form for {metric!r}; a size is one of {', '.join(SIZE_METRICS)}")
    form = closed_form(style, image_size, num_classes)
    if metric == "memory":
        training = Training(batch_size=batch_size, image_size=image_size, num_classes=num_classes)
        total = form.metrics["params"] * WEIGHT_BYTES + _saved(switches_of(style), form.norm_every, training)
    else:
        total = form.metrics[metric]
    norm = total.coefficient_of("norms") if form.norm_every else Polynomial({})
    return SizeForm(total.without("l3", "norms"), total.coefficient_of("l3"), norm, form.norm_every)


def _saved(switches: ModelConfig, norm_every: int, training: Training) -> Polynomial:
    """What autograd keeps, from its values at widths of one and two halves, one and two groups."""
    one, wide, grouped = (_by_depth(switches, norm_every, training, *widths) for widths in ((2, 2), (4, 4), (4, 2)))
    terms: dict[Monomial, int] = {}
    for depth, at_one in one.items():
        of_half, of_g1 = wide[depth] - at_one, grouped[depth] - wide[depth]
        terms |= {("half", *depth): of_half, ("g1", *depth): of_g1, depth: at_one - of_half - of_g1}
    return Polynomial({tuple(sorted(monomial)): value for monomial, value in terms.items() if value})


def _by_depth(switches: ModelConfig, norm_every: int, training: Training, channels: int, group_channels: int) -> dict[Monomial, int]:
    """The bytes at fixed widths as the coefficients of 1, L1, L3 and the extra norms."""

    def saved(depths: tuple[int, int, int, int]) -> int:
        return saved_bytes(restack(switches, channels=channels, group_channels=group_channels, depths=depths), training)

    base, deeper, deeper3 = (saved(depths) for depths in DEPTHS.values())
    l1, l3 = deeper - base, deeper3 - base
    coefficients: dict[Monomial, int] = {(): base - l1 - l3, ("l1",): l1, ("l3",): l3}
    if norm_every:
        coefficients["norms",] = saved((1, 1, norm_every, 1)) - base - (norm_every - 1) * l3
    return coefficients
