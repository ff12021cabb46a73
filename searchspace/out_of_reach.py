"""What to say of a space in which nothing is feasible: what was asked for, and what comes nearest to it."""

from typing import TYPE_CHECKING

import numpy as np

from searchspace.feasible import Grid, Reachable
from searchspace.model_config import ModelConfig
from searchspace.quantity import format_quantity
from searchspace.stacks import KERNEL

if TYPE_CHECKING:
    from searchspace.space import SearchSpace


def why_empty(space: "SearchSpace", grid: Grid) -> str:
    """Why no candidate of a space may be trained, with the nearest reachable size where rules allow any."""
    metrics = list(dict.fromkeys(rule.metric for rule in space.size_rules))
    reachable = grid.reachable(metrics)
    if reachable is None:
        first = space.candidate({name: values[0] for name, values in space.domains.items()})
        return f"no candidate of space {space.name} keeps the rules; the first: {first.reason}"
    nearest = _nearest(space, reachable)
    sizes = ", ".join(f"{metric} {format_quantity(int(reachable.sizes[metric][nearest]))}" for metric in metrics)
    setting = space.memory_setting if "memory" in metrics else ""
    variant = _name(reachable.config(nearest))
    return f"no candidate of space {space.name} meets {_asked(space)}; the nearest reachable is {variant} with {sizes}{setting}"


def _nearest(space: "SearchSpace", reachable: Reachable) -> int:
    """The one that exceeds its worst limit by the smallest factor, of those the one nearest to the target; the first of equals."""
    sizes = {metric: counts.astype(float) for metric, counts in reachable.sizes.items()}
    factors = [np.maximum(1, sizes[limit.metric] / limit.value) for limit in space.limits]
    keys = [np.maximum.reduce(factors)] if factors else []
    if space.target is not None:
        ratio = sizes[space.target.metric] / space.target.value
        keys = [np.maximum(ratio, 1 / ratio), *keys]
    return int(np.lexsort(keys)[0])  # the last key counts first


def _asked(space: "SearchSpace") -> str:
    """The target and limits as a user writes them."""
    target = space.target
    wish = [] if target is None else [f"{target.metric}={format_quantity(target.value)} within {target.tolerance:.1%}"]
    return " and ".join([*wish, *(f"{limit.metric}<={format_quantity(limit.value)}" for limit in space.limits)])


def _name(config: ModelConfig) -> str:
    return config.short_name + ("" if config.kernel_size == KERNEL else f" (kernel_size {config.kernel_size})")
