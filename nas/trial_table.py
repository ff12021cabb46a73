"""Trials of a study as rows and columns: what was chosen, what it became, what it costs and what was measured."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from nas.api import Study
from nas.output import VARIANT, Column, metric_column, percent_column, text_column
from searchspace.model_config import ModelConfig
from searchspace.space import SearchSpace
from searchspace.styles import style_of
from studies.fidelity import fidelity_text
from studies.records import METRICS, Trial
from studies.seeds import Spread, least_difference
from trainer.noise import noise_points

SYMBOLS = {"channels": "C1", "group_channels": "C'", "l1": "L1", "l3": "L3", "pair": "α,β", "phi": "φ"}
IN_THE_VARIANT = ("channels", "group_channels", "l1", "l3")
FURTHER = ("params", "flops", "loss", "seconds")
NUMBER, STATE, SEED = Column("trial", "trial"), text_column("state", "state"), Column("seed", "seed")
SEEDS = Column("seeds", "seeds")


def choice_columns(names: Iterable[str]) -> list[Column]:
    """What a space chooses, under the paper's symbols."""
    return [Column(name, SYMBOLS.get(name, name)) for name in names]


def trial_columns(study: Study, *, averages: bool = False) -> list[Column]:
    """Number, choice where the variant does not say it, variant, style, objectives, further metrics, size error and fidelity.

    A score that the study screens by is among the further metrics; what only a training brings is left out of tables of untrained networks.
    With several seeds trials have a column for theirs; `averages` one for how many they are made of, and one for the spread of each
    trained objective beside it.
    """
    space = study.config.space
    objectives = [objective.metric for objective in study.objectives]
    scores = [name for name in study.config.scores if name not in objectives]
    further = [_further_column(name, study.config.trains) for name in (*scores, *FURTHER) if name not in objectives]
    top5 = [] if "top5" in objectives else [dataclasses.replace(metric_column("top5"), plain=True)]
    several = study.config.seeds > 1
    spreads = {name: _spread_column(name) for name in objectives if several and averages and METRICS[name].origin == "trained"}
    found = [column for name in objectives for column in (metric_column(name), spreads.get(name)) if column is not None]
    measured = [*found, *further, *top5, percent_column("size_error", "size error")]
    choice = [dataclasses.replace(column, plain=column.key in IN_THE_VARIANT) for column in choice_columns(space.domains)]
    seed = [SEEDS if averages else SEED] if several else []
    return [NUMBER, *choice, *VARIANT, *seed, *measured, text_column("fidelity", "fidelity", plain=True)]


def _further_column(name: str, trains: bool) -> Column:
    return dataclasses.replace(metric_column(name, optional=True), plain=not trains and METRICS[name].origin == "trained")


def _spread_column(name: str) -> Column:
    return Column(f"{name}_std", "±", METRICS[name].show)


def trial_row(space: SearchSpace, trial: Trial, spread: Spread | None = None) -> dict[str, Any]:
    """A trial as a flat row in plain units; an average with how far its seeds lie apart."""
    config = ModelConfig.from_dict(trial.model) if trial.model else None
    return {
        "trial": trial.number,
        **trial.params,
        "variant": config.short_name if config else None,
        "style": style_of(config) if config else None,
        **{name: trial.value(name) for name in METRICS},
        "size_error": space.candidate(trial.params).size_error,
        "fidelity": fidelity_text([trial.fidelity]),
        "state": trial.state.value,
        "reason": trial.reason,
        "seed": trial.seed,
        **({} if spread is None else {"seeds": spread.seeds, **{f"{name}_std": std for name, std in spread.std.items()}}),
    }


def spread_text(spreads: Iterable[Spread], metric: str, *, seeds: int) -> str:
    """Which differences between means over so many seeds are noise, by the spread of the study's own seeds."""
    difference, shown = least_difference(spreads, metric, seeds=seeds), METRICS[metric]
    if difference is None:
        return "the spread over seeds is not known yet, so small differences may be noise"
    unit = " points of" if shown.scale == 0.01 else " of"
    return f"differences below {shown.show(difference)}{unit} {shown.name} between means over {seeds} seeds are noise"


def noise_text(fidelity: Mapping[str, Any]) -> str:
    """Which differences are noise at this fidelity, or that nobody has measured it."""
    points = noise_points({name: value for name, value in fidelity.items() if name != "latency"})
    if points is None:
        return "the spread over seeds has not been measured at this fidelity, so small differences may be noise"
    return f"differences below {points:.1f} points of top-1 are noise at this fidelity"
