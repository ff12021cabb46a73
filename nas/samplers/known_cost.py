"""Bayesian optimisation where only one objective is unknown: costs are exact, so only what training tells is modelled.

A Gaussian process learns that objective; suggested is the candidate whose expected hypervolume improvement, exact for one unknown
objective, is the greatest of the feasible set. Running trials count as what is expected of them. Constraints on other trained metrics, and
trials that could not run, each have a process of their own, whose probability to be met multiplies the improvement.
"""

import moocore
import numpy as np
from numpy.typing import NDArray

from nas.samplers.choice import unknown_objectives
from nas.samplers.expected_improvement import LEAST_STD, expected_hypervolume_improvement, staircase
from nas.samplers.known_values import bound_of, known_objectives, permitted
from nas.samplers.learned_metrics import LearnedMetrics
from nas.samplers.orders import Sobol
from nas.samplers.problem import Problem
from studies.records import Trial

Array = NDArray[np.float64]
Integers = NDArray[np.int64]
START = 8  # evenly spread trials before the first that is modelled
SCORED, DRAWN = 4096, 2048  # so many candidates are compared, or so many are drawn for each suggestion where there are more
MARGIN = 0.1  # how far beyond the worst the reference lies, as a share of the range


class KnownCost:
    """Suggests by expected hypervolume improvement in one unknown objective and any number of known ones."""

    def __init__(self, problem: Problem) -> None:
        self._problem, self._rng = problem, np.random.default_rng(problem.seed)
        (metric,) = unknown_objectives(problem.config)
        (objective,) = (objective for objective in problem.config.objectives if objective.metric == metric)
        self._learned = LearnedMetrics(problem, objective, self._rng)
        self._known, self._permitted = known_objectives(problem), permitted(problem)
        self._bound = bound_of(problem.config, objective)
        self._start = Sobol(problem)
        self._running: set[int] = set()

    def begin(self, index: int) -> None:
        """Count a candidate as what is expected of it."""
        self._running.add(index)

    def learn(self, index: int, trial: Trial) -> None:
        """Note what a candidate was measured at."""
        self._running.discard(index)
        self._learned.add(index, trial)

    def suggest(self) -> int:
        """The free candidate of the greatest expected improvement; evenly spread ones until there is something to model."""
        complete, running = self._learned.complete(), np.array(sorted(self._running), dtype=np.int64)
        if len(complete) < START:
            return self._start.nearest(self._open())
        posterior = self._learned.posterior(running)
        reached = np.concatenate([complete, running])
        points = np.column_stack([posterior.mean(self._learned.at(reached)), self._known[reached]])
        reference = self._reference(points)
        counting = self._permitted[reached] & np.concatenate([self._learned.met(complete), np.ones(len(running), dtype=bool)])
        front = np.flatnonzero(counting)[_nondominated(points[counting])]
        candidates = self._candidates(reached[front])
        mean, std = posterior.predict(self._learned.at(candidates))
        gain = expected_hypervolume_improvement(mean, std, self._known[candidates], staircase(points[front], reference))
        score = gain * self._learned.probability(candidates)
        if score.max() <= 0:  # nothing is expected of any: the one that may come nearest
            score = (reference[0] - mean) / np.maximum(std, LEAST_STD)
        return int(candidates[np.argmax(score)])

    def _reference(self, points: Array) -> Array:
        """Somewhat worse than all that was found and all that is known; no worse than what is asked for."""
        worst, best = points[:, 0].max(), points[:, 0].min()
        unknown = min(worst + MARGIN * (worst - best), self._bound)
        ranges = np.ptp(self._known, axis=0)
        return np.append(unknown, self._known.max(axis=0) + MARGIN * np.where(ranges > 0, ranges, 1.0))

    def _candidates(self, front: Integers) -> Integers:
        """The free candidates to compare: all, or as many as can be scored, those next to the front among them."""
        is_open = self._open()
        candidates = np.flatnonzero(is_open)
        if len(candidates) <= SCORED:
            return candidates
        drawn = candidates[self._rng.integers(len(candidates), size=DRAWN)]
        beside = [index for index in self._beside(front) if is_open[index]]
        return np.unique(np.concatenate([drawn, np.array(beside, dtype=np.int64)]))

    def _open(self) -> NDArray[np.bool_]:
        """The free candidates; while there are any, only those that meet the constraints on what is known, (n,)."""
        permitted = self._problem.free & self._permitted
        return permitted if permitted.any() else self._problem.free

    def _beside(self, front: Integers) -> list[int]:
        """The feasible candidates one step of one domain away from the front."""
        domains = self._problem.config.space.domains
        found = []
        for params in map(self._problem.params, front.tolist()):
            for name, values in domains.items():
                at = values.index(params[name])
                for value in values[max(0, at - 1) : at + 2]:
                    found.append(self._problem.feasible.index({**params, name: value}))
        return [index for index in found if index is not None]


def _nondominated(points: Array) -> Integers:
    """The rows of `points`, all minimised, that no other dominates, equal ones once."""
    if not len(points):
        return np.zeros(0, dtype=np.int64)
    padded = points if points.shape[1] > 1 else np.column_stack([points, np.zeros(len(points))])
    return np.flatnonzero(moocore.is_nondominated(padded))
