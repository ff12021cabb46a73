"""Trials as files hold what the store holds, and a file is there whole or not at all."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from searchspace.spaces import stacking_space
from studies.constraints import Constraint
from studies.frames import trials_frame, write_trials
from studies.records import Objective, Trial, TrialState

OBJECTIVES = (Objective.of("top1"), Objective.of("flops"))
CHOSEN = stacking_space().feasible()[0]
MODEL = CHOSEN.config.to_dict() if CHOSEN.config else None


def trial(number: int, **changes: Any) -> Trial:
    made = Trial(
        id=number,
        number=number,
        state=TrialState.COMPLETE,
        params={"l1": number, "l3": number if number % 2 else "solved"},
        model=MODEL,
        cost={"params": 10 + number, "flops": 100 - number},
        metrics={"top1": number / 10, "loss": 1.0},
        fidelity={"epochs": 3, "latency": {"device": "cpu", "batch_size": 1}},
        seed=7,
        started_at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    )
    return replace(made, **changes)


TRIALS = [
    trial(0),
    trial(1),
    trial(2),
    trial(3, state=TrialState.FAILED, metrics={}, fidelity={}, reason='broke, "quoted"\nand went on', model=None),
]
READERS = {"csv": pd.read_csv, "parquet": pd.read_parquet}


@pytest.mark.parametrize("kind", READERS)
def test_a_file_holds_every_trial_in_plain_units(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"trials.{kind}"
    path.write_text("older")
    write_trials(trials_frame(TRIALS, OBJECTIVES), path)
    read = READERS[kind](path)
    frame = trials_frame(TRIALS, OBJECTIVES)
    assert list(read.columns) == list(frame.columns)
    assert list(read["number"]) == [0, 1, 2, 3]
    assert list(read["state"]) == ["COMPLETE", "COMPLETE", "COMPLETE", "FAILED"]
    assert list(read["param_l3"]) == ["solved", "1", "solved", "3"]
    assert list(read["params"]) == [10, 11, 12, 13]
    assert list(read["top1"])[:3] == [0.0, 0.1, 0.2]
    assert pd.isna(read["top1"][3])
    assert read["fidelity_latency"][0] == '{"device": "cpu", "batch_size": 1}'
    assert read["reason"][3] == 'broke, "quoted"\nand went on'
    assert list(read["on_front"]) == [False, False, True, False]
    assert pd.to_datetime(read["started_at"])[0] == TRIALS[0].started_at
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("kind", READERS)
def test_a_study_without_trials_is_a_file_of_headings(tmp_path: Path, kind: str) -> None:
    write_trials(trials_frame([], OBJECTIVES), tmp_path / f"none.{kind}")
    read = READERS[kind](tmp_path / f"none.{kind}")
    assert (len(read), list(read.columns)) == (0, list(trials_frame([], OBJECTIVES).columns))


def test_who_misses_a_constraint_neither_stands_on_the_front_nor_keeps_others_off() -> None:
    frame = trials_frame(TRIALS, OBJECTIVES, [Constraint.parse("params<=11")])
    assert list(frame["on_front"]) == [False, True, False, False]


def test_another_ending_or_a_missing_folder_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"trials are written as \.csv or \.parquet, got 'trials\.xlsx'"):
        write_trials(trials_frame(TRIALS, OBJECTIVES), tmp_path / "trials.xlsx")
    with pytest.raises(ValueError, match=r"cannot write .*nowhere/trials\.csv: .*"):
        write_trials(trials_frame(TRIALS, OBJECTIVES), tmp_path / "nowhere" / "trials.csv")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_finished_leaves_the_older_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "trials.parquet"
    path.write_text("older")

    def breaks_off(frame: pd.DataFrame, part: Path, **_: Any) -> None:
        part.write_text("half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pd.DataFrame, "to_parquet", breaks_off)
    with pytest.raises(ValueError, match="No space left on device"):
        write_trials(trials_frame(TRIALS, OBJECTIVES), path)
    assert [file.name for file in tmp_path.iterdir()] == ["trials.parquet"]
    assert path.read_text() == "older"
