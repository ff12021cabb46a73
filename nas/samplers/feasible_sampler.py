"""Optuna's samplers confined to what is feasible and free, so that Optuna is told of no other choice.

Optuna knows a choice by where each value stands in its domain: uneven domains such as 8, 16, 32 are ranges to it as well.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from optuna import Study
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, NSGAIIISampler, NSGAIISampler, TPESampler
from optuna.trial import FrozenTrial

from nas.samplers.choice import is_range
from nas.samplers.problem import Problem
from searchspace.space import Value

POPULATION = 50


class FeasibleSampler(BaseSampler):
    """What `inner` suggests, moved to the nearest free candidate; where it would draw at random, a draw from the free candidates.

    `chosen` is the number of the candidate that was suggested last.
    """

    def __init__(self, inner: BaseSampler, problem: Problem) -> None:
        self.inner, self.chosen = inner, -1
        self._problem, self._rng = problem, np.random.default_rng(problem.seed)
        self._domains = problem.config.space.domains
        self.distributions = {name: _distribution(values) for name, values in self._domains.items()}

    def params(self, index: int) -> dict[str, int]:
        """Where each value of a candidate stands in its domain."""
        return dict(zip(self._domains, self._problem.feasible.positions()[index].tolist(), strict=True))

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """All domains: a candidate is chosen as a whole."""
        return self.distributions

    def sample_relative(self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]) -> dict[str, Any]:
        """The choice of every domain."""
        suggested = self.inner.sample_relative(study, trial, self.inner.infer_relative_search_space(study, trial))
        if suggested:
            whole = {name: values[self._place(name, suggested, study, trial)] for name, values in self._domains.items()}
            index = self._problem.feasible.nearest(whole, self._problem.free)
        else:
            index = self._problem.any_free(self._rng)
        assert index is not None, "asked only while a candidate is free"
        self.chosen = index
        return self.params(index)

    def sample_independent(self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution) -> Any:
        """Never needed, for `sample_relative` chooses everything."""
        raise AssertionError(f"{param_name} has been chosen with the other domains")

    def _place(self, name: str, suggested: Mapping[str, Any], study: Study, trial: FrozenTrial) -> int:
        if name in suggested:
            return int(suggested[name])
        if len(self._domains[name]) == 1:
            return 0
        return int(self.inner.sample_independent(study, trial, name, self.distributions[name]))  # a gene that mutates


class _Range(IntDistribution):
    def __deepcopy__(self, memo: dict[int, Any]) -> "_Range":
        """Itself, for nothing changes it: Optuna copies it with every trial, which took half the time of a rebuilding."""
        return self


class _Categories(CategoricalDistribution):
    def __deepcopy__(self, memo: dict[int, Any]) -> "_Categories":
        """Itself, as above."""
        return self


def make_sampler(name: str, problem: Problem, **settings: Any) -> BaseSampler:
    """Optuna's sampler of this name."""
    with warnings.catch_warnings():  # some are experimental: their interface may change, and their constructor says so
        warnings.filterwarnings("ignore", category=ExperimentalWarning)
        return SAMPLERS[name](problem, **settings)


def _distribution(values: Sequence[Value]) -> BaseDistribution:
    """Numbers in order as a range, so that the sampler knows which are near; anything else as categories."""
    return _Range(0, len(values) - 1) if is_range(values) else _Categories(range(len(values)))


def _population(problem: Problem) -> int:
    """Optuna's 50, and fewer where that would leave less than eight generations."""
    return POPULATION if problem.trials is None else int(np.clip(problem.trials // 8, 8, POPULATION))


def _tpe(problem: Problem) -> BaseSampler:
    """Multivariate: it learns which values go together, and one fit serves all domains."""
    return TPESampler(seed=problem.seed, multivariate=True)


def _gp(problem: Problem) -> BaseSampler:
    return GPSampler(seed=problem.seed, warn_independent_sampling=False)


def _nsga2(problem: Problem) -> BaseSampler:
    return NSGAIISampler(seed=problem.seed, population_size=_population(problem))


def _nsga3(problem: Problem) -> BaseSampler:
    return NSGAIIISampler(seed=problem.seed, population_size=_population(problem))


def _cmaes(problem: Problem, *, source_trials: Sequence[FrozenTrial] | None = None) -> BaseSampler:
    """From the best tenth of `source_trials` where there are any, since its own state is not stored."""
    trials = None if source_trials is None else list(source_trials)
    return CmaEsSampler(seed=problem.seed, warn_independent_sampling=False, source_trials=trials)


SAMPLERS: Mapping[str, Callable[..., BaseSampler]] = {"tpe": _tpe, "gp": _gp, "nsga2": _nsga2, "nsga3": _nsga3, "cmaes": _cmaes}
