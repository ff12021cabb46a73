"""Trials and reports as pandas data frames, for notebooks, tables and charts, and trials as a file for spreadsheets."""

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from studies.constraints import Constraint
from studies.pareto import pareto_front
from studies.records import METRICS, Objective, Report, Trial
from studies.seeds import Choice, Spread, gathered, spread

_COLUMNS = ("number", "state", "variant", *METRICS, "seed", "worker", "started_at", "finished_at", "reason")


def trials_frame(
    trials: Sequence[Trial], objectives: Sequence[Objective] = (), constraints: Sequence[Constraint] = (), *, seeds: int | None = None
) -> pd.DataFrame:
    """One row a trial: number, state, choice (as `param_*`), architecture, cost, metrics, fidelity (as `fidelity_*`) and reason.

    Costs and metrics are in plain units (parameters, FLOPs, fractions, seconds). With `objectives` a column `on_front` is added: who
    stands on the front of those that meet the `constraints`. Where a choice has several seeds (each is to have `seeds`, by default the most
    that any has), `seeds` says how many of its choice's are complete, `METRIC_std` how far they lie apart, and all trials of a choice are
    on the front whose means are.
    """
    frame = pd.DataFrame([_trial_columns(trial) for trial in trials], columns=None if trials else list(_COLUMNS))
    choices = gathered(trials, seeds=seeds)
    if len(choices) < len(trials):
        spreads = dict(_spreads(choices))
        frame["seeds"] = [spreads[trial.number].seeds for trial in trials]
        for name in (name for name in METRICS if any(name in found.std for found in spreads.values())):
            frame[f"{name}_std"] = [spreads[trial.number].std.get(name) for trial in trials]
    if objectives:
        front = {trial.number for trial in pareto_front([standing for standing, _ in choices], objectives, constraints)}
        numbers = {trial.number for standing, of_choice in choices if standing.number in front for trial in of_choice}
        frame["on_front"] = [trial.number in numbers for trial in trials]
    return frame


def write_trials(frame: pd.DataFrame, path: Path) -> None:
    """A `trials_frame` as a `.csv` or `.parquet` file, whole or not at all; ValueError for another ending or no such folder.

    What is no single value (a fidelity's latency setting) is written as JSON, a column of mixed kinds as text, no architecture as nothing.
    """
    if (write := _WRITERS.get(path.suffix.lower())) is None:
        raise ValueError(f"trials are written as {' or '.join(_WRITERS)}, got {path.name!r}")
    plain = frame.assign(variant=frame["variant"].where(frame["variant"] != variant_name(None))).apply(_plain)
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        write(plain, part)
        part.replace(path)
    except OSError as error:
        raise ValueError(f"cannot write {path}: {error.strerror or error}") from None
    finally:
        part.unlink(missing_ok=True)


def is_trials_file(path: Path) -> bool:
    """Whether a file is one that `write_trials` wrote, by the names of its first columns."""
    from pyarrow.parquet import read_schema

    try:
        columns = read_schema(path).names if path.suffix.lower() == ".parquet" else list(pd.read_csv(path, nrows=0).columns)
    except (OSError, ValueError):
        return False
    return tuple(columns[:3]) == _COLUMNS[:3]


_WRITERS: Mapping[str, Callable[[pd.DataFrame, Path], None]] = {
    ".csv": lambda frame, path: frame.to_csv(path, index=False),
    ".parquet": lambda frame, path: frame.to_parquet(path, index=False),
}


def _plain(column: "pd.Series[Any]") -> "pd.Series[Any]":
    """A column of one kind of plain values."""
    if column.dtype != object:
        return column
    plain = column.map(lambda value: json.dumps(value) if isinstance(value, Mapping | list) else value)
    kinds = {type(value) for value in plain.dropna()}
    return plain if len(kinds) <= 1 else plain.map(lambda value: value if pd.isna(value) else str(value))


def reports_frame(reports: Mapping[int, Sequence[Report]]) -> pd.DataFrame:
    """One row a report: trial number, epoch and the metrics after it."""
    rows = [{"number": number, "epoch": report.step, **report.metrics} for number, of_trial in reports.items() for report in of_trial]
    return pd.DataFrame(rows, columns=None if rows else ["number", "epoch", "top1", "loss"])


def _spreads(choices: Sequence[Choice]) -> Iterator[tuple[int, Spread]]:
    """For each trial by number how far those of its choice lie apart."""
    for _, trials in choices:
        found = spread(trials)
        yield from ((trial.number, found) for trial in trials)


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
