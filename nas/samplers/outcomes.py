"""What Optuna is told of an ended trial, as arguments of its `create_trial`."""

import math
from collections.abc import Callable, Mapping
from typing import Any

from optuna.trial import TrialState as OptunaState

from nas.config import StudyConfig
from studies.records import Trial, TrialState

FEASIBLE = "feasible"  # a constraint beside those asked for: it ran at all
UNKNOWN = 1.0  # stands for the violation of a constraint whose metric was not measured
WORST = {"gp": math.inf}  # clipped to the worst value seen, where 1e30 would make all others equal
WORST_RANKED = 1e30


def outcome(sampler: str, config: StudyConfig, trial: Trial) -> dict[str, Any] | None:
    """State, values and constraints of a trial; None for one that teaches nothing, such as a failed one."""
    tell = OUTCOMES.get(trial.state)
    return None if tell is None else tell(sampler, config, trial)


def _complete(sampler: str, config: StudyConfig, trial: Trial) -> dict[str, Any] | None:
    values = [trial.value(objective.metric) for objective in config.objectives]
    if any(value is None for value in values):
        return None
    violations = {constraint.text: constraint.violation(trial) for constraint in config.require}
    met = {text: violation if math.isfinite(violation) else UNKNOWN for text, violation in violations.items()}
    return {"state": OptunaState.COMPLETE, "values": values, "constraints": {FEASIBLE: 0.0, **met}}


def _infeasible(sampler: str, config: StudyConfig, trial: Trial) -> dict[str, Any]:
    """Complete with worst values and all constraints violated, or it would be suggested again and again."""
    worst = WORST.get(sampler, WORST_RANKED)
    values = [-worst if objective.direction == "maximize" else worst for objective in config.objectives]
    constraints = {FEASIBLE: 1.0, **{constraint.text: UNKNOWN for constraint in config.require}}
    return {"state": OptunaState.COMPLETE, "values": values, "constraints": constraints}


def _pruned(sampler: str, config: StudyConfig, trial: Trial) -> dict[str, Any]:
    """With what it reached after so many epochs; with several objectives Optuna cannot be told more than that it was pruned."""
    value = trial.value(config.objectives[0].metric)
    if len(config.objectives) > 1 or value is None:
        return {"state": OptunaState.PRUNED}
    return {"state": OptunaState.PRUNED, "intermediate_values": {int(trial.fidelity.get("epochs", 0)): value}}


OUTCOMES: Mapping[TrialState, Callable[[str, StudyConfig, Trial], dict[str, Any] | None]] = {
    TrialState.COMPLETE: _complete,
    TrialState.INFEASIBLE: _infeasible,
    TrialState.PRUNED: _pruned,
}
