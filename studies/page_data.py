"""A study's trials as one data frame, read in bulk: columns of text out of SQL, no record a trial, no report."""

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import pandas as pd

from searchspace.model_config import ModelConfig
from searchspace.styles import style_of
from studies.constraints import constraints_of
from studies.database import StoreError
from studies.frame_front import averaged_frame, choices_of, front_mask, with_seeds
from studies.records import METRICS, StudyRecord
from studies.seeds import seeds_of
from studies.store import Store

_JSON = ("params", "model", "cost", "metrics", "premeasured", "fidelity")
_PLAIN = ("number", "state", "seed", "worker", "started_at", "finished_at", "reason")


def read_trials(store: Store, study: StudyRecord) -> pd.DataFrame:
    """The `trials_frame` of a study with its front, and the `style` of each variant; StoreError for what this program cannot read."""
    columns = store.columns(study, _PLAIN, as_text=_JSON)
    try:
        return _with_front(_frame(columns), study)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(f"study {study.name!r} holds what this program cannot read: {error!r}"[:300]) from error


def _with_front(frame: pd.DataFrame, study: StudyRecord) -> pd.DataFrame:
    """The frame with the study's front: with several seeds, all trials of a choice are on it whose means are."""
    seeds, constraints = seeds_of(study), constraints_of(study)
    if seeds == 1:
        return frame.assign(on_front=front_mask(frame, study.objectives, constraints))
    frame, choices = with_seeds(frame), choices_of(frame)
    rows = averaged_frame(frame, seeds=seeds)
    front = rows.loc[front_mask(rows, study.objectives, constraints), "number"]
    return frame.assign(on_front=choices.isin(choices[frame["number"].isin(front)]))


def _frame(columns: Mapping[str, Sequence[Any]]) -> pd.DataFrame:
    models = [_names(text) for text in columns["model"]]
    measured = [
        {**cost, **premeasured, **metrics}
        for cost, premeasured, metrics in zip(*(_parsed(columns[name]) for name in ("cost", "premeasured", "metrics")), strict=True)
    ]
    return pd.DataFrame(
        {
            "number": columns["number"],
            "state": [state.value for state in columns["state"]],
            "variant": [variant for variant, _ in models],
            **_spread("param_", _parsed(columns["params"])),
            **{name: [each.get(name) for each in measured] for name in METRICS},
            **_spread("fidelity_", _parsed(columns["fidelity"])),
            **{name: columns[name] for name in ("seed", "worker", "started_at", "finished_at", "reason")},
            "style": [style for _, style in models],
        }
    )


def _spread(prefix: str, values: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Dictionaries as columns; of equal ones `_parsed` gives the same object."""
    names = dict.fromkeys(name for each in {id(each): each for each in values}.values() for name in each)
    return {f"{prefix}{name}": [each.get(name) for each in values] for name in names}


def _parsed(texts: Sequence[str]) -> list[dict[str, Any]]:
    """JSON objects, equal texts once; all in one go, which takes a third of the time."""
    different = list(dict.fromkeys(texts))
    known = dict(zip(different, json.loads(f"[{','.join(different)}]"), strict=True))
    return [known[text] for text in texts]


@lru_cache(maxsize=200_000)
def _names(model: str | None) -> tuple[str, str | None]:
    """`C1,C',L1,L3` and style of a stored architecture."""
    if model is None:
        return "–", None
    values = json.loads(model)
    smallest = {**values, "channels": 2, "group_channels": 2, "depths": [1, 1, values["depths"][2], 1]}  # a style depends on L3 alone
    return ModelConfig.from_dict(values).short_name, _style(json.dumps(smallest))


@lru_cache(maxsize=10_000)
def _style(model: str) -> str:
    return style_of(ModelConfig.from_dict(json.loads(model)))
