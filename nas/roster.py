"""What a driver knows of its study's trials, its own and those of others: who stands where, counted as it changes."""

from collections.abc import Iterable, Mapping

from nas.budget import Budget
from nas.config import StudyConfig
from nas.seeding import Seeding
from searchspace.feasible import FeasibleSet
from studies.records import TRAINED, Trial, TrialState

DEFAULT_MAX_TRIALS = 64  # with each seed
DEFAULT_MAX_UNTRAINED = 2000
UNLIMITED = Budget()


class Roster:
    """The trials of a study by state and number, and how many of the `wanted` ones (None: all) are missing.

    `best` is the best candidate: one trial, or what stands for those of several seeds once all have ended, as `seeding` knows them.
    """

    def __init__(self, config: StudyConfig, feasible: FeasibleSet, wanted: int | None) -> None:
        self._objective, self._require = config.objectives[0], config.require
        self.wanted, self._seeds, self._most = wanted, config.seeds, len(feasible) * config.seeds
        self.seeding = Seeding(config.trial_seeds, feasible)
        self._states: dict[int, TrialState] = {}
        self._trials: dict[TrialState, dict[int, Trial]] = {state: {} for state in TrialState}
        self.best: Trial | None = None

    def put(self, trial: Trial) -> Trial | None:
        """Take a trial in as it stands now; returns how it stood before."""
        before = self.get(trial.number)
        if before is not None:
            del self._trials[before.state][trial.number]
        self._trials[trial.state][trial.number] = trial
        self._states[trial.number] = trial.state
        self.seeding.put(trial)
        if trial.state.finished and (result := self.seeding.result(trial)) is not None and self._is_best(result):
            self.best = result
        return before

    def put_all(self, trials: Iterable[Trial]) -> None:
        """Take trials in as they stand now."""
        for trial in trials:
            self.put(trial)

    def get(self, number: int) -> Trial | None:
        """A trial as it stood when this driver last heard of it."""
        state = self._states.get(number)
        return None if state is None else self._trials[state][number]

    @property
    def all(self) -> tuple[Trial, ...]:
        """All trials by number."""
        return tuple(self._trials[self._states[number]][number] for number in sorted(self._states))

    def of(self, state: TrialState) -> Mapping[int, Trial]:
        """The trials in a state by number, in the order in which they came into it."""
        return self._trials[state]

    def count(self, *states: TrialState) -> int:
        """How many trials are in any of these states."""
        return sum(len(self._trials[state]) for state in states)

    @property
    def trained(self) -> tuple[Trial, ...]:
        """The trained trials, pruned and failed ones among them."""
        return tuple(trial for state in TRAINED for trial in self._trials[state].values())

    @property
    def trainable(self) -> int:
        """How many trials can be trained: those of the feasible candidates but of the ones that ran out of memory."""
        return self._most - self.seeding.given_up

    @property
    def total(self) -> int:
        """How many trained trials the study shall have."""
        return self.trainable if self.wanted is None else min(self.trainable, self.wanted)

    @property
    def candidates(self) -> int | None:
        """How many candidates are begun for the `wanted` trials; None where their number is open."""
        return None if self.wanted is None else -(-self.wanted // self._seeds)

    @property
    def missing(self) -> int:
        """How many trained trials the study still lacks; those that run anywhere, or wait at a rung, count as there."""
        return max(0, self.total - self.count(*TRAINED, TrialState.PAUSED, TrialState.RUNNING))

    @property
    def why_complete(self) -> str:
        """Why there is no more to begin when nothing is missing, in words."""
        asked = self.wanted is not None and self.wanted < self.trainable
        return f"{self.total} trials, as many as asked for" if asked else "every feasible candidate has been tried"

    def _is_best(self, result: Trial) -> bool:
        return result.state is TrialState.COMPLETE and (self.best is None or self._merit(result) < self._merit(self.best))

    def _merit(self, trial: Trial) -> tuple[bool, float]:
        """Less is better: first whether it breaks an outcome constraint, then the first objective."""
        value = trial.value(self._objective.metric)
        assert value is not None, "a complete trial has all objectives"
        return any(bound.violation(trial) > 0 for bound in self._require), -value if self._objective.direction == "maximize" else value


def wanted_trials(config: StudyConfig, budget: Budget, feasible: int) -> int | None:
    """How many trained trials a study shall have: as its budget says, None where only other limits are set, else a default.

    By default further seeds leave the number of candidates as it is. A trial that is not trained costs next to nothing.
    """
    if budget != UNLIMITED:
        return budget.trials
    return DEFAULT_MAX_TRIALS * config.seeds if config.trains else min(feasible, DEFAULT_MAX_UNTRAINED)
