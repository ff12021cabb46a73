from collections.abc import Iterator
from statistics import fmean

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dashboard.charts.stacking_map import scale_figure, stacking_figures
from dashboard.stacking_cells import cells, infeasible_places, placed, varied
from searchspace.spaces import stacking_space
from searchspace.stacking import stack
from studies.records import TrialState
from studies.spaces import space_of
from studies.store import Store
from tests.dashboard_views import HOSTILE, add, fill, open_study, show, train

PLACES = st.tuples(st.sampled_from([48, 64]), st.sampled_from([8, 16]), st.sampled_from([1, 2]))
STATES = st.sampled_from(["COMPLETE", "COMPLETE", "COMPLETE", "PRUNED", "RUNNING", "FAILED"])
TRIALS = st.lists(st.tuples(PLACES, st.integers(3, 5), st.integers(0, 2), STATES, st.floats(0.1, 0.9)), min_size=1, max_size=30)


def frame_of(trials: list[tuple[tuple[int, int, int], int, int, str, float]]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "number": number, "state": state, "variant": stack(*place, l3).short_name, "param_channels": place[0],
                "param_group_channels": place[1], "param_l1": place[2], "param_l3": l3, "top1": value, "loss": 1 - value, "seed": seed,
                "reason": f"{state} {HOSTILE}",
            }
            for number, (place, l3, seed, state, value) in enumerate(trials)
        ]
    )  # fmt: skip


@pytest.fixture
def store(store_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setenv("NAS_STORE", store_url)
    store = Store(store_url)
    yield store
    store.close()


@settings(max_examples=30)
@given(TRIALS, st.sampled_from(["top1", "loss"]), st.sampled_from(["best", "mean"]))
def test_a_cell_has_the_best_or_mean_of_its_choices_means_over_seeds(trials, metric, pick):
    frame = frame_of(trials)
    found = {(row.channels, row.group_channels, row.l1): row.value for row in cells(placed(frame), metric, pick).itertuples()}
    choices: dict = {}
    for place, l3, _, state, value in trials:
        if state == "COMPLETE":
            choices.setdefault(place, {}).setdefault(l3, []).append(value if metric == "top1" else 1 - value)
    best = {"best": max if metric == "top1" else min, "mean": fmean}[pick]
    assert set(found) == {place for place, *_ in trials}
    assert {place: value for place, value in found.items() if value == value} == pytest.approx(
        {place: best([fmean(values) for values in of_place.values()]) for place, of_place in choices.items()}
    )


@settings(max_examples=30)
@given(TRIALS)
def test_only_complete_trials_give_a_value_and_the_others_leave_their_state(trials):
    for row in cells(placed(frame_of(trials)), "top1").to_dict("records"):
        states = [state for place, _, _, state, _ in trials if place == (row["channels"], row["group_channels"], row["l1"])]
        assert (row["value"] == row["value"]) == ("COMPLETE" in states)
        assert row["state"] in states
        assert all(f"{states.count(state)} {state.lower()}" in row["trials"] for state in set(states))


def test_several_depths_and_seeds_in_a_cell_are_told():
    one, two = ((48, 8, 1), 3, 0, "COMPLETE", 0.5), ((48, 8, 1), 4, 0, "COMPLETE", 0.6)
    assert varied(placed(frame_of([one]))) == []
    assert varied(placed(frame_of([one, two]))) == ["L3"]
    assert varied(placed(frame_of([one, (*one[:2], 1, *one[3:])]))) == ["seed"]


def test_a_space_that_chooses_otherwise_is_mapped_by_what_was_built():
    frame = frame_of([((48, 8, 1), 3, 0, "COMPLETE", 0.5)]).drop(columns=["param_group_channels", "param_l1", "param_l3"])
    frame["variant"] = ["48,8,2,7"]
    [row] = placed(frame).to_dict("records")
    assert (row["channels"], row["group_channels"], row["l1"], row["l3"]) == (48, 8, 2, 7)
    assert placed(frame.assign(variant="512,16,2-2-48-4", param_channels=512)).empty


def test_the_maps_share_scale_and_axes_and_one_cell_is_starred():
    table = cells(placed(frame_of([((48, 8, 1), 3, 0, "COMPLETE", 0.5), ((64, 16, 2), 3, 0, "COMPLETE", 0.9)])), "top1")
    maps = stacking_figures(table, "top1")
    assert list(maps) == [48, 64]
    heat = [figure.data[0] for figure in maps.values()]
    assert {(each.zmin, each.zmax) for each in heat} == {(50.0, 90.0)}
    assert len({(figure.layout.xaxis.ticktext, figure.layout.yaxis.ticktext) for figure in maps.values()}) == 1
    assert [list(figure.data[1].text) for figure in maps.values()] == [["50.0"], ["90.0<br>★"]]
    assert [list(row) for row in heat[1].customdata if any(row)] == [[None, 1]]
    assert scale_figure(table, "top1").data[0].zmax == 90.0


@pytest.mark.parametrize(("metric", "reverse"), [("top1", False), ("loss", True)])
def test_brighter_is_better_whichever_way_the_metric_goes(metric, reverse):
    trials = [((48, 8, l1), 3, 0, "COMPLETE", value) for l1, value in ((1, 0.2), (2, 0.9))]
    [figure] = stacking_figures(cells(placed(frame_of(trials)), metric), metric).values()
    assert figure.data[0].reversescale is reverse
    assert "★" in figure.data[1].text[1]
    assert list(figure.data[1].textfont.color) == ["#FFFFFF", "#000000"]


def test_infeasible_cells_are_hatched_and_tell_their_reason_without_markup():
    [figure] = stacking_figures(cells(placed(frame_of([((48, 8, 1), 3, 0, "INFEASIBLE", 0.5)])), "top1"), "top1").values()
    heat, _, hatched, _ = figure.data
    assert list(heat.z[0]) == [None]
    assert hatched.marker.pattern.shape == "/"
    assert len(hatched.x) == 1
    [text] = hatched.hovertext
    assert "&lt;script&gt;" in text
    assert "<script>" not in text
    assert "<b>x" not in text


def test_places_that_were_never_tried_are_known_to_be_infeasible_where_l3_follows_from_the_target():
    space = stacking_space()
    reasons = infeasible_places(space)
    assert len(reasons) == 11
    assert "multiple of group_channels" in reasons[48, 32, 1]
    assert infeasible_places(stacking_space(l3=[1, 2])) == {}
    table = cells(placed(frame_of([((48, 16, 1), 3, 0, "COMPLETE", 0.5)])), "top1", reasons=reasons)
    assert len(table) == 12
    assert space_of({}) is None
    assert space_of({"space": {"name": "gone"}}) is None


def test_the_view_draws_a_map_a_width_and_follows_the_address(store, monkeypatch):
    fill(store, stacking_space(), [0.5, 0.7, 0.6], seeds=2)
    shown = show(monkeypatch, "stacking_map")
    maps = {key: figure for key, figure in shown.figures.items() if key != "stacking-scale"}
    assert list(maps) == ["stacking-48", "stacking-64", "stacking-80"]
    assert sum(len(figure.data[2].x) for figure in maps.values()) == 11
    assert sum(len(figure.data[1].x) for figure in maps.values()) == 19
    assert "mean over the seeds" in shown.words
    loss = show(monkeypatch, "stacking_map", metric="loss")
    assert loss.figures["stacking-64"].data[0].reversescale
    loss.app.selectbox[0].set_value("params")
    loss.again()
    assert loss.app.query_params["metric"] == "params"
    assert "29.92" in loss.figures["stacking-64"].data[1].text


def test_without_variants_the_view_names_the_command_and_without_values_what_is_awaited(store, monkeypatch):
    open_study(store, None, "empty")
    assert "nas search --space stacking" in show(monkeypatch, "stacking_map", study="empty").words
    study = open_study(store, stacking_space())
    trial = add(store, study, stacking_space().feasible()[0])
    assert "appears with the first one" in show(monkeypatch, "stacking_map").words
    train(store, trial, 0.5, epochs=1, state=TrialState.PRUNED)
    assert not show(monkeypatch, "stacking_map").figures
