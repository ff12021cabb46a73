"""What is known of every feasible candidate before it is trained, as arrays for the known-cost sampler."""

import numpy as np
from numpy.typing import NDArray

from nas.config import StudyConfig
from nas.samplers.problem import Problem
from studies.records import METRICS, Objective

Array = NDArray[np.float64]


def known_objectives(problem: Problem) -> Array:
    """The objectives that are not trained, all to be minimised, (n, known), in plain units: those of the hypervolume that is reported.

    ValueError where one was not measured beforehand.
    """
    known = [objective for objective in problem.config.objectives if METRICS[objective.metric].origin != "trained"]
    columns = []
    for objective in known:
        values = problem.known(objective.metric)
        if np.isnan(values).any():
            raise ValueError(
                f"sampler known-cost needs {objective.metric} of every candidate, and it is unknown of {int(np.isnan(values).sum())}; "
                "use tpe or nsga2"
            )
        columns.append(-values if objective.direction == "maximize" else values)
    return np.column_stack(columns) if columns else np.zeros((len(problem.feasible), 0))


def permitted(problem: Problem) -> NDArray[np.bool_]:
    """Which candidates meet the constraints on what is known, (n,)."""
    allowed = np.ones(len(problem.feasible), dtype=bool)
    for constraint in problem.config.require:
        if METRICS[constraint.metric].origin != "trained":
            values = problem.known(constraint.metric)
            allowed &= values >= constraint.bound if constraint.sense == ">=" else values <= constraint.bound
    return allowed


def bound_of(config: StudyConfig, objective: Objective) -> float:
    """How good the constraints ask this objective to be, to be minimised; infinite where they do not."""
    sense, sign = (">=", -1.0) if objective.direction == "maximize" else ("<=", 1.0)
    asked = [constraint for constraint in config.require if (constraint.metric, constraint.sense) == (objective.metric, sense)]
    return min((sign * constraint.bound for constraint in asked), default=np.inf)
