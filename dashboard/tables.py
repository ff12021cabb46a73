"""Data frames as tables to look at: columns in reading order, values in the units of their labels."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import pandas as pd

from dashboard.quantities import shown
from studies.fidelity import fidelity_text
from studies.records import METRICS, Objective, StudySummary, Trial, TrialState

LEFT_OUT = ("INFEASIBLE", "FAILED")


def trials_table(frame: pd.DataFrame, objectives: Sequence[Objective]) -> pd.DataFrame:
    """The trials that were or will be measured, those on the front first, then the best in the first objective."""
    first = objectives[0]
    kept = frame[~frame["state"].isin(LEFT_OUT)]
    ascending = [False, first.direction == "minimize", True]
    kept = kept.sort_values(["on_front", first.metric, "number"], ascending=ascending, na_position="last")
    metrics = list(dict.fromkeys([*(objective.metric for objective in objectives), *METRICS]))
    columns = {metric: kept[metric].astype(float) / METRICS[metric].scale for metric in metrics if kept[metric].notna().any()}
    front = kept["on_front"].map({True: "★", False: ""})
    return pd.DataFrame({"number": kept["number"], "front": front, "variant": kept["variant"], **columns, "state": _state(kept)})


def reasons_table(frame: pd.DataFrame, state: TrialState) -> pd.DataFrame:
    """The trials in `state`, each with what was chosen and why it was left out."""
    kept = frame[frame["state"] == state.value]
    choices = [_choice(trial) for trial in kept.to_dict("records")]
    reasons = kept["reason"].fillna("–") if len(kept) else None
    return pd.DataFrame({"number": kept["number"], "choice": choices, "reason": reasons})


def studies_table(summaries: Sequence[StudySummary], complete: Mapping[int, Sequence[Trial]]) -> pd.DataFrame:
    """One row a study, the latest first: its name, best first objective, trials in each state and when something last happened."""
    states = [state for state in TrialState if any(summary.counts.get(state) for summary in summaries)]
    rows = [
        {
            "study": summary.study.name,
            "best": best_text(complete[summary.study.id], summary.study.objectives),
            "measured on": fidelity_text(trial.fidelity for trial in complete[summary.study.id]),
            **{state.value: summary.counts.get(state, 0) for state in states},
            "updated": summary.updated_at,
        }
        for summary in sorted(summaries, key=lambda summary: summary.updated_at, reverse=True)
    ]
    return pd.DataFrame(rows)


def best_text(trials: Sequence[Trial], objectives: Sequence[Objective]) -> str:
    """The best value of the first objective among `trials`; an en dash when none has one."""
    first = objectives[0]
    values = [value for trial in trials if (value := trial.value(first.metric)) is not None]
    best = max if first.direction == "maximize" else min
    return shown(first.metric, best(values, default=None))


def _choice(trial: Mapping[Hashable, Any]) -> str:
    chosen = {
        str(name).removeprefix("param_"): value for name, value in trial.items() if str(name).startswith("param_") and pd.notna(value)
    }
    return ", ".join(f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}" for name, value in chosen.items())


def _state(frame: pd.DataFrame) -> "pd.Series[str]":
    return frame["state"].str.lower()
