"""Pareto fronts and hypervolume of trials, on moocore."""

from collections.abc import Mapping, Sequence
from typing import Any

import moocore
import numpy as np
from numpy.typing import NDArray

from studies.constraints import Constraint
from studies.records import Objective, Trial, TrialState

Points = NDArray[np.float64]


def nondominated(points: Points, objectives: Sequence[Objective]) -> NDArray[np.bool_]:
    """Which rows of `points` (n, objectives) no other row dominates; of equal rows all stay."""
    if len(points) == 0:
        return np.zeros(0, dtype=bool)
    maximise = [objective.direction == "maximize" for objective in objectives]
    return np.asarray(moocore.is_nondominated(points, maximise=maximise, keep_weakly=True), dtype=bool)


def hypervolume(points: Points, objectives: Sequence[Objective], reference: Sequence[float]) -> float:
    """Volume that `points` dominate up to `reference`, in the product of the objectives' units; 0 for no points."""
    if len(points) == 0:
        return 0.0
    maximise = [objective.direction == "maximize" for objective in objectives]
    return float(moocore.hypervolume(points, ref=np.asarray(reference, dtype=float), maximise=maximise))


def pareto_front(trials: Sequence[Trial], objectives: Sequence[Objective], constraints: Sequence[Constraint] = ()) -> list[Trial]:
    """The complete trials that no other of the same fidelity level dominates, best in the first objective first.

    Only trials at the highest fidelity present are compared: a partly trained trial never stands on a full-fidelity front. One that breaks
    a constraint neither stands on it nor keeps others off.
    """
    measured = at_full_fidelity([trial for trial in trials if trial.state is TrialState.COMPLETE])
    measured = [trial for trial in measured if all(constraint.violation(trial) <= 0 for constraint in constraints)]
    measured = [trial for trial in measured if all(trial.value(objective.metric) is not None for objective in objectives)]
    points = np.array([[trial.value(objective.metric) for objective in objectives] for trial in measured], dtype=float)
    front = [trial for trial, keep in zip(measured, nondominated(points, objectives), strict=True) if keep]
    sign = -1 if objectives[0].direction == "maximize" else 1
    return sorted(front, key=lambda trial: (sign * (trial.value(objectives[0].metric) or 0.0), trial.number))


def at_full_fidelity(trials: Sequence[Trial]) -> list[Trial]:
    """The trials that trained for the most epochs any of them did."""
    most = max((_epochs(trial.fidelity) for trial in trials), default=0)
    return [trial for trial in trials if _epochs(trial.fidelity) == most]


def _epochs(fidelity: Mapping[str, Any]) -> float:
    return float(fidelity.get("epochs", 0))
