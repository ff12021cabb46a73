"""A family scaled from one base, the published one beside it in the same terms, and the φ that reaches a size."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

from searchspace.cost import Cost, cost
from searchspace.exponents import Exponents, check_pair, exponents
from searchspace.matched_depth import Sizing
from searchspace.model_config import ModelConfig
from searchspace.presets import preset
from searchspace.scaling import ALPHA, BETA, LARGEST_PHI, compound_scale, effective_phi, matched_scale, scaled_width

PHIS = tuple(map(float, range(7)))  # at which a family is shown where nobody says which
PUBLISHED = ("T", "S", "B", "L", "XL", "H")  # G is no AABA stack, so it has no φ
UNREACHED = 0.5  # a size missed by more than this share is no rounding any more
HALVINGS = 60  # of an interval of φ, down to neighbouring floats


class Shape(TypedDict):
    """What both ways of scaling take, named as they name it."""

    group_channels: int | None
    style: str | None
    split: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaleRule:
    """How a base grows with φ: depth by α^φ and width by β^φ, or with `match` the depth that gives `metric` 2^φ times the base's.

    `exponents` are those of the metric where they are measured rather than computed; the other settings are those of `compound_scale`.
    """

    alpha: float = ALPHA
    beta: float = BETA
    group_channels: int | None = None
    style: str | None = None
    split: str = "ratio"
    match: bool = False
    metric: str = "params"
    exponents: Exponents | None = None

    @property
    def sizing(self) -> Sizing:
        """What sizes are counted in: FLOPs of one image of 224 px, memory of training 64 of them."""
        return Sizing(metric=self.metric, exponents=self.exponents)

    @property
    def _shape(self) -> Shape:
        return Shape(group_channels=self.group_channels, style=self.style, split=self.split)

    def exponents_at(self, base: ModelConfig) -> Exponents:
        """The measured exponents, or those of the metric at a base."""
        return self.exponents or exponents(base, self.metric)

    def plain(self, base: ModelConfig, phi: float) -> ModelConfig:
        """`base` at φ with depth and width rounded; errors as for `compound_scale`."""
        return compound_scale(base, phi, alpha=self.alpha, beta=self.beta, **self._shape)

    def matched(self, base: ModelConfig, phi: float, size: float) -> ModelConfig:
        """`base` at the width of φ, with the depth that comes nearest to `size`; errors as for `matched_scale`."""
        channels = scaled_width(base, self.beta**phi, self.group_channels)
        return matched_scale(base, channels, size, metric=self.metric, exponents=self.exponents, **self._shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A variant of a family: `name` where it is a published one, its φ, and its φ of width and of depth against the base.

    `cost` is of one image of 224 px with 1000 classes; `size` and `asked` are in the rule's metric, for `latency_ms` as multiples of the
    base's. A published variant's φ is how often its width and depth together double the size by the metric's exponents, and what they ask
    for is the base's size doubled as often. A φ is None where its coefficient is 1 and the dimension has changed.
    """

    name: str | None
    phi: float
    config: ModelConfig
    cost: Cost
    size: float
    asked: float
    phi_width: float | None
    phi_depth: float | None

    @property
    def size_error(self) -> float:
        """Relative distance of its size from the one that was asked for."""
        return self.size / self.asked - 1


def pair_on(by: Exponents, alpha: float | None, beta: float | None) -> tuple[float, float]:
    """(α, β), where only one is given the other from the curve α^d · β^w = 2, and without any the paper's best pair."""
    if alpha is not None and beta is None:
        return alpha, max(1.0, by.beta_of(alpha)) if 1 <= alpha <= 4 else BETA
    if beta is not None and alpha is None:
        return max(1.0, by.alpha_of(beta)) if 1 <= beta <= 4 else ALPHA, beta
    return (ALPHA, BETA) if alpha is None or beta is None else (alpha, beta)


def curve(base: ModelConfig, rule: ScaleRule) -> Exponents:
    """What the rule's pair must double: the number of parameters, as in the paper, or with `match` the metric that is matched."""
    return rule.exponents_at(base) if rule.match else exponents(base, "params")


def check_rule(base: ModelConfig, rule: ScaleRule) -> None:
    """ValueError for a base, split, style or coefficients that cannot be, and for a pair that is not on its curve."""
    rule.plain(base, 0.0)
    check_pair(rule.alpha, rule.beta, curve(base, rule))


def scaled_family(base: ModelConfig, phis: Sequence[float], rule: ScaleRule) -> list[Member]:
    """`base` scaled to each φ; ValueError for a φ given twice and one that no whole depth can express."""
    if repeated := sorted({phi for phi in phis if phis.count(phi) > 1}):
        raise ValueError(f"each phi may be given once, got phi={repeated[0]:g} again")
    size = rule.sizing.of(base, base)
    return [scaled_member(base, phi, size * 2**phi, rule) for phi in phis]


def scaled_member(base: ModelConfig, phi: float, asked: float, rule: ScaleRule) -> Member:
    """`base` at φ, of which a size is asked; ValueError for a φ that no whole depth can express."""
    rule.plain(base, 0.0)  # what is wrong without any φ is said without one
    try:
        config = rule.matched(base, phi, asked) if rule.match else rule.plain(base, phi)
    except ValueError as error:
        if not abs(phi) <= LARGEST_PHI:
            raise
        raise ValueError(f"phi={phi:g} cannot be built: {error}; a phi nearer to 0 can") from None
    return _member(None, phi, base, config, asked, rule)


def published_family(base: ModelConfig, rule: ScaleRule) -> list[Member]:
    """T S B L XL H, each in its own style, in the terms of a rule that scales `base`."""
    size, by = rule.sizing.of(base, base), rule.exponents_at(base)
    members = []
    for name in PUBLISHED:
        config = preset(name).config
        growth = by.growth(sum(config.depths) / sum(base.depths), config.channels / base.channels)
        members.append(_member(name, math.log2(growth), base, config, size * growth, rule))
    return members


def solve_phi(base: ModelConfig, size: float, rule: ScaleRule) -> Member:
    """`base` at the φ that comes nearest to `size` in the rule's metric; ValueError where none comes near.

    Of the φ that build the same variant it is the one nearest to the doublings asked for. With `match` it is these doublings, and the depth
    does the rest.
    """
    doublings = math.log2(size / rule.sizing.of(base, base))
    member = scaled_member(base, doublings if rule.match else _solved(base, size, doublings, rule), size, rule)
    if abs(member.size_error) > UNREACHED:
        raise ValueError(
            f"no phi in [{-LARGEST_PHI}, {LARGEST_PHI}] brings {base.short_name} near {rule.sizing.text(size)}; the nearest is "
            f"{member.config.short_name} with {rule.sizing.text(member.size)} ({member.size_error:+.0%}); take another base"
        )
    return member


def _solved(base: ModelConfig, size: float, doublings: float, rule: ScaleRule) -> float:
    """The φ in [-20, 20] of plain rounding; found by halving, as sizes never fall with φ."""
    low, high = float(-LARGEST_PHI), float(LARGEST_PHI)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if _size(base, middle, rule) <= size else (low, middle)
    near = [phi for phi in (low, high) if 0 < _size(base, phi, rule) < math.inf]
    nearest = min(near, key=lambda phi: abs(_size(base, phi, rule) - size))
    config = rule.plain(base, nearest)
    return _shortest(base, doublings if _builds(base, doublings, rule, config) else nearest, rule, config)


def _size(base: ModelConfig, phi: float, rule: ScaleRule) -> float:
    """The size at φ; 0 where it is too small to be built and infinity where it is too large."""
    try:
        return rule.sizing.of(rule.plain(base, phi), base)
    except ValueError:
        return 0.0 if phi < 0 else math.inf


def _shortest(base: ModelConfig, phi: float, rule: ScaleRule, config: ModelConfig) -> float:
    """The φ of the fewest decimals beside `phi` that builds the same variant."""
    for digits in range(2, 16):
        scale = 10.0**digits
        for rounded in sorted((math.floor(phi * scale) / scale, math.ceil(phi * scale) / scale), key=lambda value: abs(value - phi)):
            if _builds(base, rounded, rule, config):
                return rounded
    return phi


def _builds(base: ModelConfig, phi: float, rule: ScaleRule, config: ModelConfig) -> bool:
    try:
        return rule.plain(base, phi) == config
    except ValueError:
        return False


def _member(name: str | None, phi: float, base: ModelConfig, config: ModelConfig, asked: float, rule: ScaleRule) -> Member:
    width, depth = (None if math.isnan(value) else value for value in effective_phi(base, config, alpha=rule.alpha, beta=rule.beta))
    size = rule.sizing.of(config, base)
    return Member(name=name, phi=phi, config=config, cost=cost(config), size=size, asked=asked, phi_width=width, phi_depth=depth)
