"""The spaces by name: `stacking` over (C1, C', L1, L3), `wide` with more of it, `scaling` over (α, β) pairs, `single` of one variant."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from searchspace.cost import COST_METRICS, cost
from searchspace.model_config import ModelConfig
from searchspace.presets import preset
from searchspace.scaling import PAPER_PAIRS, PAPER_PHI, compound_scale
from searchspace.sizes import Limit, Target
from searchspace.space import BATCH_SIZE, Params, Rule, SearchSpace, Value, no_reason
from searchspace.space_text import naming, read_domains, read_limits, read_target
from searchspace.stacking_rule import STACKING, check_domains
from searchspace.styles import style_of, switches

PAPER_TARGET = Target(30_000_000)
WIDE: Mapping[str, Sequence[int]] = {"channels": range(16, 161, 16), "group_channels": (8, 16, 32), "l1": range(1, 9)}
WIDE_L3 = range(1, 65)
ROUNDING = 0.25  # plain rounding misses a size by up to 17 % for the paper's pairs


def stacking_space(
    *,
    channels: Sequence[int] = (48, 64, 80),
    group_channels: Sequence[int] = (16, 32),
    l1: Sequence[int] = (1, 2, 3, 4, 5),
    l3: Sequence[int] | None = None,
    kernel_size: Sequence[int] | None = None,
    target: Target | None = None,
    limits: Sequence[Limit] = (),
    style: str = "t",
    batch_size: int = BATCH_SIZE,
) -> SearchSpace:
    """The paper's stacking space: L3 is the depth nearest to the target within the limits, or free when `l3` lists it.

    `kernel_size` lists sides of the DCNv3 kernel to choose from; `batch_size` is that of a limit on memory.
    """
    domains = {"channels": tuple(channels), "group_channels": tuple(group_channels), "l1": tuple(l1)}
    domains |= {} if l3 is None else {"l3": tuple(l3)}
    domains |= {} if kernel_size is None else {"kernel_size": tuple(kernel_size)}
    size = target if l3 is not None or target is not None else PAPER_TARGET
    settings: dict[str, Any] = {"target": size, "limits": tuple(limits), "style": style, "batch_size": batch_size}
    return SearchSpace(name="stacking", domains=domains, rule=STACKING, **settings)


def wide_stacking_space(*, l3: Sequence[int] | None = None, target: Target | None = None, **settings: Any) -> SearchSpace:
    """The stacking space over C1 16..160, C' 8, 16, 32, L1 1..8, and L3 1..64 unless a target decides it; settings as `stacking_space`.

    15,360 choices with L3 free, three times as many with `kernel_size=[3, 5, 7]`.
    """
    depths = WIDE_L3 if l3 is None and target is None else l3
    return stacking_space(**{**WIDE, **settings}, l3=depths, target=target)


def scaling_space(
    *,
    pairs: Sequence[tuple[float, float]] = PAPER_PAIRS,
    phi: Sequence[float] | None = None,
    target: Target | None = None,
    limits: Sequence[Limit] = (),
    style: str | None = None,
    base: ModelConfig | None = None,
) -> SearchSpace:
    """(α, β) pairs applied to `base` (T unless given) in its style at φ = 1.74, or at the φ that doubles the base up to the target.

    Thin: the paper's plain rounding, so sizes differ and are shown with their error; matched sizes and the fit are to come.
    """
    base = base or preset("T").config
    if phi is not None and target is not None:
        raise ValueError("phi and target exclude each other: a target decides phi")
    if target is not None:
        if target.metric not in COST_METRICS:
            raise ValueError(f"a scaling space takes a target on {', '.join(COST_METRICS)}, got {target.metric}; set a limit on it instead")
        phi = [round(math.log2(target.value / getattr(cost(base), target.metric)), 4)]
    names = tuple(f"{alpha:g},{beta:g}" for alpha, beta in pairs)
    domains: dict[str, tuple[Value, ...]] = {"pair": names, "phi": tuple(phi or (PAPER_PHI,))}
    size = None if target is None else Target(target.value, target.metric, ROUNDING)
    limits = tuple(limits)
    return SearchSpace(name="scaling", domains=domains, rule=SCALING, target=size, limits=limits, style=style or style_of(base), base=base)


def single_space(name: str, config: ModelConfig) -> SearchSpace:
    """The space of one variant, whatever its switches, under a name."""
    return SearchSpace(name="single", domains={"variant": (name,)}, rule=SINGLE, style=style_of(config), base=config)


SPACES: Mapping[str, Callable[..., SearchSpace]] = {"stacking": stacking_space, "wide": wide_stacking_space, "scaling": scaling_space}


def space_from_dict(values: Mapping[str, Any]) -> SearchSpace:
    """The space that `SearchSpace.to_dict` or a user wrote, who may write ranges and sizes as text; ValueError names the wrong key."""
    rest = dict(values)
    name = rest.pop("name", None)
    if name not in RULES:
        raise ValueError(f"unknown space {name!r}; known: {', '.join(RULES)}")
    try:
        target, limits = read_target(rest.pop("target", None)), read_limits(rest.pop("limits", []))
        domains, base = read_domains(rest.pop("domains", {})), _read_base(rest.pop("base", None))
    except ValueError as error:
        raise ValueError(f"not a search space: {error}") from None
    try:
        return SearchSpace(name=name, domains=domains, rule=RULES[name], target=target, limits=limits, base=base, **rest)
    except (TypeError, AttributeError) as error:
        raise ValueError(f"not a search space: {error}") from None


def _read_base(value: Any) -> ModelConfig | None:
    with naming("base"):
        if isinstance(value, Mapping):
            return ModelConfig.from_dict(value)
        return None if value is None else preset(str(value)).config


def _check_scaling(space: SearchSpace) -> None:
    check_domains(space, {"pair", "phi"})
    if space.base is None or not space.base.is_aaba:
        raise ValueError("a scaling space needs an AABA base (L1 = L2 = L4 <= L3), such as base: T")
    if space.style != style_of(space.base):
        switches(space.style, 1)
    for pair in space.domains["pair"]:
        _coefficients(pair)
    for phi in space.domains["phi"]:
        if not isinstance(phi, int | float):
            raise ValueError(f"domain phi holds numbers, got {phi!r}")


def _check_single(space: SearchSpace) -> None:
    check_domains(space, {"variant"})
    if space.base is None or len(space) != 1:
        raise ValueError(f"a single space needs a base and one name for it, got {list(space.domains['variant'])}")


def _coefficients(pair: Value) -> tuple[float, float]:
    try:
        alpha, beta = (float(number) for number in str(pair).split(","))
    except ValueError:
        raise ValueError(f"a pair reads alpha,beta such as 1.09,1.36, got {pair!r}") from None
    return alpha, beta


def _build_scaling(space: SearchSpace, params: Params) -> ModelConfig:
    alpha, beta = _coefficients(params["pair"])
    assert space.base is not None, "a scaling space is made with a base"
    return compound_scale(
        space.base, float(params["phi"]), alpha=alpha, beta=beta, style=None if space.style == style_of(space.base) else space.style
    )


def _build_single(space: SearchSpace, params: Params) -> ModelConfig:
    assert space.base is not None, "a single space is made with a base"
    return space.base


def _asked_by_phi(space: SearchSpace, params: Params) -> float:
    assert space.base is not None, "a scaling space is made with a base"
    return float(2 ** float(params["phi"]) * cost(space.base, space.image_size, space.num_classes).params)


def _asked_by_nothing(space: SearchSpace, params: Params) -> float | None:
    return None


SCALING = Rule(_check_scaling, _build_scaling, _asked_by_phi, no_reason)
SINGLE = Rule(_check_single, _build_single, _asked_by_nothing, no_reason)
RULES: Mapping[str, Rule] = {"stacking": STACKING, "scaling": SCALING, "single": SINGLE}
