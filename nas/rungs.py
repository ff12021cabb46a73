"""The rungs of successive halving as views of stored reports: who is among the best of a rung, by one objective or several.

The multi-objective rank is that of MO-ASHA (Schmucker et al. 2021, arXiv:2106.12639): non-dominated sorting, then crowding distance.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import moocore
import numpy as np
from numpy.typing import NDArray

from studies.constraints import Constraint
from studies.halving import Halving
from studies.records import Objective, Report, Trial

Points = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Entry:
    """A trial at a rung: its objectives as numbers of which less is better, and whether it violates an outcome constraint."""

    values: tuple[float, ...]
    violates: bool


class Rungs:
    """What trials reported at the milestones of a training of `epochs`, and which of them go on.

    Nothing here is remembered anywhere else: `add` is told every stored report, at a start and as they come in.
    """

    def __init__(self, halving: Halving, epochs: int, objectives: Sequence[Objective], require: Sequence[Constraint] = ()) -> None:
        self._halving, self._objectives, self._require = halving, tuple(objectives), tuple(require)
        self._rungs: dict[int, dict[int, Entry]] = {milestone: {} for milestone in halving.milestones(epochs)}
        self._ranked: dict[int, list[int]] = {}

    @property
    def milestones(self) -> tuple[int, ...]:
        """The epochs at which trials are compared."""
        return tuple(self._rungs)

    def add(self, trial: Trial, report: Report) -> bool:
        """Take a report in if it was made at a milestone; whether the trial stands on that rung now.

        One that lacks an objective cannot be compared, and so does not.
        """
        if report.step not in self._rungs:
            return False
        measured = replace(trial, metrics=report.metrics)
        values = [measured.value(objective.metric) for objective in self._objectives]
        if any(value is None or not math.isfinite(value) for value in values):
            return False
        signs = [-1.0 if objective.direction == "maximize" else 1.0 for objective in self._objectives]
        less_is_better = tuple(sign * value for sign, value in zip(signs, values, strict=True) if value is not None)
        entry = Entry(less_is_better, any(constraint.violation(measured) > 0 for constraint in self._require))
        if self._rungs[report.step].get(trial.number) != entry:
            self._rungs[report.step][trial.number] = entry
            self._ranked.pop(report.step, None)
        return True

    def contents(self) -> Mapping[int, Mapping[int, Entry]]:
        """What each rung holds, by milestone and trial number."""
        return {milestone: dict(rung) for milestone, rung in self._rungs.items()}

    def goes_on(self, number: int, milestone: int) -> bool:
        """Whether a trial on a rung is among its best: ceil(n / eta) of the n there to stop the others, floor(n / eta) to promote it."""
        return number in self._best(milestone)

    def place(self, number: int, milestone: int) -> str:
        """Where a trial stands on its rung and where it had to, in words."""
        place, n = self._ranking(milestone).index(number) + 1, len(self._rungs[milestone])
        needed = max(1, len(self._best(milestone)))
        return f"place {place} of {n} after {milestone} epoch{'' if milestone == 1 else 's'}, needed {needed}{' or better' * (needed > 1)}"

    def promotable(self, paused: Mapping[int, Trial]) -> Trial | None:
        """The paused trial to promote next: the best of those among the best of their rung, of the highest rung first."""
        waiting = {(epochs_of(trial), number): trial for number, trial in paused.items()}
        for milestone in reversed(self._rungs):
            for number in self._best(milestone):
                if (trial := waiting.get((milestone, number))) is not None:
                    return trial
        return None

    def _best(self, milestone: int) -> list[int]:
        n, eta = len(self._rungs[milestone]), self._halving.eta
        count = math.ceil(n / eta) if self._halving.mode == "stop" else n // eta
        return self._ranking(milestone)[:count] if count else []

    def _ranking(self, milestone: int) -> list[int]:
        """The numbers of the trials on a rung, best first."""
        if milestone not in self._ranked:
            rung = self._rungs[milestone]
            kept = {number: entry.values for number, entry in rung.items() if not entry.violates}
            behind = {number: entry.values for number, entry in rung.items() if entry.violates}
            self._ranked[milestone] = [*ranking(kept), *ranking(behind)]
        return self._ranked[milestone]


def ranking(values: Mapping[int, Sequence[float]]) -> list[int]:
    """The keys by their values, of which less is better: by non-dominated rank, then the least crowded first, then the smaller key."""
    if not values:
        return []
    numbers = sorted(values)  # equal extremes are told apart by order, which must not be that of the reports
    points = np.array([values[number] for number in numbers], dtype=float)
    if points.shape[1] == 1:
        return [numbers[i] for i in np.argsort(points[:, 0], kind="stable")]
    fronts = np.asarray(moocore.pareto_rank(points))
    crowding = np.empty(len(points))
    for front in np.unique(fronts):
        crowding[fronts == front] = crowding_distance(points[fronts == front])
    return [numbers[i] for i in np.lexsort((-crowding, fronts))]


def crowding_distance(points: Points) -> NDArray[np.float64]:
    """How far apart each point's neighbours are, summed over the objectives as shares of their ranges; infinite at both ends, (n,).

    As in NSGA-II (Deb et al. 2002, section III-B).
    """
    distance = np.zeros(len(points))
    for column in points.T:
        order = np.argsort(column, kind="stable")
        spread = column[order[-1]] - column[order[0]]
        distance[order[[0, -1]]] = np.inf
        if spread > 0:
            distance[order[1:-1]] += (column[order[2:]] - column[order[:-2]]) / spread
    return distance


def epochs_of(trial: Trial) -> int:
    """After how many epochs a trial was measured last."""
    return int(trial.fidelity.get("epochs", 0))
