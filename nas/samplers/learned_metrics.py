"""What the trials so far say of every candidate: the objective that only training tells, and the chance to meet its constraints."""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from nas.samplers.expected_improvement import LEAST_STD
from nas.samplers.features import Features
from nas.samplers.gaussian_process import Posterior, Surrogate
from nas.samplers.problem import Problem
from studies.records import METRICS, Objective, Trial, TrialState

Array = NDArray[np.float64]
Integers = NDArray[np.int64]
Measure = Callable[[Trial], float | None]
MEASURED = (TrialState.COMPLETE, TrialState.PRUNED)


class LearnedMetrics:
    """Gaussian processes over the candidates' features and the share of the epochs that a trial was trained for."""

    def __init__(self, problem: Problem, objective: Objective, rng: np.random.Generator) -> None:
        self._features, self._epochs = Features(problem), problem.config.proxy.epochs
        better, sign = (">=", -1.0) if objective.direction == "maximize" else ("<=", 1.0)
        self._objective: Measure = lambda trial: None if (value := trial.value(objective.metric)) is None else sign * value
        self._surrogate = Surrogate(rng)
        trained = [constraint for constraint in problem.config.require if METRICS[constraint.metric].origin == "trained"]
        asked = [constraint for constraint in trained if (constraint.metric, constraint.sense) != (objective.metric, better)]
        outcomes: list[Measure] = [_could_run, *(_finite(constraint.violation) for constraint in asked)]
        self._outcomes = [(outcome, Surrogate(rng)) for outcome in outcomes]
        self._ended: dict[int, Trial] = {}

    def add(self, index: int, trial: Trial) -> None:
        """Note an ended trial; a failed one says nothing of its candidate."""
        if trial.state is not TrialState.FAILED:
            self._ended[index] = trial

    def complete(self) -> Integers:
        """The candidates whose objective was measured at full effort."""
        ended = self._ended.items()
        return _numbers([index for index, trial in ended if trial.state is TrialState.COMPLETE and self._objective(trial) is not None])

    def met(self, indices: Integers) -> NDArray[np.bool_]:
        """Which of these ended candidates meet the constraints that were measured, (n,)."""
        return np.array([all((outcome(self._ended[i]) or 0.0) <= 0 for outcome, _ in self._outcomes) for i in indices.tolist()], dtype=bool)

    def posterior(self, running: Integers) -> Posterior:
        """What is believed of the objective, to be minimised, with `running` candidates at their expectation."""
        posterior = self._surrogate.learned(*self._seen(self._objective))
        return posterior.believing(self.at(running)) if running.size else posterior

    def probability(self, indices: Integers) -> Array:
        """The chance of each of these candidates to run, and to meet the constraints on other trained metrics, (n,)."""
        chance = np.ones(len(indices))
        for outcome, surrogate in self._outcomes:
            features, values = self._seen(outcome)
            if values.max(initial=-1.0) > 0:  # until one is violated there is nothing to tell apart
                mean, std = surrogate.learned(features, values).predict(self.at(indices))
                chance *= ndtr(-mean / np.maximum(std, LEAST_STD))
        return chance

    def at(self, indices: Integers) -> Array:
        """The features of these candidates trained at full effort."""
        return np.column_stack([self._features.of(indices), np.zeros(len(indices))])

    def _seen(self, measure: Measure) -> tuple[Array, Array]:
        """Features and values of the trials that tell a measure."""
        told = [(index, self._effort(trial), value) for index, trial in self._ended.items() if (value := measure(trial)) is not None]
        features = self.at(_numbers([index for index, _, _ in told]))
        features[:, -1] = [effort for _, effort, _ in told]
        return features, np.array([value for _, _, value in told], dtype=float)

    def _effort(self, trial: Trial) -> float:
        """0 at full effort, and lower by a half for every tenth of the epochs: far enough that the process keeps them apart."""
        if trial.state is not TrialState.PRUNED:
            return 0.0
        return 0.5 * math.log10(max(1, int(trial.fidelity.get("epochs", 1))) / max(1, self._epochs))


def _could_run(trial: Trial) -> float:
    return 1.0 if trial.state is TrialState.INFEASIBLE else -1.0


def _finite(violation: Callable[[Trial], float]) -> Measure:
    return lambda trial: found if trial.state in MEASURED and math.isfinite(found := violation(trial)) else None


def _numbers(indices: list[int]) -> Integers:
    return np.array(indices, dtype=np.int64)
