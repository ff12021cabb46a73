import dataclasses
import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from sqlalchemy import event, text

from searchspace.cost import cost
from searchspace.styles import styled
from studies.constraints import constraints_of
from studies.database import StoreError
from studies.frame_front import averaged_frame, front_mask
from studies.frames import trials_frame
from studies.page_data import read_trials
from studies.records import NewTrial, Objective, Report, StudyRecord, TrialState
from studies.seeds import averaged
from studies.store import Store

OBJECTIVES = [{"metric": "top1", "direction": "maximize"}, {"metric": "flops", "direction": "minimize"}]
ENDS = ("COMPLETE", "COMPLETE", "COMPLETE", "PRUNED", "FAILED", "INFEASIBLE", "RUNNING", "QUEUED")
VARIANTS = [
    styled(channels=16 * width, group_channels=16, depths=(1, 1, 2, 1), style=style) for width in (1, 2) for style in ("t", "s", "h")
]


@dataclasses.dataclass(frozen=True)
class Drawn:
    """A trial to be made: its variant, seed, end, metrics and epochs."""

    variant: int
    seed: int
    end: str
    top1: int
    epochs: int


drawn_trials = some.lists(
    some.builds(
        Drawn,
        variant=some.integers(0, len(VARIANTS) - 1),
        seed=some.integers(0, 2),
        end=some.sampled_from(ENDS),
        top1=some.integers(0, 100),
        epochs=some.integers(1, 2),
    ),
    max_size=12,
    unique_by=lambda drawn: (drawn.variant, drawn.seed),
)


def fill(store: Store, drawn: list[Drawn], **config: Any) -> StudyRecord:
    study = store.open("study", {"objectives": OBJECTIVES, **config})
    for each in drawn:
        model = VARIANTS[each.variant]
        new = NewTrial(params={"variant": each.variant}, seed=each.seed, model=model.to_dict(), cost=dataclasses.asdict(cost(model)))
        [trial] = store.add(study, [new])
        if each.end == "QUEUED":
            continue
        store.start(trial, worker="worker 0")
        report = Report(each.epochs, {"top1": each.top1 / 100, "loss": 1.0})
        if each.end != "INFEASIBLE":
            store.report(trial, report, fidelity={"epochs": each.epochs, "dataset": "digits"})
        if each.end != "RUNNING":
            store.finish(trial, TrialState(each.end), reason=None if each.end == "COMPLETE" else "<b>so</b>")
    return study


def made(folder: Path, drawn: list[Drawn], **config: Any) -> tuple[Store, StudyRecord]:
    store = Store(f"sqlite:///{folder / 'nas.db'}")
    return store, fill(store, drawn, **config)


@settings(max_examples=25)
@given(drawn=drawn_trials, bounded=some.booleans())
def test_the_frame_read_in_bulk_is_the_one_made_of_records(tmp_path_factory, drawn, bounded):
    bound = {"require": [{"metric": "top1", "sense": ">=", "bound": 0.5}]} if bounded else {}
    store, study = made(tmp_path_factory.mktemp("store"), drawn, **bound)
    check_same(store, study, seeds=1)
    store.close()


@settings(max_examples=25)
@given(drawn=drawn_trials)
def test_the_frame_of_several_seeds_read_in_bulk_is_the_one_made_of_records(tmp_path_factory, drawn):
    store, study = made(tmp_path_factory.mktemp("store"), drawn, seeds=3)
    check_same(store, study, seeds=3)
    store.close()


def check_same(store: Store, study: StudyRecord, *, seeds: int) -> None:
    whole = trials_frame(store.trials(study), study.objectives, constraints_of(study), seeds=seeds)
    read = read_trials(store, study)
    assert set(read) - set(whole) == {"style"}
    pd.testing.assert_frame_equal(read[list(whole)], whole, check_dtype=False)


def test_reading_asks_one_query_and_no_report(store_url):
    store = Store(store_url)
    study = fill(store, [Drawn(variant, 0, "COMPLETE", 50, 2) for variant in range(6)])
    asked: list[str] = []
    event.listen(store._sessions.engine, "before_cursor_execute", lambda *told: asked.append(told[2]))
    assert len(read_trials(store, study)) == 6
    [query] = [each for each in asked if each.startswith("SELECT")]
    assert "reports" not in query


def test_every_database_gives_the_same_frame(any_store_url):
    store = Store(any_store_url)
    study = fill(store, [Drawn(1, 0, "COMPLETE", 50, 2), Drawn(2, 0, "RUNNING", 20, 1), Drawn(3, 0, "QUEUED", 0, 1)])
    check_same(store, study, seeds=1)
    store.close()


def test_a_variant_keeps_its_style_in_the_frame(store_url):
    store = Store(store_url)
    study = fill(store, [Drawn(variant, 0, "COMPLETE", 50, 2) for variant in range(6)])
    assert read_trials(store, study)["style"].tolist() == ["t", "s", "h"] * 2


@given(
    values=some.lists(some.tuples(some.integers(0, 6), some.integers(0, 6), some.integers(0, 6)), max_size=12),
    objectives=some.permutations([Objective("top1", "maximize"), Objective("loss", "minimize"), Objective("params", "minimize")]),
)
def test_nobody_on_a_front_of_any_metrics_is_dominated_and_everybody_else_is(values, objectives):
    frame = pd.DataFrame(values, columns=["top1", "loss", "params"], dtype=float).assign(state="COMPLETE")
    chosen = objectives[:2]
    mask = front_mask(frame, chosen)
    signs = [-1 if objective.direction == "maximize" else 1 for objective in chosen]
    points = [
        tuple(sign * row[objective.metric] for sign, objective in zip(signs, chosen, strict=True)) for row in frame.to_dict("records")
    ]
    for point, stands in zip(points, mask, strict=True):
        dominated = any(all(a <= b for a, b in zip(other, point, strict=True)) and other != point for other in points)
        assert stands == (not dominated)


@settings(max_examples=25)
@given(drawn=drawn_trials)
def test_averages_of_frames_are_those_of_records(tmp_path_factory, drawn):
    store, study = made(tmp_path_factory.mktemp("store"), drawn, seeds=3)
    rows = averaged_frame(read_trials(store, study), seeds=3).astype({"top1": float})
    standing = {trial.number: trial for trial in averaged(store.trials(study), seeds=3)}
    assert set(rows["number"]) == set(standing)
    for row in rows.to_dict("records"):
        trial = standing[row["number"]]
        assert row["state"] == trial.state.value
        assert row["top1"] == pytest.approx(trial.metrics.get("top1", math.nan), nan_ok=True)
        assert (None if pd.isna(row["finished_at"]) else row["finished_at"]) == trial.finished_at
    store.close()


def test_only_the_reports_of_the_trials_asked_for_are_read(store_url):
    store = Store(store_url)
    study = fill(store, [Drawn(variant, 0, "COMPLETE", 50, 2) for variant in range(4)])
    whole = store.reports(study)
    assert store.reports(study, numbers=[1, 3, 99]) == {number: whole[number] for number in (1, 3)}
    assert store.reports(study, numbers=[]) == {}
    assert len(whole) == 4


@pytest.mark.parametrize("column", ["params", "model", "cost", "metrics", "fidelity"])
def test_what_cannot_be_read_is_one_message_that_names_the_study(store_url, column):
    store = Store(store_url)
    study = fill(store, [Drawn(0, 0, "COMPLETE", 50, 2)])
    with store._sessions.engine.begin() as connection:
        connection.execute(text(f"UPDATE trials SET {column} = '{{'"))
    with pytest.raises(StoreError, match="study 'study' holds what this program cannot read") as caught:
        read_trials(store, study)
    assert "\n" not in str(caught.value)
