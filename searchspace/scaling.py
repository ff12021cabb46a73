"""Compound scaling: depth by α^φ, width by β^φ (paper, section 3.2), with rounding that is shown rather than hidden."""

import math

from searchspace.depth_split import SPLITS, paper_depth, round_half_up, split_depth
from searchspace.exponents import Exponents
from searchspace.matched_depth import Sizing, nearest_paper_depth
from searchspace.model_config import ModelConfig
from searchspace.styles import restack, restyled

__all__ = [
    "ALPHA",
    "BETA",
    "LARGEST_PHI",
    "PAPER_PAIRS",
    "SPLITS",
    "compound_scale",
    "effective_pair",
    "effective_phi",
    "lattice_step",
    "matched_scale",
    "paper_depth",
    "rounding_bound",
    "scaled_width",
    "split_depth",
]
ALPHA, BETA = 1.09, 1.36  # the paper's best pair
LARGEST_PHI = 20  # a million times the base
PAPER_PAIRS = ((1.03, 1.40), (1.06, 1.38), (1.09, 1.36), (1.12, 1.34), (1.15, 1.32))


def compound_scale(
    base: ModelConfig,
    phi: float,
    *,
    alpha: float = ALPHA,
    beta: float = BETA,
    group_channels: int | None = None,
    style: str | None = None,
    split: str = "ratio",
) -> ModelConfig:
    """`base` with depth D · α^φ and width C1 · β^φ, each rounded; φ = 0 is the identity when nothing else changes.

    D = 3 · L1 + L3 is rounded first and then split by the named rule of `SPLITS`; C1 is rounded to the nearest multiple of C' (of 2 with
    one group). The result keeps the base's style unless `style` names another. ValueError for α or β below 1, a φ that is not finite or
    that no whole depth can express, and a base that is not an AABA stack.
    """
    _check(base, phi, alpha, beta)
    channels = scaled_width(base, beta**phi, group_channels)
    return _stack(base, round_half_up(paper_depth(base) * alpha**phi), channels, group_channels, style, split)


def matched_scale(
    base: ModelConfig,
    channels: int,
    size: float,
    *,
    metric: str = "params",
    split: str = "ratio",
    group_channels: int | None = None,
    style: str | None = None,
    image_size: int = 224,
    num_classes: int = 1000,
    batch_size: int = 64,
    exponents: Exponents | None = None,
) -> ModelConfig:
    """`base` at width `channels`, as deep as brings it nearest to `size`.

    `size` counts parameters, FLOPs of one image or bytes of training a batch (`memory`); for `latency_ms`, which follows the measured
    `exponents`, it is a multiple of the base's. D is split by the named rule of `SPLITS`. ValueError for a size that no depth up to 10,000
    blocks reaches, a width off the lattice, and a base that is not an AABA stack.
    """
    _check_base(base)
    sizing = Sizing(metric=metric, image_size=image_size, num_classes=num_classes, batch_size=batch_size, exponents=exponents)

    def variant(depth: int) -> ModelConfig:
        return _stack(base, depth, channels, group_channels, style, split)

    return variant(nearest_paper_depth(base, variant, size, sizing, split))


def lattice_step(base: ModelConfig, group_channels: int | None = None) -> int:
    """Widths are multiples of this: C', twice that where C' is odd (the stem halves C1), 2 with one group; ValueError for a C' below 1."""
    group = base.group_channels if group_channels is None else group_channels
    if group < 1:
        raise ValueError(f"group_channels must be at least 1, got {group}")
    if base.one_group and group_channels is not None:
        raise ValueError(f"one_group makes a group of all channels, so it takes no group_channels, got {group_channels}")
    return 2 if base.one_group else group * (1 + group % 2)


def scaled_width(base: ModelConfig, factor: float, group_channels: int | None = None) -> int:
    """C1 · `factor` rounded to the nearest width of the lattice."""
    step = lattice_step(base, group_channels)
    return max(1, round_half_up(base.channels * factor / step)) * step


def effective_phi(base: ModelConfig, config: ModelConfig, *, alpha: float = ALPHA, beta: float = BETA) -> tuple[float, float]:
    """(φ of width, φ of depth) of `config` relative to `base`: log_β of the width ratio and log_α of the ratio of D.

    A coefficient of exactly 1 leaves its dimension unscaled; its φ is 0 when nothing changed and not a number otherwise.
    """
    return _phi(config.channels / base.channels, beta), _phi(paper_depth(config) / paper_depth(base), alpha)


def effective_pair(base: ModelConfig, config: ModelConfig, phi: float) -> tuple[float, float]:
    """(α, β) that take `base` to the depth and width of `config` in `phi` steps: (D / D0)^(1/φ) and (C1 / C1_0)^(1/φ).

    ValueError for φ = 0, where every pair is the base itself.
    """
    if phi == 0 or not math.isfinite(phi):
        raise ValueError(f"phi must be a finite number other than 0 to tell a pair, got phi={phi}")
    return (paper_depth(config) / paper_depth(base)) ** (1 / phi), (config.channels / base.channels) ** (1 / phi)


def rounding_bound(config: ModelConfig, *, alpha: float = ALPHA, beta: float = BETA) -> tuple[float, float]:
    """How far rounding may put the (φ of width, φ of depth) of a scaled `config` from the φ it was made with.

    A number that was rounded to x by at most r changes its logarithm by at most -log(1 - r / x): r is half a step of the lattice for the
    width and half a block for D. It does not hold where the first width of the lattice is as narrow as can be.
    """
    width = lattice_step(config) / 2 / config.channels
    depth = 1 / 2 / paper_depth(config)
    return _phi(1 / (1 - width), beta), _phi(1 / (1 - depth), alpha)


def _stack(base: ModelConfig, depth: int, channels: int, group_channels: int | None, style: str | None, split: str) -> ModelConfig:
    lattice_step(base, group_channels)  # its rules
    group = base.group_channels if group_channels is None else group_channels
    l1, l3 = split_depth(depth, base, split)
    scaled = restack(base, channels=channels, group_channels=group, depths=(l1, l1, l3, l1))
    return scaled if style is None else restyled(scaled, style)


def _phi(ratio: float, coefficient: float) -> float:
    if coefficient == 1:
        return 0.0 if ratio == 1 else math.nan
    return math.log(ratio) / math.log(coefficient)


def _check(base: ModelConfig, phi: float, alpha: float, beta: float) -> None:
    if not (1 <= alpha <= 4 and 1 <= beta <= 4):
        raise ValueError(f"alpha and beta must be at least 1 and at most 4, got alpha={alpha}, beta={beta}")
    if not abs(phi) <= LARGEST_PHI:
        raise ValueError(f"phi must lie in [{-LARGEST_PHI}, {LARGEST_PHI}], got phi={phi}")
    _check_base(base)


def _check_base(base: ModelConfig) -> None:
    if not base.is_aaba:
        raise ValueError(f"compound scaling needs an AABA base (L1 = L2 = L4 <= L3), got depths={base.depths}")
