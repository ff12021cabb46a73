"""Data frames as tables to look at: columns in reading order, values in the units of their labels."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pandas as pd

from dashboard.quantities import duration, shown
from dashboard.standing import Standing
from studies.frames import variant_name
from studies.records import METRICS, Objective, StudySummary, Trial, TrialState

LEFT_OUT = ("INFEASIBLE", "FAILED")


def trials_table(frame: pd.DataFrame, objectives: Sequence[Objective]) -> pd.DataFrame:
    """The trials that were or will be measured, those on the front first, then the best in the first objective; spreads behind means."""
    first = objectives[0]
    kept = frame[~frame["state"].isin(LEFT_OUT)]
    ascending = [False, first.direction == "minimize", True]
    kept = kept.sort_values(["on_front", first.metric, "number"], ascending=ascending, na_position="last")
    metrics = list(dict.fromkeys([*(objective.metric for objective in objectives), *METRICS]))
    measured = [name for metric in metrics for name in (metric, f"{metric}_std") if name in kept and kept[name].notna().any()]
    columns = {name: kept[name].astype(float) / METRICS[name.removesuffix("_std")].scale for name in measured}
    front = kept["on_front"].map({True: "★", False: ""})
    seeds = {"seeds": kept["seeds"]} if "seeds" in kept else {}
    return pd.DataFrame({"number": kept["number"], "front": front, "variant": kept["variant"], **columns, **seeds, "state": _state(kept)})


def reasons_table(frame: pd.DataFrame, state: TrialState) -> pd.DataFrame:
    """The trials in `state`, each with what was chosen and why it was left out."""
    kept = frame[frame["state"] == state.value]
    choices = [_choice(trial) for trial in kept.to_dict("records")]
    reasons = kept["reason"].fillna("–") if len(kept) else None
    return pd.DataFrame({"number": kept["number"], "choice": choices, "reason": reasons})


@dataclass(frozen=True)
class StudyLine:
    """What is told about a study beside others."""

    summary: StudySummary
    standing: Standing
    live: bool
    measured_on: str
    device_seconds: float


def studies_table(lines: Sequence[StudyLine]) -> pd.DataFrame:
    """One row a study, those at work first, then the latest: state, progress, best first objective, hypervolume and what it took."""
    states = [state for state in TrialState if any(line.summary.counts.get(state) for line in lines)]
    rows = [
        {
            "study": line.summary.study.name,
            "status": "live" if line.live else "idle",
            "progress": 100 * line.standing.done / line.standing.known if line.standing.known else 0.0,
            "best": shown(line.summary.study.objectives[0].metric, line.standing.best),
            "hypervolume": line.standing.hypervolume,
            "time left": duration(line.standing.seconds_left if line.live else None),
            "device time": duration(line.device_seconds) if line.device_seconds else "–",
            "measured on": line.measured_on,
            **{state.value: line.summary.counts.get(state, 0) for state in states},
            "updated": line.summary.updated_at,
        }
        for line in in_order(lines)
    ]
    return pd.DataFrame(rows)


def in_order(lines: Sequence[StudyLine]) -> list[StudyLine]:
    """Those at work first, then the latest."""
    return sorted(lines, key=lambda line: (line.live, line.summary.updated_at), reverse=True)


def running_table(running: Mapping[str, Sequence[Trial]], epochs: Mapping[str, int | None], *, now: datetime) -> pd.DataFrame:
    """One row a trial that runs now: its study, variant, worker, epoch of how many, and since when."""
    rows = [
        {
            "study": study,
            "trial": trial.number,
            "variant": variant_name(trial.model),
            "worker": trial.worker or "–",
            "epoch": _epoch(trial, epochs.get(study)),
            "for": duration((now - trial.started_at).total_seconds() if trial.started_at else None),
        }
        for study, trials in running.items()
        for trial in trials
    ]
    return pd.DataFrame(rows)


def fidelities(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Every different effort at which the trials of a `trials_frame` were measured."""
    names = [name for name in frame if str(name).startswith("fidelity_")]
    different = frame[names].dropna(how="all").astype(str).drop_duplicates().index
    rows = frame.loc[different, names].to_dict("records")
    return [{str(name).removeprefix("fidelity_"): _whole(value) for name, value in row.items() if _is_known(value)} for row in rows]


def _choice(trial: Mapping[Hashable, Any]) -> str:
    chosen = {
        str(name).removeprefix("param_"): value for name, value in trial.items() if str(name).startswith("param_") and pd.notna(value)
    }
    return ", ".join(f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}" for name, value in chosen.items())


def _epoch(trial: Trial, epochs: int | None) -> str:
    done = trial.fidelity.get("epochs", 0)
    return f"{done:g} of {epochs:g}" if epochs else f"{done:g}"


def _is_known(value: Any) -> bool:
    return isinstance(value, Mapping) or (value is not None and value == value)


def _whole(value: Any) -> Any:
    """A whole number as such: a column that lacks some has its numbers as floats."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _state(frame: pd.DataFrame) -> "pd.Series[str]":
    return frame["state"].str.lower()
