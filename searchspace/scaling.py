"""Compound scaling: depth by α^φ, width by β^φ (paper, section 3.2), with rounding that is shown rather than hidden."""

import math

from searchspace.model_config import ModelConfig
from searchspace.styles import restack, restyled

ALPHA, BETA = 1.09, 1.36  # the paper's best pair
WIDTH_EXPONENT = 1.99  # α · β^1.99 ≈ 2: one step of φ doubles the size
PAPER_PHI = 1.74  # from T to about 100 M parameters
PAPER_PAIRS = ((1.03, 1.40), (1.06, 1.38), (1.09, 1.36), (1.12, 1.34), (1.15, 1.32))


def compound_scale(
    base: ModelConfig, phi: float, *, alpha: float = ALPHA, beta: float = BETA, group_channels: int | None = None, style: str | None = None
) -> ModelConfig:
    """`base` with depth D · α^φ and width C1 · β^φ; φ = 0 is the identity when nothing else changes.

    D = 3 · L1 + L3 is rounded first and then split in the base's ratio of L3 to L1; C1 is rounded to the nearest multiple of C' (of 2 with
    one group). The result keeps the base's style unless `style` names another. ValueError for α or β below 1, a φ that is not finite and a
    base that is not an AABA stack.
    """
    _check(base, phi, alpha, beta)
    group = base.group_channels if group_channels is None else group_channels
    if group < 1:
        raise ValueError(f"group_channels must be at least 1, got {group}")
    if base.one_group and group_channels is not None:
        raise ValueError(f"one_group makes a group of all channels, so it takes no group_channels, got {group_channels}")
    step = 2 if base.one_group else group
    channels = max(1, _round(base.channels * beta**phi / step)) * step
    l1, l3 = split_depth(_round(paper_depth(base) * alpha**phi), base)
    scaled = restack(base, channels=channels, group_channels=group, depths=(l1, l1, l3, l1))
    return scaled if style is None else restyled(scaled, style)


def paper_depth(config: ModelConfig) -> int:
    """D = 3 · L1 + L3, the depth that the scaling rule multiplies."""
    return 3 * config.depths[0] + config.depths[2]


def split_depth(depth: int, base: ModelConfig) -> tuple[int, int]:
    """(L1, L3) with 3 · L1 + L3 = `depth` and L3 / L1 as near as whole blocks allow to the base's; ValueError below four blocks."""
    if depth < 4:
        raise ValueError(f"depth must be at least 4 (one block a stage), got {depth}")
    ratio = base.depths[2] / base.depths[0]
    l1 = min(max(1, _round(depth / (3 + ratio))), depth // 4)  # depth // 4: L1 ≤ L3
    return l1, depth - 3 * l1


def effective_phi(base: ModelConfig, config: ModelConfig, *, alpha: float = ALPHA, beta: float = BETA) -> tuple[float, float]:
    """(φ of width, φ of depth) of `config` relative to `base`: log_β of the width ratio and log_α of the ratio of D.

    A coefficient of exactly 1 leaves its dimension unscaled; its φ is 0 when nothing changed and not a number otherwise.
    """
    return _phi(config.channels / base.channels, beta), _phi(paper_depth(config) / paper_depth(base), alpha)


def _phi(ratio: float, coefficient: float) -> float:
    if coefficient == 1:
        return 0.0 if ratio == 1 else math.nan
    return math.log(ratio) / math.log(coefficient)


def _round(value: float) -> int:
    """Half up: Python's round sends 2.5 to 2, which would make the width lattice uneven."""
    return math.floor(value + 0.5)


def _check(base: ModelConfig, phi: float, alpha: float, beta: float) -> None:
    if not (1 <= alpha <= 4 and 1 <= beta <= 4):
        raise ValueError(f"alpha and beta must be at least 1 and at most 4, got alpha={alpha}, beta={beta}")
    if not math.isfinite(phi) or abs(phi) > 20:
        raise ValueError(f"phi must lie in [-20, 20], got phi={phi}")
    if not base.is_aaba:
        raise ValueError(f"compound scaling needs an AABA base (L1 = L2 = L4 <= L3), got depths={base.depths}")
