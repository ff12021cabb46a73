import dataclasses
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import moocore
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from dashboard.charts.front import GL_FROM, KINDS, WORDLESS_FROM, front_figure, split_kinds
from dashboard.charts.hypervolume import hypervolume_figure
from dashboard.charts.ledger import ledger_figure
from dashboard.charts.references import are_marked
from dashboard.charts.theme import hover_text, hover_texts
from dashboard.quantities import duration
from dashboard.standing import best_value, candidates, reached, seconds_left, standing
from dashboard.tables import fidelities, trials_table
from searchspace.spaces import stacking_space
from studies.records import METRICS, Objective, StudyRecord
from studies.replay import REFERENCE

TOP1, FLOPS, PARAMS = Objective("top1", "maximize"), Objective("flops", "minimize"), Objective("params", "minimize")
OBJECTIVES = (TOP1, FLOPS)
HOSTILE = "<script>alert(1)</script><b>x</b>"
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def row(number: int, top1: float | None = None, flops: float | None = 1e9, **given: Any) -> dict[str, Any]:
    begun = NOON + timedelta(minutes=number)
    plain = {
        "number": number, "state": "COMPLETE", "variant": "64,16,4,18", "param_n": number, **dict.fromkeys(METRICS), "top1": top1,
        "flops": flops, "params": 3e7, "fidelity_epochs": 3, "seed": 0, "worker": "w", "started_at": begun,
        "finished_at": begun + timedelta(seconds=30), "reason": None, "style": "t", "on_front": False,
    }  # fmt: skip
    return {**plain, **given}


def frame_of(*rows: dict[str, Any]) -> pd.DataFrame:
    return pd.DataFrame(list(rows))


def study_of(*objectives: Objective, **config: Any) -> StudyRecord:
    written = [dataclasses.asdict(objective) for objective in objectives or OBJECTIVES]
    return StudyRecord(id=1, name="s", config={"objectives": written, **config}, created_at=NOON)


def names(figure: Any) -> list[str]:
    return [trace.name for trace in figure.data]


ALL_KINDS = frame_of(
    row(0, 0.6, on_front=True),
    row(1, 0.5, 2e9),
    row(2, 0.3, 1e9, state="PRUNED", fidelity_epochs=1),
    row(3, 0.2, 1e9, state="RUNNING", fidelity_epochs=1),
    row(4, None, 3e9, state="INFEASIBLE", fidelity_epochs=None, reason=HOSTILE),
    row(5, None, 2e9, state="FAILED", fidelity_epochs=None),
    row(6, None, None, state="QUEUED", fidelity_epochs=None),
)


@pytest.mark.parametrize("kind", list(KINDS))
def test_each_kind_of_trial_can_be_shown_by_itself(kind):
    figure = front_figure(ALL_KINDS, OBJECTIVES, kinds=[kind])
    drawn = [int(number) for trace in figure.data if trace.name != "Pareto front" for number in trace.customdata]
    assert drawn == [1 + list(KINDS).index(kind)]
    assert sum(map(len, split_kinds(ALL_KINDS).values())) == 5


def test_a_trial_without_a_value_upwards_stands_on_a_strip_of_its_own():
    figure = front_figure(ALL_KINDS, OBJECTIVES, kinds=["infeasible", "pruned"])
    [strip] = [trace for trace in figure.data if trace.yaxis == "y2"]
    assert strip.name == "infeasible, no top-1"
    assert list(strip.x) == [3.0]
    assert figure.layout.yaxis2.domain[1] < figure.layout.yaxis.domain[0]
    assert not any(trace.yaxis == "y2" for trace in front_figure(ALL_KINDS, OBJECTIVES).data)


def test_hovering_over_a_pruned_trial_tells_how_far_it_came():
    [text] = [text for text in hover_texts(ALL_KINDS) if "trial 2" in text]
    assert text.endswith("pruned after epoch 1")


def test_hover_texts_of_many_rows_are_those_of_one_by_one():
    assert hover_texts(ALL_KINDS) == [hover_text(trial) for trial in ALL_KINDS.to_dict("records")]
    assert hover_texts(ALL_KINDS.iloc[:0]) == []


def test_text_of_the_store_is_escaped_wherever_it_is_drawn():
    frame = ALL_KINDS.assign(variant=HOSTILE, style=HOSTILE)
    figures = [
        front_figure(frame, OBJECTIVES, kinds=list(KINDS), selected=0),
        front_figure(frame, OBJECTIVES, axes=(TOP1, FLOPS, PARAMS), kinds=list(KINDS)),
        ledger_figure({HOSTILE: {HOSTILE: 60.0}}),
    ]
    for figure in figures:
        written = json.dumps(figure.to_plotly_json(), default=str)
        assert "<script" not in written
        assert "<b>x" not in written
        assert "&lt;b&gt;x" in written


def test_three_axes_are_drawn_in_three_dimensions_with_the_first_upwards():
    figure = front_figure(ALL_KINDS, OBJECTIVES, axes=(TOP1, FLOPS, PARAMS), selected=1)
    assert {trace.type for trace in figure.data} == {"scatter3d"}
    assert figure.layout.scene.zaxis.title.text == "top-1 (%)"
    assert list(figure.data[-2].z) == [60.0]
    assert names(figure)[-1] == "selected"


def test_the_selected_trial_has_a_ring_that_lets_the_mouse_through():
    ring = front_figure(ALL_KINDS, OBJECTIVES, selected=1).data[-1]
    assert (ring.name, ring.hoverinfo, ring.customdata) == ("selected", "skip", None)
    assert (list(ring.x), list(ring.y)) == ([2.0], [50.0])
    assert "selected" not in names(front_figure(ALL_KINDS, OBJECTIVES, selected=6))


def test_many_points_are_drawn_with_webgl_and_the_very_many_without_words():
    many = frame_of(row(0, 0.9, on_front=True), row(1, 0.5)).iloc[[0, *[1] * GL_FROM]].reset_index(drop=True)
    points = next(trace for trace in front_figure(many, OBJECTIVES).data if trace.name == "dominated")
    assert points.type == "scattergl"
    assert len(points.hovertext) == GL_FROM
    very_many = frame_of(row(1, 0.5)).iloc[[0] * WORDLESS_FROM].reset_index(drop=True)
    points = next(trace for trace in front_figure(very_many, OBJECTIVES).data if trace.name == "dominated")
    assert points.hovertext is None
    assert "%{customdata}" in points.hovertemplate


def test_the_spread_over_seeds_is_a_bar_on_the_front():
    frame = frame_of(row(0, 0.6, on_front=True, top1_std=0.01, seeds=3))
    [front] = front_figure(frame, OBJECTIVES).data
    assert list(front.error_y.array) == pytest.approx([1.0])
    assert "top-1 60.0% ± 1.0% over 3 seeds" in front.hovertext[0]


COSTS = {"T": {"params": 3e7, "flops": 1.2e9}, "H": {"params": 1e9, "flops": 2e11}}


def test_published_variants_are_points_among_costs_and_lines_beside_a_metric():
    points = front_figure(ALL_KINDS, OBJECTIVES, axes=(PARAMS, FLOPS), references=COSTS)
    assert list(next(trace for trace in points.data if trace.name == "published").text) == ["T", "H"]
    lines = front_figure(ALL_KINDS, OBJECTIVES, references=COSTS)
    assert [note.text for note in lines.layout.annotations] == ["T"]  # H lies far away
    assert "published" not in names(lines)


def test_published_variants_never_stand_on_a_measured_metric():
    for axes in ((TOP1, Objective.of("loss")), (TOP1, FLOPS, PARAMS)):
        figure = front_figure(ALL_KINDS, OBJECTIVES, axes=axes, references=COSTS)
        assert not are_marked(axes, COSTS["T"])
        assert "published" not in names(figure)
        assert not figure.layout.annotations


values = some.tuples(some.sampled_from(["COMPLETE", "PRUNED", "FAILED", "RUNNING"]), some.integers(0, 20), some.integers(1, 20))


@settings(max_examples=60)
@given(drawn=some.lists(values, max_size=15))
def test_the_hypervolume_never_falls_and_ends_as_that_of_the_whole_front(drawn):
    frame = frame_of(*(row(number, top1 / 20, flops * 1e9, state=state) for number, (state, top1, flops) in enumerate(drawn)))
    curve = reached(frame, study_of()) if drawn else pd.DataFrame({"hypervolume": []})
    complete = np.array([[-top1, flops] for state, top1, flops in drawn if state == "COMPLETE"], dtype=float)
    assert (curve["hypervolume"].diff().dropna() >= 0).all()
    if len(complete) == 0:
        assert curve.empty
        return
    low, high = complete.min(axis=0), complete.max(axis=0)
    scaled = (complete - low) / np.where(high > low, high - low, 1)
    expected = moocore.hypervolume(scaled, ref=[REFERENCE, REFERENCE]) / REFERENCE**2
    assert curve["hypervolume"].iloc[-1] == pytest.approx(expected)
    assert curve["trials"].iloc[-1] == sum(state != "RUNNING" for state, *_ in drawn)
    assert curve["seconds"].iloc[-1] == 30 * sum(state != "RUNNING" for state, *_ in drawn)


def test_a_trial_that_breaks_a_bound_or_was_trained_for_less_adds_no_hypervolume():
    bounded = study_of(require=[{"metric": "top1", "sense": ">=", "bound": 0.55}])
    frame = frame_of(row(0, 0.5, 1e9), row(1, 0.9, 1e9, fidelity_epochs=1), row(2, 0.6, 2e9), row(3, 0.7, 3e9))
    curve = reached(frame, bounded)["hypervolume"].tolist()
    assert curve[:2] == [0.0, 0.0]
    assert 0 < curve[2] < curve[3]


def test_training_seconds_count_before_the_time_that_a_worker_was_held():
    frame = frame_of(row(0, 0.5, seconds=12.0), row(1, 0.6, seconds=None), row(2, 0.7, seconds=8.0))
    assert reached(frame, study_of())["seconds"].tolist() == [12.0, 42.0, 50.0]


def test_the_figure_of_the_hypervolume_has_its_steps_and_its_end():
    curve = pd.DataFrame(
        {"number": range(5), "trials": range(1, 6), "seconds": [1.0, 2, 3, 4, 5], "hypervolume": [0.1, 0.1, 0.3, 0.3, 0.3]}
    )
    [line] = hypervolume_figure(curve, over="trials").data
    assert list(line.x) == [1, 3, 5]
    assert list(line.customdata) == [0, 2, 4]
    assert line.line.shape == "hv"
    assert hypervolume_figure(curve, over="seconds").layout.xaxis.title.text == "device-seconds"


def test_a_standing_counts_what_is_done_of_a_small_space():
    space = stacking_space(channels=[48, 64], group_channels=[16, 32], l1=[4, 5]).to_dict()  # 48 is no multiple of 32
    frame = frame_of(row(0, 0.5), row(1, 0.7), row(2, state="RUNNING", fidelity_epochs=None), row(3, state="QUEUED", fidelity_epochs=None))
    assert standing(frame, study_of(space=space)).known == 8
    assert standing(frame, study_of(space=space, seeds=3)).known == 6 * 3 + 2
    assert standing(frame, study_of(space={"domains": {"a": [1, 2, 3, 4, 5]}})).known == 4  # a space of another program
    found = standing(frame, study_of(space={"domains": {"a": list(range(2000))}}))
    assert (found.done, found.known, found.best) == (2, 4, 0.7)
    assert best_value(frame, FLOPS) == 1e9


def test_the_time_left_follows_the_pace_and_the_workers():
    waiting = [row(number, state="QUEUED", fidelity_epochs=None, started_at=None, finished_at=None) for number in (4, 5)]
    one = row(2, state="RUNNING", fidelity_epochs=1, finished_at=None)
    frame = frame_of(row(0, 0.5), row(1, 0.7), one, *waiting)
    study = study_of(proxy={"epochs": 3})
    assert seconds_left(frame, study) == pytest.approx(10 * (2 + 3 + 3))  # 30 s for 3 epochs, by one worker
    two = pd.concat([frame, frame_of({**one, "number": 3})], ignore_index=True)
    assert seconds_left(two, study) == pytest.approx(10 * (2 + 2 + 3 + 3) / 2)
    assert seconds_left(frame_of(one), study) is None
    assert seconds_left(frame_of(row(0, 0.5)), study) is None


def test_several_seeds_count_as_one_candidate_with_the_time_of_all():
    rows = [row(number, top1, param_n=7, seed=number, seeds=2, seconds=10.0) for number, top1 in enumerate((0.5, 0.7))]
    study = study_of(seeds=2)
    averaged = candidates(frame_of(*rows), study)
    assert averaged["top1"].tolist() == pytest.approx([0.6])
    assert reached(averaged, study)[["trials", "seconds"]].to_numpy().tolist() == [[2, 20.0]]
    assert standing(frame_of(*rows), study).best == pytest.approx(0.6)


def test_the_ledger_stacks_useful_work_first_in_hours():
    figure = ledger_figure({"a": {"idle": 3600.0, "training": 7200.0}, "b": {"training": 1800.0, "novel": 60.0}})
    assert names(figure) == ["training", "idle", "novel"]
    assert list(figure.data[0].x) == [2.0, 0.5]
    assert figure.layout.barmode == "stack"


def test_a_table_has_the_spread_beside_the_mean():
    table = trials_table(frame_of(row(0, 0.6, top1_std=0.02, seeds=3, on_front=True)), OBJECTIVES)
    assert list(table.columns)[:6] == ["number", "front", "variant", "top1", "top1_std", "flops"]
    assert table[["top1", "top1_std"]].to_numpy().tolist() == [[60.0, 2.0]]


def test_every_different_effort_is_told_once():
    frame = pd.DataFrame({"fidelity_image_size": [32.0, 32.0, None], "fidelity_latency": [None, {"device": "cpu"}, None]})
    assert fidelities(frame) == [{"image_size": 32}, {"image_size": 32, "latency": {"device": "cpu"}}]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "< 1 s"), (45, "45 s"), (90, "1.5 min"), (5400, "1.5 h"), (200 * 86400, "200 d"), (None, "–")]
)
def test_durations_are_written_in_the_largest_unit_that_they_fill(seconds, text):
    assert duration(seconds).replace("\u202f", " ") == text
