"""Front, seeds and averages of a trials frame, column by column."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from studies.constraints import Constraint
from studies.pareto import nondominated
from studies.records import FINISHED, METRICS, Objective, TrialState

COMPLETE = TrialState.COMPLETE.value
_TELLING = ("COMPLETE", "RUNNING", "PAUSED", "QUEUED", "PRUNED", "INFEASIBLE", "FAILED")  # whose row stands for a choice


def front_mask(frame: pd.DataFrame, objectives: Sequence[Objective], constraints: Sequence[Constraint] = ()) -> NDArray[np.bool_]:
    """Which rows of a `trials_frame` stand on the front: those of `eligible` that none dominates."""
    points = np.column_stack([_numbers(frame[objective.metric]) for objective in objectives])
    at = np.flatnonzero(eligible(frame, constraints) & ~np.isnan(points).any(axis=1))
    stands = np.zeros(len(frame), dtype=bool)
    stands[at[nondominated(points[at], objectives)]] = True
    return stands


def eligible(frame: pd.DataFrame, constraints: Sequence[Constraint] = ()) -> NDArray[np.bool_]:
    """Which rows may stand on a front: complete, at the highest fidelity of all, within the constraints."""
    kept = np.array(frame["state"] == COMPLETE, dtype=bool)
    epochs = epochs_of(frame)
    kept &= epochs == epochs[kept].max(initial=0.0)
    for constraint in constraints:
        found = _numbers(frame[constraint.metric])
        kept &= found >= constraint.bound if constraint.sense == ">=" else found <= constraint.bound
    return kept


def epochs_of(frame: pd.DataFrame) -> NDArray[np.float64]:
    """For how many epochs each row was trained; 0 where none is known."""
    return np.nan_to_num(_numbers(frame["fidelity_epochs"])) if "fidelity_epochs" in frame else np.zeros(len(frame))


def with_seeds(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with `seeds`, how many of its choice's are complete, and each trained metric's standard deviation over them (n − 1).

    As it is where no choice has several trials.
    """
    choices = choices_of(frame)
    if len(frame) == choices.nunique():
        return frame
    complete = frame[frame["state"] == COMPLETE]
    groups = complete.groupby(choices[complete.index])
    seeds = groups.size().reindex(range(choices.nunique()), fill_value=0)
    added: dict[str, NDArray[Any]] = {"seeds": seeds.loc[choices].to_numpy()}
    for name in (name for name, metric in METRICS.items() if metric.origin == "trained" and complete[name].notna().any()):
        values = groups[name]
        std = values.std().where((values.count() > 1) & (values.count() == groups.size()))
        if std.notna().any():
            added[f"{name}_std"] = std.reindex(seeds.index).loc[choices].to_numpy()
    return frame.assign(**added)


def averaged_frame(frame: pd.DataFrame, *, seeds: int) -> pd.DataFrame:
    """One row a choice: that of its first complete seed, with the means of the complete ones; COMPLETE once all of `seeds` have ended.

    As `studies.seeds.averaged` has it for trials.
    """
    choices, states = choices_of(frame), frame["state"]
    unfinished, telling = _unfinished(states, choices, seeds), states.map(_TELLING.index)
    telling = telling.where(~unfinished, telling.clip(upper=_TELLING.index("PRUNED")))  # of one that waits, an end of a seed tells nothing
    rows = frame.assign(choice=choices, telling=telling, state=states.where(~unfinished, "QUEUED"))
    for state in ("PAUSED", "RUNNING"):
        rows.loc[_any(states == state, choices), "state"] = state
    rows = rows.sort_values(["choice", "telling", "seed"], kind="stable").drop_duplicates("choice").set_index("choice")
    complete = frame[states == COMPLETE]
    for name in (name for name, metric in METRICS.items() if metric.origin == "trained" and complete[name].notna().any()):
        means = pd.to_numeric(complete[name]).groupby(choices[complete.index]).mean()
        rows.loc[means.index, name] = means
    rows["finished_at"] = frame["finished_at"].where(~unfinished).groupby(choices).max()
    return rows.drop(columns="telling").sort_values("number").reset_index(drop=True)


def _unfinished(states: "pd.Series[str]", choices: "pd.Series[int]", seeds: int) -> "pd.Series[bool]":
    """Whether a row's choice waits for a seed; one that ran out of memory ends it early."""
    waits = _any(~states.isin([state.value for state in FINISHED]), choices)
    lacks = choices.groupby(choices).transform("size") < seeds
    return waits | (lacks & ~_any(states == TrialState.INFEASIBLE.value, choices))


def choices_of(frame: pd.DataFrame) -> "pd.Series[int]":
    """For each row the number of its choice: rows of equal parameters have the same."""
    names = [name for name in frame if str(name).startswith("param_")]
    if not names:
        return pd.Series(np.arange(len(frame)), frame.index)
    return frame.groupby(names, dropna=False, sort=False).ngroup()


def _any(which: "pd.Series[bool]", choices: "pd.Series[int]") -> "pd.Series[bool]":
    return which.groupby(choices).transform("any")


def _numbers(values: "pd.Series[float]") -> NDArray[np.float64]:
    return np.asarray(pd.to_numeric(values), dtype=float)
