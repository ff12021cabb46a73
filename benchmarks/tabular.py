"""A SYNTHETIC benchmark for samplers: no network was trained for it, accuracies follow a law with noise.

The costs are exact. The error falls as powers of parameters and FLOPs towards a floor, the shape of published scaling laws, with a smooth
preference over the share of depth to width and over the group width that no cost tells; seeds add noise, and few epochs an error of their
own. Constants are chosen, not fitted to anything.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from searchspace.feasible import FeasibleSet
from searchspace.sizes import Limit
from searchspace.space import SearchSpace
from searchspace.spaces import wide_stacking_space

Array = NDArray[np.float64]
FLOOR = 0.14  # error that no size removes
PARAMS_TERM, FLOPS_TERM, EXPONENT = 0.02, 0.03, 0.35  # error beyond the floor at 30 M parameters and at 5 GFLOPs, and how it falls
BEST_SHARE, SHAPE_TERM = 0.3, 0.008  # L3 / C1 of no extra error, and the error of a factor of e away from it
BEST_GROUP, GROUP_TERM = 16, 0.003
SEED_NOISE, REPORT_NOISE = 0.003, 0.001  # standard deviations of a training and of one validation
EPOCHS = 9
UNTRAINED = 0.05  # error for stopping at a quarter of the epochs
IMAGES, RATE = 50_000, 1e13  # a training epoch, and FLOP/s of the device; a training step costs three forward passes


@dataclass(frozen=True, slots=True)
class Table:
    """Every feasible candidate's expected top-1 after all epochs, cost, seconds for each epoch and how it learns."""

    space: SearchSpace
    feasible: FeasibleSet
    top1: Array
    flops: Array
    epoch_seconds: Array
    untrained: Array

    def measured(self, index: int, epochs: int, seed: int) -> float:
        """The top-1 that a training with this seed reports after `epochs`: always the same for the same three."""
        noise = SEED_NOISE * np.random.default_rng([seed, index]).normal()
        noise += REPORT_NOISE * np.random.default_rng([seed, index, epochs]).normal()
        return float(np.clip(self.top1[index] - self.untrained[index] * ((EPOCHS / epochs) ** 0.5 - 1) + noise, 0.0, 1.0))


def table(limits: tuple[Limit, ...] = ()) -> Table:
    """The wide stacking space with up to 24 blocks in stage 3, about four thousand candidates."""
    space = wide_stacking_space(l3=range(1, 25), limits=limits)
    feasible = space.feasible_set()
    params, flops = feasible.costs("params"), feasible.costs("flops")
    chosen = {name: np.array(values)[places] for (name, values), places in zip(space.domains.items(), feasible.positions().T, strict=True)}
    error = FLOOR + PARAMS_TERM * (params / 30e6) ** -EXPONENT + FLOPS_TERM * (flops / 5e9) ** -EXPONENT
    error += SHAPE_TERM * np.log(chosen["l3"] / chosen["channels"] / BEST_SHARE) ** 2
    error += GROUP_TERM * np.log2(chosen["group_channels"] / BEST_GROUP) ** 2
    slower = UNTRAINED * (params / 30e6) ** 0.1  # large networks need more epochs
    return Table(space, feasible, 1 - error, flops, 3 * flops * IMAGES / RATE, slower)
