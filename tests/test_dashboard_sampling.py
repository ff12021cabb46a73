"""The view of sampling points: what its figures hold, how it follows the address, and what it says where there is nothing to show."""

import hashlib
import json
import re
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from streamlit.testing.v1 import AppTest

from dashboard.charts.sampling import MOST_POINTS, Query, chained_points, most_levels, receptive_figure, sampling_figure
from searchspace.spaces import stacking_space
from studies.inspections import WHEN, InspectionError, Layer, open_inspection, write_inspection
from studies.records import Artifact, Trial
from studies.store import Store
from tests.browsing import chromium, click_there, dashboard_server, point_at, tab_of, wait_for
from tests.dashboard_views import fill, show

FIDELITY = {"dataset": "digits", "synthetic": True, "image_size": 32, "epochs": 3, "channel_divisor": 4}
NAME = "two / <b>x</b>"
STRIDES = (4, 8, 16, 32)
SIDE, GROUPS, POINTS = 32, 2, 9


def grid(side: int, shift: tuple[float, float] = (0.0, 0.0)) -> np.ndarray[Any, Any]:
    """The regular points of a layer (H, W, G, K, 3), those of the second group shifted, with equal modulation."""
    row, column = np.mgrid[:side, :side].astype(np.float32)
    points = np.full((side, side, GROUPS, POINTS, 3), 1 / POINTS, np.float32)
    for point in range(POINTS):
        points[:, :, :, point, 0] = (column + point // 3 - 1)[:, :, None]
        points[:, :, :, point, 1] = (row + point % 3 - 1)[:, :, None]
    points[:, :, 1, :, :2] += np.array(shift, np.float32)
    return points


def layers(depth: int = 2) -> dict[tuple[int, Layer], np.ndarray[Any, Any]]:
    """Two images, `depth` blocks a stage; the second group of block b looks b pixels further right."""
    return {
        (number, Layer(stage=stage, block=block, size=(SIDE // stride,) * 2, groups=GROUPS, points=POINTS)): grid(
            SIDE // stride, (block, 0)
        )
        for number in (0, 1)
        for stage, stride in enumerate(STRIDES, start=1)
        for block in range(1, depth + 1)
    }


def facts() -> dict[str, Any]:
    row = {f"{key}_{when}": 4.5 for key in ("reach", "farthest", "radius_50", "radius_90") for when in WHEN}
    rows = [{"stage": stage, "stride": stride, **row} for stage, stride in enumerate(STRIDES, 1)]
    return {
        "study": NAME, "trial": 0, "variant": "64,16,4,18", "network": "16,4,4,18", "weights": "0" * 64, "fidelity": FIDELITY, "at": None,
        "images": ["<i>sheep</i>.png", "validation:1"], "image_size": SIDE, "strides": STRIDES, "centres": [[16, 16]] * 3 + [[0, 0]],
        "stages": rows,
    }  # fmt: skip


def write(path: Path, **changes: Any) -> Path:
    fields = {when: np.random.default_rng(0).random((4, SIDE, SIDE)).astype(np.float32) for when in WHEN}
    images = np.arange(2 * SIDE * SIDE * 3, dtype=np.uint8).reshape(2, SIDE, SIDE, 3)
    path.parent.mkdir(exist_ok=True)
    write_inspection(path, {**facts(), **changes}, layers(), images=images, fields=fields)
    return path


@pytest.fixture
def store(store_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A study of three complete trials, none of them inspected."""
    monkeypatch.setenv("NAS_STORE", store_url)
    store = Store(store_url)
    fill(store, stacking_space(channels=[64], group_channels=[16], l1=[3, 4, 5]), [0.5, 0.6, 0.4], NAME)
    yield store
    store.close()


def trial(store: Store, number: int) -> Trial:
    return store.trial(store.study(NAME), number)


def chosen(app: AppTest) -> dict[str, Any]:
    return {each.label: each.value for each in [*app.main.selectbox, *app.main.segmented_control]}


def test_points_of_several_blocks_are_followed_from_the_nearest_pixel_in_their_own_group() -> None:
    upper, lower = grid(8, (0.4, 0.0)), grid(8, (0.0, 2.0))
    (first, second) = chained_points([upper, lower], (4, 3), [1])
    assert np.allclose(first[:, 0], np.repeat([3.4, 4.4, 5.4], 3))
    assert np.allclose(first[:, 1], np.tile([2, 3, 4], 3))
    assert len(second) == POINTS**2
    assert set(np.round(second[:, 0])) == {2, 3, 4, 5, 6}
    assert set(np.round(second[:, 1])) == {3, 4, 5, 6, 7}  # two further down
    assert np.allclose(second[:, 2], 1 / POINTS**2)
    both = chained_points([upper, lower], (4, 3), [0, 1])
    assert [len(level) for level in both] == [2 * POINTS, 2 * POINTS**2]


def test_a_point_outside_the_map_is_shown_and_not_followed() -> None:
    first, second = chained_points([grid(4), grid(4)], (0, 0), [0])
    assert len(first) == POINTS
    assert len(second) == 4 * POINTS  # five of the corner's nine points lie outside


@pytest.mark.parametrize(
    ("groups", "points", "below", "expected"), [(1, 9, 18, 3), (1, 9, 2, 2), (16, 9, 18, 2), (1, 49, 5, 2), (80, 49, 5, 1)]
)
def test_no_more_points_are_drawn_than_a_page_bears(groups: int, points: int, below: int, expected: int) -> None:
    assert most_levels(groups, points, below) == expected
    assert groups * points**expected <= MOST_POINTS


def test_the_figure_places_points_in_pixels_of_the_image_larger_with_their_modulation() -> None:
    points = np.array([[1.0, 2.0, 0.1], [3.5, 0.0, 0.4], [-1.0, 0.0, 0.5]])
    figure = sampling_figure(np.zeros((32, 32, 3), np.uint8), [points], Query(pixel=(2, 1), stride=8, size=(4, 4)))
    image, places, drawn, star = figure.data
    assert image.source.startswith("data:image/png;base64,")
    assert list(places.customdata[2]) == [8, 9, 10, 11]
    assert (places.dx, places.dy) == (8, 8)
    assert list(zip(drawn.x, drawn.y, strict=True)) == [(8, 16), (28, 0), (-8, 0)]
    assert drawn.marker.size[0] < drawn.marker.size[1] < drawn.marker.size[2]
    assert list(drawn.customdata) == [9, None, None]  # 3.5 is nearest to a fourth column, beyond the map
    assert (star.x[0], star.y[0]) == (16, 8)
    assert figure.layout.yaxis.range[0] > figure.layout.yaxis.range[1]  # downwards, as images are


def test_the_figure_of_fields_has_a_map_a_stage_before_and_after_with_circles_of_their_radii() -> None:
    fields = {when: np.ones((4, 300, 300), np.float32) for when in WHEN}
    fields["after"][0, :150] = 1e-9
    rows = [{**row, "radius_90_before": None} for row in facts()["stages"][:2]]
    figure = receptive_figure(fields, rows, [[16, 16], [24, 8]])
    assert len(figure.data) == 4
    assert figure.data[2].z.shape == (100, 100)  # drawn in squares of three pixels
    assert (figure.data[2].x0, figure.data[2].dx) == (1, 3)
    assert figure.data[2].z[0, 0] == pytest.approx(-3)
    assert figure.data[2].z[99, 0] == pytest.approx(0)
    assert len(figure.layout.shapes) == 6  # of eight: two have no radius
    shape = figure.layout.shapes[1]
    assert (shape.x0, shape.x1, shape.y0, shape.y1) == (19.5, 28.5, 3.5, 12.5)


def test_a_study_that_nobody_looked_into_names_the_command_quoted(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = show(monkeypatch, "sampling", study=NAME).app
    assert "No trial of this study has been inspected" in app.info[0].value
    assert app.code[0].value == "nas inspect 'two / <b>x</b>' --trial N --image PATH"
    assert "--keep-weights all" in app.caption[-1].value
    (tmp_path / "w").write_text("weights")
    store.artifacts.record(trial(store, 2), "weights", tmp_path / "w")
    assert show(monkeypatch, "sampling", study=NAME).app.code[0].value.endswith("--trial 2 --image PATH")
    assert show(monkeypatch, "sampling", study=NAME, trial="1").app.code[0].value.endswith("--trial 1 --image PATH")


def test_an_inspected_trial_is_shown_as_the_address_says(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store.artifacts.record(trial(store, 1), "inspection", write(tmp_path / "weights" / "one.npz"))
    shown = show(monkeypatch, "sampling", study=NAME)
    expected = {"Trial": 1, "Image": 0, "Stage": 3, "Block": 2, "Group": "all", "Blocks followed": 1}
    assert expected.items() <= chosen(shown.app).items()
    assert list(shown.app.dataframe[0].value["stride"]) == list(STRIDES)
    assert list(shown.app.dataframe[0].value["reach after"]) == [4.5] * 4
    points, star = shown.figures["sampling"].data[-2:]
    assert (star.x[0], star.y[0]) == (16, 16)
    assert sorted(set(points.x)) == [0, 16, 32, 48, 64]  # the second group's lie two pixels of 16 further right
    assert len(shown.figures["receptive"].data) == 8

    asked = show(monkeypatch, "sampling", study=NAME, trial="1", image="1", stage="1", block="1", group="2", at="12,7")
    assert {"Image": 1, "Stage": 1, "Block": 1, "Group": 2}.items() <= chosen(asked.app).items()
    assert "Blocks followed" not in chosen(asked.app)  # there is none below the first
    points, star = asked.figures["sampling"].data[-2:]
    assert (star.x[0], star.y[0]) == (12, 8)
    assert sorted(set(points.x)) == [12, 16, 20]
    next(each for each in asked.app.segmented_control if each.label == "Stage").set_value(4)
    asked.again()
    assert asked.app.query_params["stage"] == "4"
    assert asked.figures["sampling"].data[-1].x[0] == 0


def test_several_blocks_are_followed_when_asked(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store.artifacts.record(trial(store, 0), "inspection", write(tmp_path / "one.npz"))
    figure = show(monkeypatch, "sampling", study=NAME, stage="1", group="1", levels="2").figures["sampling"]
    below, own = figure.data[-3:-1]
    assert (len(own.x), len(below.x)) == (POINTS, POINTS**2)


@pytest.mark.parametrize("at", ["", "1", "a,b", "-1,0", "32,0", "1,2,3", "²,1", "99999999999,0"])
def test_a_place_that_is_none_is_passed_over(at: str, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store.artifacts.record(trial(store, 0), "inspection", write(tmp_path / "one.npz"))
    star = show(monkeypatch, "sampling", study=NAME, at=at).figures["sampling"].data[-1]
    assert (star.x[0], star.y[0]) == (16, 16)


def test_a_selected_trial_that_nobody_looked_into_says_so_above_one_that_was(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.artifacts.record(trial(store, 1), "inspection", write(tmp_path / "one.npz"))
    app = show(monkeypatch, "sampling", study=NAME, trial="2").app
    assert "Trial 2 has not been inspected" in app.info[0].value
    assert chosen(app)["Trial"] == 1


def recorded(tmp_path: Path, store: Store, change: Callable[[Path], None], *, before: bool) -> Artifact:
    """An inspection that was changed before or after it was recorded."""
    file = write(tmp_path / "one.npz")
    if before:
        change(file)
    artifact = store.artifacts.record(trial(store, 0), "inspection", file)
    if not before:
        change(file)
    return artifact


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:2000])


def emptied(file: Path) -> None:
    with np.load(file) as arrays:
        np.savez(file, facts=arrays["facts"])


def newer(file: Path) -> None:
    np.savez(file, facts=np.frombuffer(json.dumps({"version": 99}).encode(), np.uint8))


def pickled(file: Path) -> None:
    np.savez(file, facts=np.array([{"version": 1}], dtype=object))


def reshaped(file: Path) -> None:
    with np.load(file) as arrays:
        np.savez(file, **{**arrays, "image_0": np.zeros((2, 2, 3), np.uint8)})


@pytest.mark.parametrize(
    ("change", "before", "message"),
    [
        (Path.unlink, False, "is not where it was recorded: one.npz: No such file"),
        (cut, False, "has changed since it was recorded"),
        (cut, True, "is damaged: one.npz"),
        (emptied, True, "is damaged: one.npz"),
        (pickled, True, "is damaged: one.npz"),
        (reshaped, True, r"is damaged: one.npz: image_0 must be u1 (32, 32, 3), got u1 (2, 2, 3)"),
        (newer, True, "is of version 99, this program reads 1"),
    ],
)  # fmt: skip
def test_a_missing_changed_or_damaged_file_is_one_clear_message(
    change: Callable[[Path], None], before: bool, message: str, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact = recorded(tmp_path, store, change, before=before)
    app = show(monkeypatch, "sampling", study=NAME).app
    assert len(app.error) == 1
    shown = app.error[0].value.replace("\\", "")
    assert message in shown
    assert shown.startswith("the inspection of trial 0 ")
    assert str(tmp_path) not in shown
    with pytest.raises(InspectionError, match=re.escape(message)):
        open_inspection(artifact).image(0)


@settings(max_examples=25)
@given(st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=4), st.floats(0, 1))
def test_whatever_befalls_a_file_it_is_read_or_refused(hits: list[tuple[float, int]], kept: float) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = write(Path(folder, "sub", "one.npz"))
        data = bytearray(file.read_bytes())
        for place, value in hits:
            data[int(place * len(data))] = value
        file.write_bytes(data if kept > 0.3 else data[: int(kept * len(data))])
        known = {"size": len(data), "sha256": hashlib.sha256(file.read_bytes()).hexdigest(), "created_at": datetime.now(UTC)}
        artifact = Artifact(id=1, trial=0, kind="inspection", path=file, **known)
        assert "\n" not in refusal(artifact)


def refusal(artifact: Artifact) -> str:
    """Why a file is not read; nothing where it is, with all that it should hold."""
    try:
        found = open_inspection(artifact)
        assert found.receptive_fields("after").shape == (4, SIDE, SIDE)
        assert all(found.points(1, layer).shape == layer.shape for layer in found.layers)
    except InspectionError as error:
        return str(error)
    return ""


@pytest.mark.browser
def test_a_click_on_the_image_looks_from_there_and_the_address_says_so(store: Store, tmp_path: Path) -> None:
    store.artifacts.record(trial(store, 0), "inspection", write(tmp_path / "one.npz"))
    view = "?view=sampling&stage=2"
    with chromium() as browser, dashboard_server(store.url, tmp_path) as address, tab_of(browser, f"{address}/{view}", height=1600) as tab:
        tab.wait_for_selector(".st-key-sampling .js-plotly-plot .main-svg")
        tab.wait_for_selector(".st-key-receptive .js-plotly-plot .main-svg")
        tab.get_by_test_id("stDataFrame").wait_for()
        point_at(tab, lambda: tab.evaluate(PLACE, [0, 24]), words="look from 0, 24")
        click_there(tab)
        wait_for(lambda: "at=0%2C24" in tab.evaluate("location.search"), what="the place in the address")
        wait_for(lambda: tab.evaluate(STAR) == [0, 24], what="the star")
        assert tab.locator(".st-key-receptive .heatmaplayer image, .st-key-receptive .heatmaplayer .hm").count() >= 8


PLACE = """([x, y]) => {
  const plot = document.querySelector(".st-key-sampling .js-plotly-plot"), { xaxis, yaxis } = plot._fullLayout;
  const corner = plot.getBoundingClientRect();
  return [corner.left + xaxis._offset + xaxis.d2p(x), corner.top + yaxis._offset + yaxis.d2p(y)];
}"""
STAR = """() => {
  const star = document.querySelector(".st-key-sampling .js-plotly-plot").data.at(-1);
  return [star.x[0], star.y[0]];
}"""
