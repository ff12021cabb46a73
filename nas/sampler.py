"""What to try next: Optuna suggests, within the feasible candidates that have not been tried.

Optuna's study lives in memory and is rebuilt from the stored trials at every start. A suggestion that is infeasible or was tried before
is moved to the nearest feasible candidate that was not, and Optuna is told that one. Thin: spaces are small enough to enumerate.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.trial import FrozenTrial, create_trial
from optuna.trial import TrialState as OptunaState

from nas.config import StudyConfig
from searchspace.space import Candidate, Params, SearchSpace, Value
from studies.records import Objective, Trial, TrialState

Key = tuple[tuple[str, Value], ...]


class Sampler:
    """Suggests candidates of a space for a study of `trials` trained trials, knowing what `stored` trials found.

    Exhaustive when asked for, or by default when the feasible candidates are no more than `trials`; else Optuna's TPE or random sampler.
    """

    def __init__(self, config: StudyConfig, feasible: Sequence[Candidate], stored: Sequence[Trial], *, trials: int) -> None:
        self._objectives = config.objectives
        self._space = config.space
        self._distributions = {name: _distribution(values) for name, values in config.space.domains.items()}
        self._feasible = {params_key(candidate.params): candidate for candidate in feasible}
        self._untried = dict(self._feasible)
        self._asked: dict[Key, int] = {}
        self.exhaustive = config.sampler == "exhaustive" or (config.sampler == "auto" and len(feasible) <= trials)
        self._study = _optuna_study(config, len(stored))
        for trial in stored:
            self._take_over(trial)

    def ask(self) -> Candidate | None:
        """The next candidate to train; None when every feasible one has been tried."""
        if not self._untried:
            return None
        if self.exhaustive:
            return self._enqueue(next(iter(self._untried.values())))
        suggested = self._study.ask(self._distributions)
        key = params_key(suggested.params)
        if key in self._untried:
            self._asked[key] = suggested.number
            return self._untried.pop(key)
        self._study.tell(suggested, state=OptunaState.FAIL)
        return self._enqueue(self._nearest_untried(suggested.params))

    def tell(self, trial: Trial) -> None:
        """Let the next suggestions learn from a finished trial."""
        number = self._asked.pop(params_key(trial.params), None)
        if number is not None:  # held the place of a running trial until now
            self._study.tell(number, state=OptunaState.FAIL)
        if (finished := self._as_optuna(trial)) is not None:
            self._study.add_trial(finished)

    def _enqueue(self, candidate: Candidate) -> Candidate:
        self._study.enqueue_trial(dict(candidate.params))
        key = params_key(candidate.params)
        self._asked[key] = self._study.ask(self._distributions).number
        return self._untried.pop(key)

    def _take_over(self, trial: Trial) -> None:
        key = params_key(trial.params)
        if key not in self._feasible:
            return
        self._untried.pop(key, None)
        if trial.state.finished:
            self.tell(trial)
        else:
            running = create_trial(state=OptunaState.RUNNING, params=dict(trial.params), distributions=self._distributions)
            self._study.add_trial(running)
            self._asked[key] = self._study.trials[-1].number

    def _as_optuna(self, trial: Trial) -> FrozenTrial | None:
        """A finished trial for Optuna: an infeasible one with worst values and a violated constraint, a failed one not at all."""
        params = dict(trial.params)
        if trial.state is TrialState.COMPLETE:
            values = [trial.value(objective.metric) for objective in self._objectives]
            if any(value is None for value in values):
                return None
            return create_trial(params=params, distributions=self._distributions, values=values, constraints={"feasible": 0.0})  # type: ignore[arg-type]
        if trial.state is TrialState.INFEASIBLE:
            worst = [_worst(objective) for objective in self._objectives]
            return create_trial(params=params, distributions=self._distributions, values=worst, constraints={"feasible": 1.0})
        return None

    def _nearest_untried(self, params: Params) -> Candidate:
        return min(self._untried.values(), key=lambda candidate: _distance(self._space, candidate.params, params))


def _optuna_study(config: StudyConfig, n_stored: int) -> optuna.Study:
    """A study in memory; seeded with the number of trials there, or a restarted search would propose its first trials once more."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    seed = config.seed + n_stored
    sampler = optuna.samplers.RandomSampler(seed=seed) if config.sampler == "random" else optuna.samplers.TPESampler(seed=seed)
    return optuna.create_study(directions=[objective.direction for objective in config.objectives], sampler=sampler)


def _distribution(values: Sequence[Value]) -> BaseDistribution:
    """Evenly spaced whole numbers as a range, so that the sampler knows which are near; anything else as categories."""
    whole = [value for value in values if type(value) is int]
    steps = {high - low for low, high in pairwise(whole)}
    if len(whole) == len(values) and len(steps) == 1 and min(steps) > 0:
        return IntDistribution(whole[0], whole[-1], step=steps.pop())
    return CategoricalDistribution(values)


def params_key(params: Mapping[str, Value]) -> Key:
    """What tells two choices apart."""
    return tuple(sorted(params.items()))


def _distance(space: SearchSpace, one: Params, other: Params) -> float:
    """Sum over the domains of the steps between two choices, each as a share of its domain."""
    domains: Iterable[tuple[str, tuple[Value, ...]]] = space.domains.items()
    return sum(abs(values.index(one[name]) - values.index(other[name])) / len(values) for name, values in domains)


def _worst(objective: Objective) -> float:
    return -1e30 if objective.direction == "maximize" else 1e30
