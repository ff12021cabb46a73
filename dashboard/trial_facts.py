"""What is known of one trial, as tables of words: measurements with units, provenance, its other seeds, and who it was compared with."""

from collections.abc import Mapping
from datetime import datetime

import numpy as np
import pandas as pd

from dashboard.quantities import shown
from searchspace.quantity import format_quantity
from studies.fidelity import fidelity_text
from studies.provenance import versions
from studies.records import METRICS, Artifact, StudyRecord, Trial

MATES = 60  # curves; more of them hide each other
MEASURED = ("COMPLETE", "PRUNED", "PAUSED", "RUNNING")


def metrics_table(trial: Trial, *, spread: Mapping[str, float] | None = None) -> pd.DataFrame:
    """Every metric that the trial has with its unit and where it comes from; with `spread` its standard deviation over seeds."""
    origins = {"cost": "counted", "premeasured": "measured before training", "trained": "trained"}
    rows = [
        {"metric": metric.name, "value": shown(name, value), "± over seeds": _spread(name, spread), "origin": origins[metric.origin]}
        for name, metric in METRICS.items()
        if (value := trial.value(name)) is not None
    ]
    table = pd.DataFrame(rows, columns=["metric", "value", "± over seeds", "origin"])
    return table if spread else table.drop(columns="± over seeds")


def provenance_facts(study: StudyRecord, trial: Trial, weights: Artifact | None = None) -> dict[str, str]:
    """Where a trial comes from: study, choice, seed, fidelity, who ran it when, and what it left."""
    facts = {
        "study": study.name,
        "trial": str(trial.number),
        "state": trial.state.value.lower(),
        "choice": ", ".join(f"{name}={value}" for name, value in trial.params.items()),
        "seed": str(trial.seed),
        "fidelity": fidelity_text([trial.fidelity]),
        "worker": trial.worker,
        "driver": trial.driver,
        "attempts": str(trial.attempts) if trial.attempts else None,
        "started": _moment(trial.started_at),
        "ended": _moment(trial.finished_at),
        "duration": _duration(trial),
        "checkpoint": trial.checkpoint,
        "weights": None if weights is None else f"{weights.path} ({format_quantity(weights.size)}B, SHA-256 {weights.sha256})",
        "study made": _moment(study.created_at),
        "versions here": ", ".join(f"{name} {number}" for name, number in versions().items()),
    }
    return {name: value for name, value in facts.items() if value}


def same_choice(frame: pd.DataFrame, number: int) -> pd.DataFrame:
    """The trials of a `trials_frame` with the choice of trial `number`, itself among them, in order of their seeds."""
    chosen = [name for name in frame.columns if name.startswith("param_")]
    own = frame.loc[frame["number"] == number, chosen].iloc[0]
    same = np.ones(len(frame), dtype=bool)
    for name in chosen:
        column = frame[name]
        same &= (column.isna() if pd.isna(own[name]) else column == own[name]).to_numpy(dtype=bool)
    return frame[same].sort_values(["seed", "number"])


def spread_over_seeds(trials: pd.DataFrame) -> dict[str, tuple[float, float, int]]:
    """Mean, standard deviation and number by metric over the complete ones of `same_choice`; nothing below two."""
    complete = trials[trials["state"] == "COMPLETE"]
    found = {}
    for name, metric in METRICS.items():
        if name not in complete or metric.origin != "trained":
            continue
        values = pd.to_numeric(complete[name], errors="coerce").dropna()
        if len(values) > 1:
            found[name] = (float(np.mean(values)), float(np.std(values, ddof=1)), len(values))
    return found


def seeds_table(trials: pd.DataFrame) -> pd.DataFrame:
    """One row a seed with what training told, in words."""
    trained = [name for name, metric in METRICS.items() if metric.origin == "trained" and name in trials and trials[name].notna().any()]
    values = {METRICS[name].name: [shown(name, value) for value in trials[name]] for name in trained}
    return pd.DataFrame({"trial": trials["number"], "seed": trials["seed"], "state": trials["state"].str.lower(), **values})


def rung_mates(frame: pd.DataFrame, number: int, metric: str, most: int = MATES) -> tuple[list[int], int]:
    """The trials that were measured after as many epochs as trial `number` or more, and how many there are.

    Of more than `most` those that lie evenly over their ranks by the metric are returned; the trial itself always.
    """
    if "fidelity_epochs" not in frame:
        return [number], 1
    epochs = pd.to_numeric(frame["fidelity_epochs"], errors="coerce")
    own = epochs[frame["number"] == number].iloc[0]
    reached = frame[frame["state"].isin(MEASURED) & (epochs >= own)]
    order = reached.sort_values(metric)["number"].tolist() if metric in reached else reached["number"].tolist()
    places = range(len(order)) if len(order) <= most else np.linspace(0, len(order) - 1, most).round().astype(int).tolist()
    return sorted({number, *(int(order[place]) for place in places)}), len(order)


def _spread(name: str, spread: Mapping[str, float] | None) -> str:
    return shown(name, (spread or {}).get(name)) if (spread or {}).get(name) is not None else ""


def _moment(moment: datetime | None) -> str | None:
    return None if moment is None else f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def _duration(trial: Trial) -> str | None:
    if trial.started_at is None or trial.finished_at is None:
        return None
    return str(trial.finished_at - trial.started_at).partition(".")[0]
