"""The cells of a stacking map: every (C1, C', L1) of a study with its best or mean value, or why it has none."""

from collections.abc import Mapping
from itertools import product
from typing import Literal

import pandas as pd

from searchspace.space import SearchSpace
from studies.records import METRICS

Pick = Literal["best", "mean"]
Place = tuple[int, int, int]
AXES = ("channels", "group_channels", "l1")
VARIED = {"l3": "L3", "param_kernel_size": "kernel size", "seed": "seed"}
STATES = ("COMPLETE", "RUNNING", "PAUSED", "QUEUED", "PRUNED", "FAILED", "INFEASIBLE")  # of its trials, the first counts
MOST_ASKED = 1000  # choices whose feasibility is looked up; a dense map beyond that is made of its trials alone


def placed(frame: pd.DataFrame) -> pd.DataFrame:
    """The trials of a `trials_frame` with (C1, C', L1, L3) as columns, those that are no AABA stack left out.

    What was chosen counts, or what was built where a space chooses otherwise.
    """
    built = frame["variant"].astype("string").str.extract(r"^(\d+),(\d+),(\d+),(\d+)$").astype("Float64")
    built.columns = pd.Index([*AXES, "l3"])
    for name in built.columns:
        if (chosen := f"param_{name}") in frame:
            built[name] = pd.to_numeric(frame[chosen], errors="coerce").astype("Float64").fillna(built[name])
    kept = pd.concat([frame.drop(columns=[name for name in built if name in frame]), built], axis=1)
    kept = kept.dropna(subset=list(AXES))
    return kept.astype(dict.fromkeys(AXES, int))


def varied(trials: pd.DataFrame) -> list[str]:
    """What differs between the complete trials of one and the same cell, in words."""
    complete = trials[trials["state"] == "COMPLETE"]
    columns = [name for name in VARIED if name in complete]
    if complete.empty or not columns:
        return []
    most = complete.groupby(list(AXES))[columns].nunique().max()
    return [VARIED[name] for name in columns if most[name] > 1]


def cells(trials: pd.DataFrame, metric: str, pick: Pick = "best", reasons: Mapping[Place, str] | None = None) -> pd.DataFrame:
    """One row a place of `placed` trials: value, spread over seeds, number of the trial behind it, trials by state, and a reason.

    The seeds of one choice are averaged first; of several choices the best stands for the cell, or their mean. Only complete trials have a
    value: others were measured at a lower fidelity or not at all. `reasons` fills places that no trial has tried.
    """
    known = _states(trials).join(_measured(trials, metric, pick), how="left").reset_index()
    tried = set(known[list(AXES)].itertuples(index=False, name=None))
    untried = [
        {**dict(zip(AXES, place, strict=True)), "state": "INFEASIBLE", "trials": "", "reason": reason}
        for place, reason in (reasons or {}).items()
        if place not in tried
    ]
    rows = pd.concat([known, pd.DataFrame(untried, columns=None if untried else known.columns)]) if untried else known
    return rows.sort_values(list(AXES), ignore_index=True)


def infeasible_places(space: SearchSpace | None) -> dict[Place, str]:
    """Why places of a space whose L3 follows from a target cannot be tried; nothing for other spaces, and for large ones."""
    if space is None or space.name != "stacking" or "l3" in space.domains or len(space) > MOST_ASKED:
        return {}
    found: dict[Place, list[str | None]] = {}
    for params in (dict(zip(space.domains, values, strict=True)) for values in product(*space.domains.values())):
        place = (int(params["channels"]), int(params["group_channels"]), int(params["l1"]))
        found.setdefault(place, []).append(space.candidate(params).reason)
    return {place: reasons[0] for place, reasons in found.items() if reasons[0] is not None and None not in reasons}


def _measured(trials: pd.DataFrame, metric: str, pick: Pick) -> pd.DataFrame:
    """The value of each place that has one, with the choice that is best there and how many there are."""
    complete = trials[trials["state"] == "COMPLETE"]
    complete = complete.assign(measured=pd.to_numeric(complete[metric], errors="coerce")).dropna(subset=["measured"])
    chosen = [name for name in complete.columns if name.startswith("param_")] or ["variant"]
    told = {"value": ("measured", "mean"), "spread": ("measured", "std"), "seeds": ("measured", "size")}
    told |= {"number": ("number", "first"), "variant": ("variant", "first")}
    choices = complete.groupby([*AXES, *chosen], dropna=False).agg(**told).reset_index()
    ascending = METRICS[metric].direction == "minimize"
    at_place = choices.sort_values("value", ascending=ascending, kind="stable").groupby(list(AXES))
    found = at_place.nth(0).set_index(list(AXES))[list(told)]
    found["choices"] = at_place.size()
    if pick == "mean":
        found["value"] = at_place["value"].mean()
    return found


def _states(trials: pd.DataFrame) -> pd.DataFrame:
    """The foremost state of each place, its trials by state in words, and the first reason in that state."""
    counts = trials.groupby([*AXES, "state"]).size().unstack(fill_value=0)
    counts = counts[[state for state in STATES if state in counts]]
    words = [", ".join(f"{n} {str(state).lower()}" for state, n in row.items() if n) for row in counts.to_dict("records")]
    found = pd.DataFrame({"state": (counts > 0).idxmax(axis=1), "trials": words}, index=counts.index)
    why = trials.dropna(subset=["reason"]).drop_duplicates([*AXES, "state"]).set_index([*AXES, "state"])["reason"]
    return found.join(why, on=[*AXES, "state"])
