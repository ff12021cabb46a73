"""Candidates as numbers that what training tells is smooth in: where they stand in each domain, and the logarithms of their costs."""

import numpy as np
from numpy.typing import NDArray

from nas.samplers.problem import Problem

Array = NDArray[np.float64]
COSTS = ("params", "flops")


class Features:
    """Features in [0, 1] of the feasible candidates: one for each domain with a choice, one for each cost that varies."""

    def __init__(self, problem: Problem) -> None:
        lengths = [len(values) for values in problem.config.space.domains.values()]
        self._chosen = [column for column, length in enumerate(lengths) if length > 1]
        self._last = np.array([lengths[column] - 1 for column in self._chosen], dtype=float)
        costs = [problem.feasible.costs(metric) for metric in COSTS]
        self._costs = [(values, float(np.log(values.min())), float(np.log(values.max()))) for values in costs if np.ptp(values) > 0]
        self._positions = problem.feasible.positions()

    def of(self, indices: NDArray[np.int64]) -> Array:
        """Features (n, d) of the candidates with these numbers."""
        places = self._positions[indices][:, self._chosen] / self._last
        costs = [(np.log(values[indices]) - low) / (high - low) for values, low, high in self._costs]
        return np.column_stack([places, *costs])
