"""How far a study is: what is done and left, what has been reached, and the hypervolume over the trials that it took."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd

from studies.constraints import constraints_of
from studies.frame_front import averaged_frame, eligible, epochs_of, front_mask
from studies.records import FINISHED, Objective, StudyRecord
from studies.replay import REFERENCE, Scale, hypervolume_curve
from studies.seeds import seeds_of
from studies.spaces import space_of

ENDED = ("COMPLETE", "PRUNED", "FAILED")  # what took a worker's time to the end
MOST_PLACES = 1000  # choices; nobody means to try all of a larger space
PACE = 50  # of the last trials


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a study stands: trials `done` of `known` ones, its `best` value of the first objective, and how much it dominates.

    `hypervolume` is a share of the box between the worst and the best values measured, `seconds_left` an estimate; None where unknown.
    """

    done: int
    known: int
    best: float | None
    hypervolume: float | None
    seconds_left: float | None


def standing(frame: pd.DataFrame, study: StudyRecord) -> Standing:
    """Where a study of these trials stands; a choice of several seeds counts with the mean over them."""
    rows = candidates(frame, study)
    done = int(frame["state"].isin([state.value for state in FINISHED]).sum())
    curve = reached(rows, study)
    volume = float(curve["hypervolume"].iloc[-1]) if len(curve) else None
    return Standing(done, max(len(frame), _places(study) or 0), best_value(rows, study.objectives[0]), volume, seconds_left(frame, study))


def best_value(rows: pd.DataFrame, objective: Objective) -> float | None:
    """The best value of a metric among complete trials."""
    values = rows.loc[rows["state"] == "COMPLETE", objective.metric].dropna().astype(float)
    return None if values.empty else float(values.max() if objective.direction == "maximize" else values.min())


def candidates(frame: pd.DataFrame, study: StudyRecord) -> pd.DataFrame:
    """The frame, of several seeds with one row a choice and the means over them."""
    seeds = seeds_of(study)
    return frame if seeds == 1 else averaged_frame(frame, seeds=seeds)


def front_of(rows: pd.DataFrame, study: StudyRecord, objectives: Sequence[Objective]) -> pd.DataFrame:
    """The rows with the front of some metrics, which may be others than the study's objectives, in place of the study's own."""
    return rows.assign(on_front=front_mask(rows, objectives, constraints_of(study)))


def reached(rows: pd.DataFrame, study: StudyRecord) -> pd.DataFrame:
    """The hypervolume after each of the `candidates` that ended: columns number, trials, seconds and hypervolume.

    As a share of the box from the best to the worst values of all of them (and a tenth more, so that the ends of the front count); what
    breaks a bound of the study, or was trained for less, adds nothing. Seconds are those of training, or else for which a worker was held.
    """
    ended = rows[rows["state"].isin(ENDED)].sort_values(["finished_at", "number"])
    names = [objective.metric for objective in study.objectives]
    points = np.array(ended[names].apply(pd.to_numeric), dtype=float)
    points[~eligible(ended, constraints_of(study))] = math.nan
    if np.isnan(points).any(axis=1).all():
        return pd.DataFrame({"number": [], "trials": [], "seconds": [], "hypervolume": []})
    scaled = Scale.of(points, study.objectives).normalised(points)
    seeds = ended["seeds"].clip(lower=1) if "seeds" in ended else pd.Series(1, ended.index)
    return pd.DataFrame(
        {
            "number": ended["number"],
            "trials": seeds.cumsum(),
            "seconds": (_seconds(ended) * seeds).cumsum(),
            "hypervolume": hypervolume_curve(scaled) / REFERENCE ** len(names),
        }
    )


def seconds_left(frame: pd.DataFrame, study: StudyRecord) -> float | None:
    """How long the trials that run, wait or are still to be drawn from a small space take at the pace of the last ones; None if unknown.

    A search may end sooner: how many trials it was asked for is no part of a study.
    """
    running = int((frame["state"] == "RUNNING").sum())
    ended = frame[frame["state"].isin(ENDED)].dropna(subset=["started_at", "finished_at"]).sort_values("finished_at").tail(PACE)
    epochs = np.maximum(epochs_of(ended), 1).sum() if len(ended) else 0.0
    if not running or not epochs:
        return None
    whole = float(_proxy(study).get("epochs") or 1)
    open_ = frame[frame["state"].isin(["RUNNING", "PAUSED", "QUEUED"])]
    left = np.maximum(whole - epochs_of(open_), 0).sum() + whole * max(0, (_places(study) or 0) - len(frame))
    return float(left * _held(ended).sum() / epochs / running)


def _seconds(rows: pd.DataFrame) -> "pd.Series[float]":
    return pd.to_numeric(rows["seconds"]).astype(float).fillna(_held(rows)).fillna(0.0)


def _held(rows: pd.DataFrame) -> "pd.Series[float]":
    """For how many seconds each trial held its worker."""
    return (pd.to_datetime(rows["finished_at"], utc=True) - pd.to_datetime(rows["started_at"], utc=True)).dt.total_seconds()


def _places(study: StudyRecord) -> int | None:
    """How many trials there can be in a space small enough to be tried as a whole; an infeasible choice is one, whatever the seeds."""
    counted = _counted(json.dumps(study.config.get("space")))
    return None if counted is None else counted[0] * seeds_of(study) + counted[1]


@lru_cache(maxsize=256)
def _counted(space: str) -> tuple[int, int] | None:
    """How many feasible and infeasible candidates a small space has; None of a large one, and of one that this program cannot read."""
    found = space_of({"space": json.loads(space)})
    if found is None or len(found) > MOST_PLACES:
        return None
    candidates = found.enumerate()
    feasible = sum(candidate.feasible for candidate in candidates)
    return feasible, len(candidates) - feasible


def _proxy(study: StudyRecord) -> Mapping[str, Any]:
    proxy = study.config.get("proxy")
    return proxy if isinstance(proxy, Mapping) else {}
