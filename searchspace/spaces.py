"""The spaces by name: `stacking` over (C1, C', L1, L3) at a fixed size, `scaling` over (α, β) pairs, `single` of one variant."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from searchspace.cost import cost
from searchspace.depth import Stack, deepest_within, nearest_depth
from searchspace.model_config import ModelConfig, width_violation
from searchspace.presets import preset
from searchspace.quantity import format_quantity
from searchspace.scaling import PAPER_PAIRS, PAPER_PHI, compound_scale
from searchspace.sizes import Limit, Target, sizes_from_dict
from searchspace.space import Params, Rule, SearchSpace, Value
from searchspace.styles import style_of, styled, switches

PAPER_TARGET = Target(30_000_000)
ROUNDING = 0.25  # plain rounding misses a size by up to 17 % for the paper's pairs


def stacking_space(
    *,
    channels: Sequence[int] = (48, 64, 80),
    group_channels: Sequence[int] = (16, 32),
    l1: Sequence[int] = (1, 2, 3, 4, 5),
    l3: Sequence[int] | None = None,
    target: Target | None = None,
    limits: Sequence[Limit] = (),
    style: str = "t",
) -> SearchSpace:
    """The paper's stacking space: L3 is the depth nearest to the target within the limits, or free when `l3` lists it."""
    domains = {"channels": tuple(channels), "group_channels": tuple(group_channels), "l1": tuple(l1)}
    if l3 is not None:
        domains["l3"] = tuple(l3)
    size = target if l3 is not None or target is not None else PAPER_TARGET
    return SearchSpace(name="stacking", domains=domains, rule=STACKING, target=size, limits=tuple(limits), style=style)


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
        phi = [round(math.log2(target.value / getattr(cost(base), target.metric)), 4)]
    names = tuple(f"{alpha:g},{beta:g}" for alpha, beta in pairs)
    domains: dict[str, tuple[Value, ...]] = {"pair": names, "phi": tuple(phi or (PAPER_PHI,))}
    size = None if target is None else Target(target.value, target.metric, ROUNDING)
    limits = tuple(limits)
    return SearchSpace(name="scaling", domains=domains, rule=SCALING, target=size, limits=limits, style=style or style_of(base), base=base)


def single_space(name: str, config: ModelConfig) -> SearchSpace:
    """The space of one variant, whatever its switches, under a name."""
    return SearchSpace(name="single", domains={"variant": (name,)}, rule=SINGLE, style=style_of(config), base=config)


SPACES: Mapping[str, Callable[..., SearchSpace]] = {"stacking": stacking_space, "scaling": scaling_space}


def space_from_dict(values: Mapping[str, Any]) -> SearchSpace:
    """The space that `SearchSpace.to_dict` wrote; ValueError for an unknown name or key."""
    rest = dict(values)
    name = rest.pop("name", None)
    if name not in RULES:
        raise ValueError(f"unknown space {name!r}; known: {', '.join(RULES)}")
    base = rest.pop("base", None)
    try:
        target, limits = sizes_from_dict(rest.pop("target", None), rest.pop("limits", []))
        domains = {key: tuple(domain) for key, domain in rest.pop("domains", {}).items()}
        start = ModelConfig.from_dict(base) if isinstance(base, Mapping) else base and preset(base).config
        return SearchSpace(name=name, domains=domains, rule=RULES[name], target=target, limits=limits, base=start, **rest)
    except (TypeError, AttributeError) as error:
        raise ValueError(f"not a search space: {error}") from None


def _check_stacking(space: SearchSpace) -> None:
    switches(space.style, 1)
    if "l3" in space.domains and space.target is not None:
        raise ValueError("l3 and target exclude each other: a target decides the depth, a list of depths leaves the size free")
    wanted = {"channels", "group_channels", "l1"} | (set() if space.target else {"l3"})
    _check_domains(space, wanted)
    for name, values in space.domains.items():
        if wrong := [value for value in values if type(value) is not int or value < 1]:
            raise ValueError(f"domain {name} holds whole numbers from 1 on, got {wrong[0]!r}")


def _check_scaling(space: SearchSpace) -> None:
    _check_domains(space, {"pair", "phi"})
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
    _check_domains(space, {"variant"})
    if space.base is None or len(space) != 1:
        raise ValueError(f"a single space needs a base and one name for it, got {list(space.domains['variant'])}")


def _check_domains(space: SearchSpace, wanted: set[str]) -> None:
    if set(space.domains) != wanted:
        raise ValueError(f"the space {space.name!r} has the domains {sorted(wanted)}, got {sorted(space.domains)}")


def _coefficients(pair: Value) -> tuple[float, float]:
    try:
        alpha, beta = (float(number) for number in str(pair).split(","))
    except ValueError:
        raise ValueError(f"a pair reads alpha,beta such as 1.09,1.36, got {pair!r}") from None
    return alpha, beta


def _build_stacking(space: SearchSpace, params: Params) -> ModelConfig:
    channels, group, l1 = int(params["channels"]), int(params["group_channels"]), int(params["l1"])
    if violation := width_violation(channels, group):
        raise ValueError(violation)
    l3 = int(params["l3"]) if "l3" in params else _solve_l3(space, _open_stack(space, channels, group, l1))
    return styled(channels=channels, group_channels=group, depths=(l1, l1, l3, l1), style=space.style)


def _open_stack(space: SearchSpace, channels: int, group: int, l1: int) -> Stack:
    return Stack(
        channels=channels, group_channels=group, l1=l1, style=space.style, image_size=space.image_size, num_classes=space.num_classes
    )


def _solve_l3(space: SearchSpace, stack: Stack) -> int:
    assert space.target is not None, "without a target the depths are a domain"
    l3 = nearest_depth(stack.cost_of_depth(space.target.metric), space.target.value)
    deepest = (deepest_within(stack.cost_of_depth(limit.metric), limit.value) for limit in space.limits)
    return max(1, min([l3, *deepest]))


def _stacking_violation(space: SearchSpace, config: ModelConfig) -> str | None:
    l1, _, l3, _ = config.depths
    if l1 <= l3:
        return None
    forced = styled(channels=config.channels, group_channels=config.group_channels, depths=(l1, l1, l1, l1), style=space.style)
    size = format_quantity(cost(forced, space.image_size, space.num_classes).params)
    why = "" if space.target is None else f"; the size asks for L3={l3}, and L3={l1} would have {size} parameters"
    return f"L1 must not exceed L3 (rule 4), got L1={l1}, L3={l3}{why}"


def _limited(space: SearchSpace, config: ModelConfig) -> str | None:
    """Which limit keeps a candidate away from its target, when one does."""
    target = space.target
    if target is None or target.violation(cost(config, space.image_size, space.num_classes)) is None:
        return None
    stack = _open_stack(space, config.channels, config.group_channels, config.depths[0])
    l3 = nearest_depth(stack.cost_of_depth(target.metric), target.value)
    for limit in space.limits:
        needed = stack.cost_of_depth(limit.metric)(l3)
        if needed > limit.value:
            asked, bound = (format_quantity(value) for value in (target.value, limit.value))
            return f"{target.metric}={asked} needs {limit.metric} {format_quantity(needed)} (L3={l3}), over the limit {bound}"
    return None


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


def _asked_by_target(space: SearchSpace, params: Params) -> float | None:
    return space.target.value if space.target is not None and space.target.metric == "params" else None


STACKING = Rule(_check_stacking, _build_stacking, _asked_by_target, _stacking_violation, _limited)
SCALING = Rule(_check_scaling, _build_scaling, _asked_by_phi, lambda space, config: None)
SINGLE = Rule(_check_single, _build_single, lambda space, params: None, lambda space, config: None)
RULES: Mapping[str, Rule] = {"stacking": STACKING, "scaling": SCALING, "single": SINGLE}
