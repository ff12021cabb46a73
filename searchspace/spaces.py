"""The spaces by name: `stacking` over (C1, C', L1, L3), `wide` with more of it, `scaling` over φ and widths, `single` of one variant."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, Literal

from searchspace.exponents import Exponents
from searchspace.model_config import ModelConfig
from searchspace.presets import preset
from searchspace.scaled_base import ScaledBase
from searchspace.scaling import PAPER_PAIRS
from searchspace.scaling_domains import metric_of, pair_texts, start_of, steps_of, widths_of
from searchspace.scaling_rule import SCALING, check_more_than_base
from searchspace.scaling_setting import Scaling
from searchspace.sizes import Limit, Target
from searchspace.space import BATCH_SIZE, Params, Rule, SearchSpace, Value, no_reason, no_size_error
from searchspace.space_text import check_keys, naming, read_domain, read_domains, read_limits, read_target
from searchspace.stacking_rule import STACKING, check_domains
from searchspace.styles import style_of

PAPER_TARGET = Target(30_000_000)
WIDE: Mapping[str, Sequence[int]] = {"channels": range(16, 161, 16), "group_channels": (8, 16, 32), "l1": range(1, 9)}
WIDE_L3 = range(1, 65)
ROUNDING = 0.25  # plain rounding misses a size by up to 17 % for the paper's pairs
Numbers = Sequence[int] | str  # text is a range, as in study files


def stacking_space(
    *,
    channels: Numbers = (48, 64, 80),
    group_channels: Numbers = (16, 32),
    l1: Numbers = (1, 2, 3, 4, 5),
    l3: Numbers | None = None,
    kernel_size: Numbers | None = None,
    target: Target | str | None = None,
    limits: Sequence[Limit | str] = (),
    style: str = "t",
    batch_size: int = BATCH_SIZE,
) -> SearchSpace:
    """The paper's stacking space: L3 is the depth nearest to the target within the limits, or free when `l3` lists it.

    `kernel_size` lists sides of the DCNv3 kernel to choose from; `batch_size` is that of a limit on memory. Ranges and sizes may be text as
    in study files: `16:160:16`, `30M`, `flops<=5G`.
    """
    chosen = {name: values for name, values in {"l3": l3, "kernel_size": kernel_size}.items() if values is not None}
    given = {"channels": channels, "group_channels": group_channels, "l1": l1, **chosen}
    domains = {name: _read_values(name, values) for name, values in given.items()}
    size = read_target(target) if l3 is not None or target is not None else PAPER_TARGET
    settings: dict[str, Any] = {"target": size, "limits": read_limits(limits), "style": style, "batch_size": batch_size}
    return SearchSpace(name="stacking", domains=domains, rule=STACKING, **settings)


def wide_stacking_space(*, l3: Numbers | None = None, target: Target | str | None = None, **settings: Any) -> SearchSpace:
    """The stacking space over C1 16..160, C' 8, 16, 32, L1 1..8, and L3 1..64 unless a target decides it; settings as `stacking_space`.

    15,360 choices with L3 free, three times as many with `kernel_size=[3, 5, 7]`.
    """
    depths = WIDE_L3 if l3 is None and target is None else l3
    return stacking_space(**{**WIDE, **settings}, l3=depths, target=target)


def scaling_space(
    *,
    base: ModelConfig | str | None = None,
    phi: Sequence[float] | None = None,
    pairs: Literal["paper"] | Sequence[tuple[float, float]] | None = None,
    lattice: Literal["coarse", "fine"] = "coarse",
    formula: bool = False,
    split: str = "ratio",
    metric: str | None = None,
    exponents: Exponents | None = None,
    alpha: tuple[float, float] = (1.0, 1.4),
    tolerance: float = 0.015,
    target: Target | str | None = None,
    limits: Sequence[Limit | str] = (),
    style: str | None = None,
    with_base: bool = True,
) -> SearchSpace:
    """Ways to scale `base` up to 2^φ times its `metric` (parameters unless given), with the base itself as φ = 0.

    The base is T unless given, and a preset where it is text. Sizes may be text as in study files: `100M`, `flops<=60G`.
    A choice is a φ of 2, 3, 4 or those given, and a width of the base's lattice that some φ can use with an effective α in the range; the
    depth is solved from the size and must come within `tolerance` of it. `pairs` are chosen instead of widths where they are given, "paper"
    for its five. `lattice` "fine" groups the base by 8 channels first, and `style` restyles it. With `formula` D is rounded as in the
    paper, whatever the size. A target is one φ instead, without the base. ValueError for a φ that no width can express, and where nothing
    but the base has a size that was asked for.
    """
    start, size = start_of(_read_base("T" if base is None else base), lattice, style), read_target(target)
    how: dict[str, Any] = {"exponents": exponents, "split": split, "formula": formula, "alpha": alpha, "tolerance": tolerance}
    scaling = Scaling(metric=metric_of(metric, size), **how)
    scaled = ScaledBase(start, scaling)
    steps = steps_of(phi, size, scaled, with_base=with_base)
    domains: dict[str, tuple[Value, ...]]
    if pairs is None:
        domains = {"phi": steps, "channels": widths_of(scaled, steps)}
    else:
        domains = {"pair": pair_texts(PAPER_PAIRS if pairs == "paper" else pairs), "phi": steps}
    size = None if size is None else replace(size, tolerance=ROUNDING if formula else tolerance)
    settings: dict[str, Any] = {"target": size, "limits": read_limits(limits), "style": style_of(start), "base": start, "scaling": scaling}
    space = SearchSpace(name="scaling", domains=domains, rule=SCALING, **settings)
    check_more_than_base(space)
    return space


def single_space(name: str, config: ModelConfig) -> SearchSpace:
    """The space of one variant, whatever its switches, under a name."""
    return SearchSpace(name="single", domains={"variant": (name,)}, rule=SINGLE, style=style_of(config), base=config)


SPACES: Mapping[str, Callable[..., SearchSpace]] = {"stacking": stacking_space, "wide": wide_stacking_space, "scaling": scaling_space}


def space_from_dict(values: Any) -> SearchSpace:
    """The space that `SearchSpace.to_dict` or a user wrote, who may write ranges and sizes as text; ValueError names the wrong key."""
    if not isinstance(values, Mapping):
        raise ValueError(f"write {', '.join(SPACES)} or a mapping of {', '.join(SPACE_KEYS)}; got {values!r}")
    rest = dict(values)
    name = rest.pop("name", None)
    if name in SPACES and name not in RULES:
        raise ValueError(f"the space {name!r} takes no settings: write space: {name}, or name: stacking with its domains")
    if name not in RULES:
        raise ValueError(f"unknown space {name!r}; known: {', '.join(RULES)}")
    try:
        check_keys(values, SPACE_KEYS)
        target, limits = read_target(rest.pop("target", None)), read_limits(rest.pop("limits", []))
        domains, base = read_domains(rest.pop("domains", {})), rest.pop("base", None)
        base = None if base is None else _read_base(base)
        scaling = _read_scaling(rest.pop("scaling", None), name)
    except ValueError as error:
        raise ValueError(f"not a search space: {error}") from None
    try:
        parts: dict[str, Any] = {"target": target, "limits": limits, "base": base, "scaling": scaling}
        return SearchSpace(name=name, domains=domains, rule=RULES[name], **parts, **rest)
    except (TypeError, AttributeError) as error:
        raise ValueError(f"not a search space: {error}") from None


def _read_values(name: str, values: Any) -> tuple[Value, ...]:
    with naming(name):
        return read_domain(name, values)


def _read_base(value: Any) -> ModelConfig:
    with naming("base"):
        if isinstance(value, Mapping):
            return ModelConfig.from_dict(value)
        if isinstance(value, str):
            return preset(value).config
        if not isinstance(value, ModelConfig):
            raise ValueError(f"give a ModelConfig, a mapping of one, or a preset's name such as T; got {value!r}")
        return value


def _read_scaling(value: Any, space: str) -> Scaling | None:
    with naming("scaling"):
        if value is not None and space != "scaling":
            raise ValueError(f"only a scaling space has such a setting, got one for the space {space!r}")
        if isinstance(value, Mapping):
            check_keys(value, [field.name for field in fields(Scaling)])
        return value if value is None or isinstance(value, Scaling) else Scaling.from_dict(value)


def _check_single(space: SearchSpace) -> None:
    check_domains(space, {"variant"})
    if space.base is None or len(space) != 1:
        raise ValueError(f"a single space needs a base and one name for it, got {list(space.domains['variant'])}")


def _build_single(space: SearchSpace, params: Params) -> ModelConfig:
    assert space.base is not None, "a single space is made with a base"
    return space.base


SINGLE = Rule(_check_single, _build_single, no_size_error, no_reason)
SPACE_KEYS = tuple(field.name for field in fields(SearchSpace) if field.name != "rule")
RULES: Mapping[str, Rule] = {"stacking": STACKING, "scaling": SCALING, "single": SINGLE}
