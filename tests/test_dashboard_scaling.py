from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard.charts.scaling import law_figure, plane_figure, residual_figure
from dashboard.scaling_points import curve, exponents_of, family_table, scaling_points
from searchspace.exponents import Exponents
from searchspace.family import ScaleRule, published_family, scaled_family
from searchspace.model_config import ModelConfig
from searchspace.presets import preset
from searchspace.scaling import effective_pair
from searchspace.spaces import scaling_space, stacking_space
from studies.frames import trials_frame
from studies.store import Store
from tests.dashboard_views import HOSTILE, fill, open_study, show

SPACE = scaling_space(phi=(2, 3))
BASE = preset("T").config
BY = Exponents(1.0, 1.9953)


@pytest.fixture
def store(store_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setenv("NAS_STORE", store_url)
    store = Store(store_url)
    yield store
    store.close()


def fitted(**changes: Any) -> dict[str, Any]:
    """A fit as it is stored: six variants, three predictions within and one beyond what was measured."""
    variants = [(phi, alpha, BY.beta_of(alpha)) for phi in (2, 3) for alpha in (1.05, 1.1, 1.2)]
    points = [
        {
            "trials": [i], "variant": f"{i} {HOSTILE}", "phi": phi, "share": 0.2, "alpha": alpha, "beta": beta, "cost": 30e6 * 2**phi,
            "value": 0.3 - 0.01 * i, "std": 0.01, "seeds": 2, "predicted": 0.3,
        }
        for i, (phi, alpha, beta) in enumerate(variants)
    ]  # fmt: skip
    ends = {"low": {"alpha": 1.05, "beta": BY.beta_of(1.05)}, "high": {"alpha": 1.2, "beta": BY.beta_of(1.2)}}
    predictions = [
        {
            "phi": phi, "cost": 30e6 * 2**phi, "extrapolation": 2.0 ** (phi - 3),
            "value": 0.4 / (1 + phi), "low": 0.3 / (1 + phi), "high": 0.5 / (1 + phi),
        }
        for phi in range(5)
    ]  # fmt: skip
    return {
        "metric": "error", "scale_metric": "params", "exponents": {"depth": BY.depth, "width": BY.width}, "base": "64,16,4,18",
        "base_model": BASE.to_dict(), "law": {}, "best": {"alpha": 1.1, "beta": BY.beta_of(1.1), "share": 0.14, **ends}, "refused": None,
        "tied": [{"alpha": 1.05, "beta": BY.beta_of(1.05), "variant": points[0]["variant"]}], "predictions": predictions, "points": points,
        "noise": 0.01, "noise_source": "seeds", "r2": 0.93, "searched": {"alpha": [1.0, 1.4]}, **changes,
    }  # fmt: skip


def traces(figure: Any) -> Mapping[str, Any]:
    return {trace.name: trace for trace in figure.data if trace.name}


def test_points_are_the_effective_pairs_averaged_over_seeds_without_the_base(store):
    study = fill(store, SPACE, [0.5, 0.6], seeds=2)
    trials = store.trials(study)
    points = scaling_points(trials_frame(trials), BASE, "top1")
    assert set(points["phi"]) == {2, 3}
    assert points["value"].tolist() == pytest.approx([0.55] * len(points))
    assert points["seeds"].tolist() == [2] * len(points)
    by_number = {trial.number: trial for trial in trials}
    for point in points.to_dict("records"):
        config = ModelConfig.from_dict(by_number[point["number"]].model)
        assert (point["alpha"], point["beta"]) == pytest.approx(effective_pair(BASE, config, point["phi"]))
        assert point["variant"] == config.short_name
    assert scaling_points(trials_frame([]), BASE, "top1").empty


@given(st.floats(0.5, 2), st.floats(1, 3), st.lists(st.floats(1, 1.4), max_size=3))
def test_the_curve_doubles_the_size_and_never_shrinks_the_width(depth, width, alphas):
    by = Exponents(depth, width)
    for alpha, beta in zip(*curve(by, alphas), strict=True):
        assert by.growth(alpha, beta) == pytest.approx(2)
        assert alpha >= 1
        assert beta >= 1 - 1e-9


def test_the_plane_tells_phi_by_symbols_and_values_by_one_scale(store):
    frame = trials_frame(store.trials(fill(store, SPACE, [0.5, 0.6, 0.7])))
    figure = plane_figure(scaling_points(frame, BASE, "top1"), BY, "top1")
    measured = [trace for trace in figure.data if str(trace.name).startswith("φ")]
    assert [trace.name for trace in measured] == ["φ = 2", "φ = 3"]
    assert len({trace.marker.symbol for trace in measured}) == 2
    assert len({(trace.marker.cmin, trace.marker.cmax) for trace in measured}) == 1
    assert not {"best of the fit", "90 % interval", "tied with the best"} & set(traces(figure))


def test_the_plane_marks_the_best_pair_its_interval_and_who_is_tied():
    figure = plane_figure(scaling_points(trials_frame([]), BASE, "top1"), BY, "top1", fitted=fitted())
    found = traces(figure)
    assert found["best of the fit"].x == (1.1,)
    assert found["tied with the best"].x == (1.05,)
    interval = found["90 % interval"]
    assert (min(interval.x), max(interval.x)) == (1.05, pytest.approx(1.2))
    assert all(BY.growth(alpha, beta) == pytest.approx(2) for alpha, beta in zip(interval.x, interval.y, strict=True))


def test_a_refused_fit_marks_no_pair():
    figure = plane_figure(scaling_points(trials_frame([]), BASE, "top1"), BY, "top1", fitted=fitted(best=None, tied=[], refused="too few"))
    assert "best of the fit" not in traces(figure)
    assert "90 % interval" not in traces(figure)


def test_the_law_is_dashed_from_the_last_measured_cost_on_and_in_the_unit_of_its_axis():
    found = traces(law_figure(fitted()))
    assert list(found["law"].x) == [30e6 * 2**phi for phi in range(4)]
    assert list(found["extrapolated"].x) == [30e6 * 2**3, 30e6 * 2**4]
    assert found["extrapolated"].line.dash == "dash"
    assert "2 × beyond the measured costs" in found["extrapolated"].hovertext[1]
    assert list(found["law"].y) == pytest.approx([100 * 0.4 / (1 + phi) for phi in range(4)])
    assert list(found["measured"].y) == pytest.approx([30 - i for i in range(6)])
    assert found["90 % band"].fill == "tonexty"
    assert traces(law_figure(fitted(metric="loss")))["law"].y[0] == 0.4


def test_a_law_is_dashed_below_the_measured_costs_too():
    predictions = [
        {**each, "extrapolation": extrapolation} for each, extrapolation in zip(fitted()["predictions"], (4, 2, 1, 1, 2), strict=True)
    ]
    lines = [
        (trace.name, trace.line.dash, len(trace.x), trace.showlegend) for trace in law_figure(fitted(predictions=predictions)).data[2:-1]
    ]
    assert lines == [("extrapolated", "dash", 3, True), ("law", "solid", 2, True), ("extrapolated", "dash", 2, False)]


def test_a_law_without_predictions_still_shows_what_was_measured():
    assert set(traces(law_figure(fitted(predictions=[])))) == {"measured"}


def test_predictions_stand_against_measurements_and_names_are_no_markup():
    figure = residual_figure(fitted())
    points = traces(figure)["variants"]
    assert list(points.x) == pytest.approx([30 - i for i in range(6)])
    assert list(points.y) == pytest.approx([30] * 6)
    agreement = traces(figure)["agreement"]
    assert agreement.x == agreement.y
    for text in [*points.hovertext, *traces(law_figure(fitted()))["measured"].hovertext]:
        assert "&lt;script&gt;" in text
        assert "<b>x" not in text


def test_the_published_family_has_the_effective_phi_of_the_paper():
    table = family_table(published_family(BASE, ScaleRule())).set_index("")
    assert dict(zip(table.index, zip(table["φ of width"], table["φ of depth"], strict=True), strict=True)) == {
        "T": ("0.00", "0.00"), "S": ("0.73", "1.11"), "B": ("1.82", "1.11"),
        "L": ("2.98", "2.43"), "XL": ("3.57", "3.04"), "H": ("5.23", "5.93"),
    }  # fmt: skip
    scaled = family_table(scaled_family(BASE, [0.0, 1.0], ScaleRule()))
    assert list(scaled[""]) == ["φ = 0", "φ = 1"]
    assert scaled.iloc[0]["size error"] == "+0.0%"


def test_exponents_are_those_of_the_fit_or_of_the_space():
    assert exponents_of(SPACE, fitted(exponents={"depth": 0.9, "width": 1.7})) == Exponents(0.9, 1.7)
    assert exponents_of(SPACE, None).width == pytest.approx(1.9953, abs=1e-3)


def test_another_study_is_told_which_command_makes_a_scaling_study(store, monkeypatch):
    open_study(store, stacking_space())
    shown = show(monkeypatch, "scaling")
    assert "nas search --space scaling" in shown.words
    assert not shown.figures


def test_without_a_fit_the_view_names_its_command_and_shows_the_plane(store, monkeypatch):
    fill(store, SPACE, [0.5, 0.6], HOSTILE)
    shown = show(monkeypatch, "scaling", study=HOSTILE)
    assert f"nas fit '{HOSTILE}'" in [code.value for code in shown.app.code]
    assert set(shown.figures) == {"plane"}
    assert len(shown.app.dataframe) == 2


def test_a_fit_is_shown_with_its_best_pair_law_and_family(store, monkeypatch):
    study = fill(store, SPACE, [0.5, 0.6])
    store.fits.add(study, "error", fitted(best=None, refused="older"))
    store.fits.add(study, "error", fitted())
    shown = show(monkeypatch, "scaling")
    best = shown.app.metric[0]
    assert (best.label, best.value, best.delta) == ("best α (90 % interval)", "1.100", "1.050 to 1.200")
    assert set(shown.figures) == {"plane", "law", "residuals"}
    assert "the fitted pair" in shown.words
    assert "1 of the tried pairs is statistically tied" in shown.words


def test_a_refused_fit_says_why(store, monkeypatch):
    study = open_study(store, SPACE)
    store.fits.add(study, "loss", fitted(metric="loss", best=None, tied=[], predictions=[], points=[], refused=f"one phi only {HOSTILE}"))
    shown = show(monkeypatch, "scaling")
    assert "No best pair: one phi only" in shown.words
    assert "<script>" not in shown.words
    assert "the paper's pair" in shown.words.replace("\\", "")
    assert not shown.figures


def test_fits_of_both_metrics_can_be_chosen_between(store, monkeypatch):
    study = fill(store, SPACE, [0.5, 0.6])
    store.fits.add(study, "loss", fitted(metric="loss"))
    store.fits.add(study, "error", fitted())
    assert show(monkeypatch, "scaling").figures["law"].layout.yaxis.title.text == "error (%)"
    assert show(monkeypatch, "scaling", fitted="loss").figures["law"].layout.yaxis.title.text == "loss"
