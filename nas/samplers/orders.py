"""Orders that learn nothing: every candidate in turn, uniformly at random, and evenly spread over the domains."""

import numpy as np
from numpy.typing import NDArray

from nas.samplers.problem import Problem
from studies.records import Trial


class _Unlearning:
    """Results change nothing."""

    def begin(self, index: int) -> None:
        """Nothing to note: the problem knows what is taken."""

    def learn(self, index: int, trial: Trial) -> None:
        """Nothing to learn."""


class Exhaustive(_Unlearning):
    """Every feasible candidate in the order of the domains."""

    def __init__(self, problem: Problem) -> None:
        self._free, self._next = problem.free, 0

    def suggest(self) -> int:
        """The first free candidate."""
        self._next += int(np.argmax(self._free[self._next :]))  # what was taken never becomes free again
        return self._next


class Uniform(_Unlearning):
    """Uniform over the feasible candidates that are left, without the bias of drawing from the domains and moving what is infeasible."""

    def __init__(self, problem: Problem) -> None:
        self._problem, self._rng = problem, np.random.default_rng(problem.seed)

    def suggest(self) -> int:
        """Any free candidate."""
        return self._problem.any_free(self._rng)


class Sobol(_Unlearning):
    """Owen-scrambled Sobol points over the domains, each moved to the nearest free candidate.

    The point's number is that of the candidates taken before it, and the scrambling is the study's seed: a study that goes on, or that
    another driver shares, goes on in the same sequence, which Optuna's sampler would begin again.
    """

    def __init__(self, problem: Problem) -> None:
        from scipy.stats import qmc

        self._problem, self._domains = problem, problem.config.space.domains
        self._points = qmc.Sobol(len(self._domains), rng=problem.config.seed)
        self._drawn = 0

    def suggest(self) -> int:
        """The free candidate nearest to the next point."""
        return self.nearest(self._problem.free)

    def nearest(self, free: NDArray[np.bool_]) -> int:
        """The candidate nearest to the next point of those that are `free` (n,)."""
        taken = int(np.count_nonzero(~self._problem.free))
        if taken > self._drawn:
            self._points.fast_forward(taken - self._drawn)
        point = self._points.random(1)[0]
        self._drawn = max(taken, self._drawn) + 1
        params = {name: values[int(share * len(values))] for share, (name, values) in zip(point, self._domains.items(), strict=True)}
        index = self._problem.feasible.nearest(params, free)
        assert index is not None, "asked only while a candidate is free"
        return index
