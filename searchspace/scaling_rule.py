"""The rule of scaling spaces: what a choice of φ and a pair or a width builds, and how far its size is from what φ asks for."""

import math
from dataclasses import dataclass

from searchspace.cost import Cost, cost
from searchspace.depth_split import paper_depth, split_depth
from searchspace.exponents import check_pair
from searchspace.model_config import ModelConfig
from searchspace.scaled_base import ScaledBase
from searchspace.scaling import LARGEST_PHI, compound_scale, effective_pair, lattice_step, scaled_width
from searchspace.space import Params, Rule, SearchSpace, Value, no_reason
from searchspace.stacking_rule import check_domains
from searchspace.styles import style_of, switches


@dataclass(frozen=True, slots=True)
class ScalingPoint:
    """Where a variant lies: its φ, the (α, β) that came out (None at φ = 0), and its relative distance from the size asked for."""

    phi: float
    alpha: float | None
    beta: float | None
    size_error: float


def scaling_point(space: SearchSpace, params: Params, config: ModelConfig) -> ScalingPoint:
    """What the variant that a choice of a scaling space has built is in the rule's own terms."""
    phi, base = float(params["phi"]), _base(space)
    alpha, beta = (None, None) if phi == 0 else effective_pair(base, config, phi)
    return ScalingPoint(phi, alpha, beta, _error(space, params, config))


def scaled_base(space: SearchSpace) -> ScaledBase:
    """The base of a scaling space with its setting; ValueError for a space of an earlier version, which has none."""
    if space.scaling is None:
        raise ValueError(f"this {space.name} space has no setting for matched sizes: it rounds as the paper does")
    return ScaledBase(_base(space), space.scaling, space.image_size, space.num_classes, space.batch_size)


def check_more_than_base(space: SearchSpace) -> None:
    """ValueError for a space that was made to scale its base and in which nothing else is feasible."""
    candidates = space.enumerate()
    others = [candidate for candidate in candidates if candidate.params["phi"] != 0]
    if 0 < len(others) < len(candidates) and not any(candidate.feasible for candidate in others):
        nearest = min(others, key=lambda candidate: math.inf if candidate.size_error is None else abs(candidate.size_error))
        raise ValueError(
            f"nothing but the base is feasible; of {len(others)} candidates the nearest: {nearest.reason}; allow a larger tolerance, take "
            "other values of phi, or a deeper base"
        )


def coefficients(pair: Value) -> tuple[float, float]:
    """(α, β) as the domain `pair` writes them."""
    try:
        alpha, beta = (float(number) for number in str(pair).split(","))
    except ValueError:
        raise ValueError(f"a pair reads alpha,beta such as 1.09,1.36, got {pair!r}") from None
    return alpha, beta


def _check_scaling(space: SearchSpace) -> None:
    if space.base is None or not space.base.is_aaba:
        raise ValueError("a scaling space needs an AABA base (L1 = L2 = L4 <= L3), such as base: T")
    check_domains(space, {"pair", "phi"} if space.scaling is None or "pair" in space.domains else {"phi", "channels"})
    for phi in space.domains["phi"]:
        if isinstance(phi, bool) or not isinstance(phi, int | float):
            raise ValueError(f"domain phi holds numbers, got {phi!r}")
    pairs = [coefficients(pair) for pair in space.domains.get("pair", ())]
    if space.scaling is None:
        if space.style != style_of(space.base):
            switches(space.style, 1)
        return
    _check_matched(space, scaled_base(space))
    for alpha, beta in pairs:
        check_pair(alpha, beta, scaled_base(space).exponents)


def _check_matched(space: SearchSpace, scaled: ScaledBase) -> None:
    base, step = scaled.base, lattice_step(scaled.base)
    if space.style != style_of(base):
        raise ValueError(f"a scaling space has the style of its base, {style_of(base)}, got {space.style}; restyle the base")
    split_depth(paper_depth(base), base, scaled.setting.split)
    if wrong := [phi for phi in space.domains["phi"] if not abs(float(phi)) <= LARGEST_PHI]:
        raise ValueError(f"phi must lie in [{-LARGEST_PHI}, {LARGEST_PHI}], got phi={wrong[0]}")
    for channels in space.domains.get("channels", ()):
        if type(channels) is not int or channels < step or channels % step:
            raise ValueError(f"domain channels holds multiples of {step}, the base's lattice, got {channels!r}")


def _build_scaling(space: SearchSpace, params: Params) -> ModelConfig:
    phi, base = float(params["phi"]), _base(space)
    if space.scaling is None:
        alpha, beta = coefficients(params["pair"])
        return compound_scale(base, phi, alpha=alpha, beta=beta, style=None if space.style == style_of(base) else space.style)
    if phi == 0 and params.get("channels", base.channels) == base.channels:
        return base
    scaled = scaled_base(space)
    return _of_width(scaled, int(params["channels"]), phi) if "channels" in params else _of_pair(scaled, params["pair"], phi)


def _of_width(scaled: ScaledBase, channels: int, phi: float) -> ModelConfig:
    if phi == 0:
        raise ValueError(f"phi=0 is the base itself, with C1={scaled.base.channels}, got C1={channels}")
    if channels not in scaled.widths(phi):
        low, high = scaled.setting.alpha
        raise ValueError(f"at phi={phi:g} C1={channels} would mean alpha={scaled.alpha(channels, phi):.3f}, outside {low:g} to {high:g}")
    return scaled.variant(channels, phi)


def _of_pair(scaled: ScaledBase, pair: Value, phi: float) -> ModelConfig:
    base, setting = scaled.base, scaled.setting
    alpha, beta = coefficients(pair)
    if setting.formula:
        return compound_scale(base, phi, alpha=alpha, beta=beta, split=setting.split)
    config = scaled.variant(scaled_width(base, beta**phi), phi)
    if (effective := effective_pair(base, config, phi)[0]) < 1:
        raise ValueError(
            f"C1={config.channels} alone exceeds {2**phi:.3g} times the base's {setting.metric}: only {paper_depth(config)} of the base's "
            f"D={paper_depth(base)} are left (alpha={effective:.3f}); take a larger phi or a finer lattice"
        )
    return config


def _offers(space: SearchSpace, params: Params) -> bool:
    """Whether a choice is a point of its own: a width belongs to the φ that can use it, and φ = 0 is the base, whatever the pair.

    A width that no φ can use stays, with its reason.
    """
    if space.scaling is None:
        return True
    if "pair" in params:
        return params["phi"] != 0 or params["pair"] == space.domains["pair"][0]
    scaled, channels = scaled_base(space), params["channels"]
    used = [phi for phi in space.domains["phi"] if channels in scaled.widths(float(phi))]
    return params["phi"] in (used or space.domains["phi"][-1:])


def _size_error(space: SearchSpace, params: Params, config: ModelConfig, size: Cost) -> float | None:
    return _error(space, params, config)


def _error(space: SearchSpace, params: Params, config: ModelConfig) -> float:
    phi = float(params["phi"])
    if space.scaling is not None:
        return scaled_base(space).error(config, phi)
    sizes = [cost(each, space.image_size, space.num_classes).params for each in (config, _base(space))]
    return sizes[0] / (2**phi * sizes[1]) - 1


def _base(space: SearchSpace) -> ModelConfig:
    assert space.base is not None, "a scaling space is made with a base"
    return space.base


SCALING = Rule(_check_scaling, _build_scaling, _size_error, no_reason, offers=_offers)
