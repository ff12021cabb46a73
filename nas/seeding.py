"""Which seed of which candidate is to be trained next, and what a candidate is worth once its last one has ended."""

from collections.abc import Callable, Sequence

from searchspace.feasible import FeasibleSet
from searchspace.space import Candidate, Params
from studies.records import Trial, TrialState
from studies.seeds import averaged


class Seeding:
    """The trials of each candidate by seed, as they stand; of a study with one seed there is nothing to know but who ran out of memory.

    A candidate that ran out of memory with one seed would do so with the others, which are given up.
    """

    def __init__(self, seeds: Sequence[int], feasible: FeasibleSet) -> None:
        self._seeds, self._feasible = tuple(seeds), feasible
        self._begun: dict[int, dict[int, Trial | None]] = {}  # by candidate and seed; None is another driver's, not heard of yet
        self._lacking: dict[int, list[int]] = {}
        self.given_up = 0

    def put(self, trial: Trial) -> None:
        """Take a trial in as it stands now."""
        if len(self._seeds) == 1 and trial.state is not TrialState.INFEASIBLE:
            return
        if (index := self._feasible.index(trial.params)) is not None:
            self._note(index, trial.seed, trial)

    def take(self, params: Params, seed: int) -> None:
        """Never name this seed of a choice again: another driver has it, of which nothing has been heard yet."""
        index = self._feasible.index(params)
        if len(self._seeds) > 1 and index is not None and seed not in self._begun.get(index, {}):
            self._note(index, seed, None)

    def next(self, ask: Callable[[], Candidate | None]) -> tuple[Candidate, int] | None:
        """The next seed of the first candidate that was begun and lacks some; else what `ask` brings, with its first seed."""
        for index, seeds in self._lacking.items():
            return self._feasible.candidate(index), seeds[0]
        candidate = ask()
        return None if candidate is None else (candidate, self._seeds[0])

    def result(self, trial: Trial) -> Trial | None:
        """What stands for the candidate of a finished trial: the average over its seeds; None while one of them is still to end."""
        index = None if len(self._seeds) == 1 else self._feasible.index(trial.params)
        if index is None:
            return trial
        known = [each for each in self._begun[index].values() if each is not None]
        (standing,) = averaged(known, seeds=len(self._seeds))
        return standing if standing.state.finished else None

    def _note(self, index: int, seed: int, trial: Trial | None) -> None:
        begun = self._begun.setdefault(index, {})
        before = self._given_up_of(begun)
        begun[seed] = trial
        given_up = self._given_up_of(begun)
        self.given_up += given_up - before
        lacking = [] if given_up else [each for each in self._seeds if each not in begun]
        if lacking:
            self._lacking[index] = lacking
        else:
            self._lacking.pop(index, None)

    def _given_up_of(self, begun: dict[int, Trial | None]) -> int:
        """How many seeds of a candidate never bring a trained trial."""
        infeasible = sum(trial is not None and trial.state is TrialState.INFEASIBLE for trial in begun.values())
        return len(self._seeds) - (len(begun) - infeasible) if infeasible else 0
