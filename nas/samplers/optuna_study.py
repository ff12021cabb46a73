"""Optuna's samplers on a study in memory that is rebuilt from the stored trials at every start."""

import logging
import warnings
from typing import Any

import optuna
from optuna.samplers import NSGAIIISampler, NSGAIISampler
from optuna.trial import FrozenTrial, create_trial
from optuna.trial import TrialState as OptunaState

from nas.samplers.choice import GP_TRIALS
from nas.samplers.feasible_sampler import FeasibleSampler, make_sampler
from nas.samplers.outcomes import outcome
from nas.samplers.problem import Problem
from studies.records import Trial

log = logging.getLogger(__name__)
WARM_START = 10  # the fewest results that CMA-ES can be started from: it takes the best tenth


class OptunaSuggester:
    """Suggests by the sampler of this name.

    A trial stands in Optuna's study while it runs, so that others keep away from it, and then once more with its result.
    """

    def __init__(self, name: str, problem: Problem) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._name, self._problem = name, problem
        self._sampler = FeasibleSampler(make_sampler(name, problem), problem)
        directions = [objective.direction for objective in problem.config.objectives]
        self._study = optuna.create_study(directions=directions, sampler=self._sampler)
        self._running: dict[int, FrozenTrial] = {}  # by candidate
        self._complete = 0
        self._began = False

    def suggest(self) -> int:
        """What the sampler suggests, as a trial that runs."""
        self._adapt()
        with warnings.catch_warnings():  # the Gaussian process clips what is told as infinitely bad, and says so every time
            warnings.filterwarnings("ignore", "Clip non-finite values")
            number = self._study.ask(self._sampler.distributions).number
        self._running[self._sampler.chosen] = self._trial(number)
        return self._sampler.chosen

    def begin(self, index: int) -> None:
        """Keep away from a candidate that runs."""
        if index in self._running:
            return
        self._study.add_trial(self._created(index, state=OptunaState.RUNNING))
        placed = self._trial(-1)
        if isinstance(inner := self._sampler.inner, NSGAIISampler | NSGAIIISampler):
            inner.get_trial_generation(self._study, placed)  # notes it with the trial
        self._running[index] = self._trial(-1)

    def learn(self, index: int, trial: Trial) -> None:
        """Tell Optuna what became of a candidate; of a failed one nothing."""
        running = self._running.pop(index, None)
        if running is not None:
            self._study.tell(running.number, state=OptunaState.FAIL)
        told = outcome(self._name, self._problem.config, trial)
        if told is None:
            return
        attributes = self._generation() if running is None else running.system_attrs
        self._study.add_trial(self._created(index, system_attrs=attributes, **told))
        if told["state"] is OptunaState.COMPLETE:
            self._complete += 1
            if running is None:
                self._select()

    def _trial(self, number: int) -> FrozenTrial:
        return self._study.get_trials(deepcopy=False)[number]

    def _created(self, index: int, **told: Any) -> FrozenTrial:
        return create_trial(params=self._sampler.params(index), distributions=self._sampler.distributions, **told)

    def _generation(self) -> dict[str, Any]:
        """The generation of a stored trial, which is not stored: so many trials had ended before it."""
        inner = self._sampler.inner
        if not isinstance(inner, NSGAIISampler | NSGAIIISampler):
            return {}
        assert inner.population_size is not None, "set when it was made"
        return {f"{type(inner).__name__}:generation": self._complete // inner.population_size}

    def _select(self) -> None:
        """Select the parents of each generation as it fills: Optuna would do so for all at once, and recurse too deeply."""
        inner = self._sampler.inner
        if isinstance(inner, NSGAIISampler | NSGAIIISampler) and self._complete % (inner.population_size or 1) == 0:
            inner.get_parent_population(self._study, self._complete // (inner.population_size or 1))

    def _adapt(self) -> None:
        """Before the first suggestion start CMA-ES where the stored trials lead; give up the Gaussian process when it takes too long."""
        if self._name == "cmaes" and not self._began and self._complete >= WARM_START:
            complete = self._study.get_trials(deepcopy=False, states=[OptunaState.COMPLETE])
            self._sampler.inner = make_sampler("cmaes", self._problem, source_trials=complete)
        if self._name == "gp" and self._complete > GP_TRIALS:
            log.warning("sampler gp takes seconds for each suggestion beyond %d trials: tpe goes on from here", GP_TRIALS)
            self._name, self._sampler.inner = "tpe", make_sampler("tpe", self._problem)
        self._began = True
