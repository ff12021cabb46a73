"""Trials and reports as pandas data frames, for notebooks, tables and charts."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from studies.pareto import pareto_front
from studies.records import METRICS, Objective, Report, Trial

_COLUMNS = ("number", "state", "variant", *METRICS, "seed", "worker", "started_at", "finished_at", "reason")


def trials_frame(trials: Sequence[Trial], objectives: Sequence[Objective] = ()) -> pd.DataFrame:
    """One row a trial: number, state, choice (as `param_*`), architecture, cost, metrics, fidelity (as `fidelity_*`) and reason.

    Costs and metrics are in plain units (parameters, FLOPs, fractions, seconds). With `objectives` a column `on_front` is added.
    """
    frame = pd.DataFrame([_trial_columns(trial) for trial in trials], columns=None if trials else list(_COLUMNS))
    if objectives:
        front = {trial.number for trial in pareto_front(trials, objectives)}
        frame["on_front"] = [trial.number in front for trial in trials]
    return frame


def reports_frame(reports: Mapping[int, Sequence[Report]]) -> pd.DataFrame:
    """One row a report: trial number, epoch and the metrics after it."""
    rows = [{"number": number, "epoch": report.step, **report.metrics} for number, of_trial in reports.items() for report in of_trial]
    return pd.DataFrame(rows, columns=None if rows else ["number", "epoch", "top1", "loss"])


def _trial_columns(trial: Trial) -> dict[str, Any]:
    return {
        "number": trial.number,
        "state": trial.state.value,
        "variant": variant_name(trial.model),
        **{f"param_{name}": value for name, value in trial.params.items()},
        **{name: trial.value(name) for name in METRICS},
        **{f"fidelity_{name}": value for name, value in trial.fidelity.items()},
        "seed": trial.seed,
        "worker": trial.worker,
        "started_at": trial.started_at,
        "finished_at": trial.finished_at,
        "reason": trial.reason,
    }


def variant_name(model: Mapping[str, Any] | None) -> str:
    """`C1,C',L1,L3` of a stored architecture; an en dash when the choice could not be built."""
    from searchspace.model_config import ModelConfig

    return "–" if model is None else ModelConfig.from_dict(model).short_name
