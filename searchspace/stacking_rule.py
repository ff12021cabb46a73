"""The rule of stacking spaces: (C1, C', L1) and L3 as a domain or solved from the target, and optionally the kernel size."""

from searchspace.closed_form import closed_form
from searchspace.cost import Cost, cost
from searchspace.depth import Stack, deepest_within, nearest_depth
from searchspace.model_config import LARGEST_KERNEL, ModelConfig, width_violation
from searchspace.quantity import format_quantity
from searchspace.size_form import switches_of
from searchspace.space import Params, Rule, SearchSpace
from searchspace.stack_grid import StackGrid
from searchspace.stacks import KERNEL, KERNELS, stack_variant


def check_domains(space: SearchSpace, wanted: set[str]) -> None:
    """ValueError unless a space has the domains of its kind."""
    if set(space.domains) != wanted:
        raise ValueError(f"the space {space.name!r} has the domains {sorted(wanted)}, got {sorted(space.domains)}")


def _check_stacking(space: SearchSpace) -> None:
    closed_form(space.style, space.image_size, space.num_classes)  # refuses unknown styles, and images that a style's head cannot serve
    if "l3" in space.domains and space.target is not None:
        raise ValueError("l3 and target exclude each other: a target decides the depth, a list of depths leaves the size free")
    wanted = {"channels", "group_channels", "l1"} | (set() if space.target else {"l3"}) | (space.domains.keys() & {"kernel_size"})
    check_domains(space, wanted)
    for name, values in space.domains.items():
        if wrong := [value for value in values if type(value) is not int or value < 1]:
            raise ValueError(f"domain {name} holds whole numbers from 1 on, got {wrong[0]!r}")
    kernels = space.domains.get("kernel_size", ())
    if wrong := [size for size in kernels if size not in KERNELS]:
        raise ValueError(f"domain kernel_size holds odd sizes up to {LARGEST_KERNEL}, the operator's largest, got {wrong[0]}")


def _size_error(space: SearchSpace, params: Params, config: ModelConfig, size: Cost) -> float | None:
    return size.params / space.target.value - 1 if space.target is not None and space.target.metric == "params" else None


def _build_stacking(space: SearchSpace, params: Params) -> ModelConfig:
    channels, group, l1 = int(params["channels"]), int(params["group_channels"]), int(params["l1"])
    kernel = int(params.get("kernel_size", KERNEL))
    if violation := width_violation(channels, group):
        raise ValueError(violation)
    l3 = int(params["l3"]) if "l3" in params else _solve_l3(space, _open_stack(space, channels, group, l1, kernel))
    return stack_variant(channels, group, l1, l3, style=space.style, kernel_size=kernel)


def _open_stack(space: SearchSpace, channels: int, group: int, l1: int, kernel: int) -> Stack:
    style = space.style if kernel == KERNEL else switches_of(space.style, kernel)
    settings = {"image_size": space.image_size, "num_classes": space.num_classes, "batch_size": space.batch_size}
    return Stack(channels=channels, group_channels=group, l1=l1, style=style, **settings)


def _solve_l3(space: SearchSpace, stack: Stack) -> int:
    assert space.target is not None, "without a target the depths are a domain"
    l3 = nearest_depth(stack.cost_of_depth(space.target.metric), space.target.value)
    deepest = (deepest_within(stack.cost_of_depth(limit.metric), limit.value) for limit in space.limits)
    return max(1, min([l3, *deepest]))


def _stacking_violation(space: SearchSpace, config: ModelConfig) -> str | None:
    l1, _, l3, _ = config.depths
    if l1 <= l3:
        return None
    forced = stack_variant(config.channels, config.group_channels, l1, l1, style=space.style, kernel_size=config.kernel_size)
    size = format_quantity(cost(forced, space.image_size, space.num_classes).params)
    why = "" if space.target is None else f"; the size asks for L3={l3}, and L3={l1} would have {size} parameters"
    return f"L1 must not exceed L3 (rule 4), got L1={l1}, L3={l3}{why}"


def _limited(space: SearchSpace, config: ModelConfig) -> str | None:
    """Which limit keeps a candidate away from its target, when one does."""
    target = space.target
    if target is None or target.violation(space.size(config, target.metric)) is None:
        return None
    stack = _open_stack(space, config.channels, config.group_channels, config.depths[0], config.kernel_size)
    l3 = nearest_depth(stack.cost_of_depth(target.metric), target.value)
    for limit in space.limits:
        needed = stack.cost_of_depth(limit.metric)(l3)
        if needed > limit.value:
            asked, bound = (format_quantity(value) for value in (target.value, limit.value))
            return f"{target.metric}={asked} needs {limit.metric} {format_quantity(needed)} (L3={l3}), over the limit {bound}"
    return None


STACKING = Rule(_check_stacking, _build_stacking, _size_error, _stacking_violation, _limited, StackGrid)
