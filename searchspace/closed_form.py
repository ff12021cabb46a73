"""The cost of all AABA stacks with the same switches as polynomials: the counting of `cost`, done once with symbols.

The variables are `half` = C1 / 2, `g1` = C1 / C' (1 with one group), `l1`, `l3` and `norms`, the extra norms that H and G put behind every
sixth block of stage 3.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache, reduce
from operator import add

from searchspace.cost import COST_METRICS, Shape, count_by_part
from searchspace.model_config import STAGES, ModelConfig, width_violation
from searchspace.polynomial import Number, Polynomial, as_polynomial
from searchspace.styles import POST_NORM_EVERY, has_post_norms, styled

Style = str | ModelConfig  # the name of a style, or an architecture whose switches are meant


@dataclass(frozen=True, slots=True)
class ClosedForm:
    """Polynomials by metric, each also as its part without L3 and what multiplies L3 and `norms`.

    `norms` is L3 // `norm_every`, or 0 where that is 0; with `one_group` C' must be C1.
    """

    metrics: Mapping[str, Polynomial]
    by_depth: Mapping[str, tuple[Polynomial, Polynomial, Polynomial]]
    norm_every: int
    one_group: bool

    def width_violation(self, channels: int, group_channels: int) -> str | None:
        """Why an architecture cannot have these widths; None when it can."""
        if min(channels, group_channels) < 1:
            return f"channels and group_channels must be at least 1, got {channels=}, {group_channels=}"
        if channels % 2:
            return f"channels must be even (the stem halves them), got {channels=}"
        if self.one_group and channels != group_channels:
            return f"one_group makes a group of all channels, so group_channels must equal channels, got {channels=}, {group_channels=}"
        return width_violation(channels, group_channels)


@lru_cache(maxsize=256)
def closed_form(style: Style, image_size: int = 224, num_classes: int = 1000) -> ClosedForm:
    """The cost of every (C1, C', L1, L3) with these switches.

    ValueError for an unknown style, an image that the head cannot serve, and an architecture whose extra norms stand elsewhere than
    behind every sixth block of stage 3.
    """
    switches = style if isinstance(style, ModelConfig) else _any_of(style)
    total = reduce(add, count_by_part(switches, _symbols(switches), image_size, num_classes).values())
    metrics = {metric: as_polynomial(getattr(total, metric)) for metric in COST_METRICS}
    by_depth = {metric: (p.without("l3", "norms"), p.coefficient_of("l3"), p.coefficient_of("norms")) for metric, p in metrics.items()}
    return ClosedForm(metrics, by_depth, _norm_every(switches), switches.one_group)


def _any_of(style: str) -> ModelConfig:
    return styled(channels=2, group_channels=1, depths=(1, 1, POST_NORM_EVERY, 1), style=style)


def _symbols(switches: ModelConfig) -> Shape:
    half, g1, l1, l3, norms = map(Polynomial.symbol, ("half", "g1", "l1", "l3", "norms"))
    groups: tuple[Number, ...] = tuple(1 if switches.one_group else g1 * 2**stage for stage in range(STAGES))
    return Shape(half, groups, (l1, l1, l3, l1), norms)


def _norm_every(switches: ModelConfig) -> int:
    ids, l3 = switches.level2_post_norm_block_ids, switches.depths[2]
    if has_post_norms(switches):
        return POST_NORM_EVERY
    if ids:
        raise ValueError(
            f"a closed form needs level2_post_norm_block_ids behind every block number {POST_NORM_EVERY} or none, got {ids} for L3={l3}"
        )
    return 0
