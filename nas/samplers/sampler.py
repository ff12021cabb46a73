"""What to try next: suggestions within the feasible candidates that nobody has tried, rebuilt from the stored trials at every start."""

from collections.abc import Mapping, Sequence

import numpy as np

from nas.config import StudyConfig
from nas.samplers.choice import check_sampler, choose
from nas.samplers.keys import Key
from nas.samplers.orders import Exhaustive, Sobol, Uniform
from nas.samplers.problem import MakeSuggester, Problem, Suggester
from searchspace.feasible import FeasibleSet
from searchspace.space import Candidate, Params
from studies.records import Trial


class Sampler:
    """Suggests candidates of a study that shall train `trials` of them (None: as many as its budget allows) and has `stored` ones.

    It knows one trial a candidate: of several seeds what stands for all, a finished one once the last of them has ended.
    `name` is the sampler that serves, `why` says why it does. `premeasured` holds what is known of candidates beside their costs.
    """

    def __init__(
        self,
        config: StudyConfig,
        feasible: FeasibleSet,
        stored: Sequence[Trial],
        *,
        trials: int | None,
        premeasured: Mapping[Key, Mapping[str, float]] | None = None,
    ) -> None:
        check_sampler(config, trials)
        self.name, self.why = choose(config, len(feasible), trials)
        self._feasible = feasible
        self._free = np.ones(len(feasible), dtype=bool)
        self._left = len(feasible)
        self._told: set[int] = set()
        known = [(index, trial) for trial in stored if (index := feasible.index(trial.params)) is not None]
        seed = config.seed + len(stored)  # the same seed again would suggest the first trials once more
        self._suggester = SUGGESTERS[self.name](Problem(config, feasible, self._free, seed, trials, premeasured or {}))
        for index, trial in sorted(known, key=_by_end):
            self._occupy(index)
            if trial.state.finished:
                self._learn(index, trial)
            else:
                self._suggester.begin(index)

    def ask(self) -> Candidate | None:
        """The next candidate to train; None when every feasible one has been tried."""
        if self._left == 0:
            return None
        index = self._suggester.suggest()
        self._occupy(index)
        self._suggester.begin(index)
        return self._feasible.candidate(index)

    def tell(self, trial: Trial) -> None:
        """Let the next suggestions learn from a finished trial; one that is not feasible by construction teaches nothing."""
        if (index := self._feasible.index(trial.params)) is not None:
            self._occupy(index)
            self._learn(index, trial)

    def take(self, params: Params) -> None:
        """Never ask this choice: somebody else evaluates it or has done so."""
        if (index := self._feasible.index(params)) is not None and self._free[index]:
            self._occupy(index)
            self._suggester.begin(index)

    def _occupy(self, index: int) -> None:
        self._left -= bool(self._free[index])
        self._free[index] = False

    def _learn(self, index: int, trial: Trial) -> None:
        if index not in self._told:  # drivers that share a study may hear of a trial twice
            self._told.add(index)
            self._suggester.learn(index, trial)


def _by_end(known: tuple[int, Trial]) -> tuple[bool, float, int]:
    """In the order in which trials ended, the unfinished ones last."""
    _, trial = known
    return not trial.state.finished, trial.finished_at.timestamp() if trial.finished_at else 0.0, trial.number


def _optuna(name: str) -> MakeSuggester:
    def suggester(problem: Problem) -> Suggester:
        from nas.samplers.optuna_study import OptunaSuggester

        return OptunaSuggester(name, problem)

    return suggester


def _known_cost(problem: Problem) -> Suggester:
    from nas.samplers.known_cost import KnownCost

    return KnownCost(problem)


SUGGESTERS: Mapping[str, MakeSuggester] = {
    "exhaustive": Exhaustive,
    "random": Uniform,
    "qmc": Sobol,
    **{name: _optuna(name) for name in ("tpe", "gp", "nsga2", "nsga3", "cmaes")},
    "known-cost": _known_cost,
}
