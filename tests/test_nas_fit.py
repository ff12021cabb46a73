"""The law of stored studies: what becomes a point, what is told and stored, what is refused, and what a user gets to read."""

import csv
import io
import json
import math
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

import nas
from benchmarks.scaling_law import held_out
from nas.cli.fit import fit
from nas.scaling_form import Law
from nas.scaling_law import best_pair, fit_study
from nas.scaling_points import Growth, points_of
from searchspace.cost import cost
from searchspace.model_config import ModelConfig
from searchspace.presets import preset
from searchspace.scaled_base import ScaledBase
from searchspace.scaling import effective_pair
from searchspace.scaling_setting import Scaling
from searchspace.spaces import scaling_space, space_from_dict, stacking_space
from studies.records import NewTrial, Report, TrialState
from studies.store import Store
from trainer.proxy_config import ProxyConfig, ProxyResult

TRUTH = Law(0.1, 0.45, 0.35, 0.3, math.log2(1.09))
GROWTH = Growth(ScaledBase(preset("T").config, Scaling()))


@cache
def truly(model: str, law: Law = TRUTH) -> float:
    config = ModelConfig.from_dict(json.loads(model))
    phi = math.log2(GROWTH.cost(config) / GROWTH.cost(GROWTH.scaled.base))
    return float(law.at(phi, phi * (GROWTH.share(config) or 0.0)))


def trained(law: Law, noise: float, config: ModelConfig, seed: int) -> dict[str, float]:
    """The metrics of a training, if the law were true."""
    drawn = np.random.default_rng([seed, config.channels, *config.depths]).normal(0, noise)
    error = truly(json.dumps(config.to_dict()), law) + float(drawn)
    return {"top1": 1 - error, "loss": 3 * error}


def study(url: str, name: str, *, law: Law = TRUTH, noise: float = 0.005, seeds: int = 1, only: int = 99, **space: Any) -> nas.Study:
    """A finished study of the scaling space, its first `only` candidates trained."""
    config = nas.StudyConfig(space=scaling_space(**space), objectives=["top1"], seeds=seeds)
    store = Store(url)
    record = store.open(name, config.to_dict())
    for candidate in config.space.feasible()[:only]:
        assert candidate.config is not None
        for seed in range(seeds):
            (trial,) = store.add(record, [NewTrial(params=candidate.params, seed=seed, model=candidate.config.to_dict())])
            store.start(trial)
            store.finish(trial, TrialState.COMPLETE, last=Report(1, trained(law, noise, candidate.config, seed)), fidelity={"epochs": 1})
    return nas.Study(store, record)


def test_a_fit_tells_the_law_and_is_stored_with_all_that_it_stands_on(store_url: str) -> None:
    searched = study(store_url, "s")
    stored = fit_study(searched)
    assert searched.store.fits.of(searched.record) == [stored]
    content = stored.content
    assert (stored.metric, content["metric"], content["scale_metric"], content["base"]) == ("error", "error", "params", "64,16,4,18")
    assert content["base_model"] == preset("T").config.to_dict()
    assert content["exponents"] == {"depth": 1.0, "width": pytest.approx(1.9953, abs=1e-4)}
    assert content["refused"] is None
    best = content["best"]
    assert best["low"]["alpha"] < best["alpha"] < best["high"]["alpha"]
    assert best["high"]["beta"] < best["beta"] < best["low"]["beta"]
    assert best["low"]["alpha"] < 1.09 < best["high"]["alpha"]
    for pair in (best, best["low"], best["high"]):
        assert pair["alpha"] * pair["beta"] ** content["exponents"]["width"] == pytest.approx(2)
    assert content["paper"] == {"alpha": 1.09, "beta": 1.36, "share": pytest.approx(0.123, abs=0.001), "tied": True}
    assert best_pair(searched.store, searched.record) == (best["alpha"], best["beta"])


def test_points_are_what_was_measured_and_tied_are_those_within_the_interval(store_url: str) -> None:
    searched = study(store_url, "s", seeds=2)
    content = fit_study(searched).content
    points = {point["variant"]: point for point in content["points"]}
    assert len(points) == 15
    assert sorted(number for point in points.values() for number in point["trials"]) == list(range(30))
    law = Law(**content["law"])
    for trial in searched.trials():
        config = ModelConfig.from_dict(dict(trial.model or {}))
        point = points[config.short_name]
        assert trial.number in point["trials"]
        errors = [1 - searched.trial(number).metrics["top1"] for number in point["trials"]]
        assert (point["value"], point["std"]) == (pytest.approx(np.mean(errors)), pytest.approx(np.std(errors, ddof=1)))
        assert point["seeds"] == 2
        assert point["cost"] == pytest.approx(29_918_424 * 2 ** point["phi"])
        share = point["share"] or 0.0
        assert point["predicted"] == pytest.approx(float(law.at(point["phi"], share * point["phi"])))
        if point["asked_phi"]:
            assert (point["alpha"], point["beta"]) == effective_pair(preset("T").config, config, point["asked_phi"])
    assert points["64,16,4,18"]["alpha"] is points["64,16,4,18"]["share"] is None
    shares = [GROWTH.share_of(content["best"][end]["alpha"], content["best"][end]["beta"]) for end in ("low", "high")]
    tied = {name for name, point in points.items() if point["share"] is not None and shares[0] <= point["share"] <= shares[1]}
    assert {each["variant"] for each in content["tied"]} == tied != set()
    assert content["noise_source"] == "seeds"
    assert content["noise"] == pytest.approx(np.sqrt(np.mean([point["std"] ** 2 for point in points.values()])))


def test_predictions_are_near_the_truth_and_widen_with_extrapolation(store_url: str) -> None:
    content = fit_study(study(store_url, "s"), phis=[0, 2, 4, 5, 6.5]).content
    predicted = content["predictions"]
    assert [each["phi"] for each in predicted] == [0, 2, 4, 5, 6.5]
    assert [each["extrapolation"] for each in predicted] == pytest.approx([1, 1, 1, 2, 2**2.5], rel=0.02)
    for each in predicted:
        assert abs(each["value"] - TRUTH.at(each["phi"], TRUTH.share * each["phi"])) < each["high"] - each["low"] < 0.1
        assert each["low"] < each["value"] < each["high"]
        assert each["cost"] == pytest.approx(29_918_424 * 2 ** each["phi"])
    widths = [each["high"] - each["low"] for each in predicted[2:]]
    assert widths == sorted(widths)


REFUSALS = {
    "one phi only (3), and a law needs several; search --phi 2,3,4": {"phi": [3]},
    "too few points: 6 variants are complete, and a law needs 7; let the search go on": {"only": 6},
    "no better than a constant (F-test, p = ": {"law": replace(TRUTH, amplitude=0.0), "noise": 0.02},
    "no preference shown: the 90 % interval covers every alpha searched, 1.01 to 1.37; search again with more": {
        "law": replace(TRUTH, curvature=0.0), "noise": 0.01
    },
    "one shape only: all variants have alpha 1.08 to 1.11; search widths, or --pairs further apart": {
        "pairs": [(1.09, 1.3559)], "phi": [3, 4, 5, 6, 7, 8]
    },
    "the best alpha lies above all that were searched, 1.01 to 1.37; search a larger --alpha": {"law": replace(TRUTH, share=0.6)},
}  # fmt: skip


@pytest.mark.parametrize(("message", "how"), REFUSALS.items(), ids=lambda value: value[:30] if isinstance(value, str) else "")
def test_what_cannot_be_told_is_refused_in_one_line_and_stored_as_such(store_url: str, message: str, how: dict[str, Any]) -> None:
    searched = study(store_url, "s", **how)
    result = command(store_url, "s")
    assert result.exit_code == 1
    assert isinstance(result.exception, nas.NasError)
    refusal = str(result.exception)
    assert refusal.startswith(f"study 's' tells no best pair: {message}")
    assert "\n" not in refusal
    (stored,) = searched.store.fits.of(searched.record)
    assert refusal.endswith(stored.content["refused"])
    assert (stored.content["best"], stored.content["tied"], stored.content["paper"]) == (None, [], None)
    assert len(stored.content["points"]) >= 4
    with pytest.raises(nas.NasError, match=r"^study 's' tells no best pair: .*; then run `nas fit s`$"):
        best_pair(searched.store, searched.record)


def test_a_law_without_a_best_pair_still_predicts(store_url: str) -> None:
    content = fit_study(study(store_url, "s", law=replace(TRUTH, curvature=0.0), noise=0.01)).content
    assert content["best"] is None
    assert Law(**content["law"]).at(4, 0) == pytest.approx(TRUTH.at(4, 0.5), abs=0.03)
    assert len(content["predictions"]) == 7


def test_studies_of_other_spaces_and_without_the_metric_are_refused_and_nothing_is_stored(store_url: str) -> None:
    store = Store(store_url)
    stacking = nas.Study(store, store.open("stacking", nas.StudyConfig(space=stacking_space()).to_dict()))
    with pytest.raises(ValueError, match=r"study 'stacking' searches the stacking space; a law is fitted to one of `nas search --space sc"):
        fit_study(stacking)
    lossless = study(store_url, "s", only=1)
    (trial,) = store.add(lossless.record, [NewTrial(params={"phi": 9}, seed=0, model=preset("S").config.to_dict())])
    store.start(trial)
    store.finish(trial, TrialState.COMPLETE, last=Report(1, {"top1": 0.5}), fidelity={})
    with pytest.raises(ValueError, match="trial 1 has no loss to fit a law of loss to; take another --metric"):
        fit_study(lossless, "loss")
    assert store.fits.of(stacking.record) == store.fits.of(lossless.record) == []
    with pytest.raises(nas.NasError, match="study 's' has no fitted pair; run `nas fit s` first"):
        best_pair(store, lossless.record)


def test_the_pair_of_the_error_goes_before_that_of_the_loss_and_the_newest_counts(store_url: str) -> None:
    searched = study(store_url, "s")
    loss = fit_study(searched, "loss").content
    assert best_pair(searched.store, searched.record)[0] == loss["best"]["alpha"]
    assert loss["law"]["amplitude"] == pytest.approx(3 * fit_study(searched).content["law"]["amplitude"], rel=0.01)
    other = {"best": {"alpha": 1.2, "beta": 1.29}, "refused": None}
    searched.store.fits.add(searched.record, "error", other)
    searched.store.fits.add(searched.record, "loss", loss)
    assert best_pair(searched.store, searched.record) == (1.2, 1.29)


def test_a_search_with_plain_rounding_and_one_of_an_earlier_version_are_fitted_by_their_real_costs(store_url: str) -> None:
    rounded = study(store_url, "rounded", formula=True, pairs="paper")
    points, left_out = points_of(rounded, "error")
    assert left_out == []
    assert len({point.config for point in points}) == len(points)
    assert max(abs(point.phi - point.asked_phi) for point in points) > 0.05
    space = rounded.config.space.to_dict()
    old = space_from_dict({key: value for key, value in space.items() if key != "scaling"})
    assert old.scaling is None
    record = rounded.store.open("old", nas.StudyConfig(space=old, objectives=["top1"]).to_dict())
    growth = Growth.of(nas.Study(rounded.store, record))
    assert [growth.share(point.config) for point in points] == [point.share for point in points]


def test_a_variant_too_close_to_the_base_has_no_share_and_is_left_out(store_url: str) -> None:
    searched = study(store_url, "s", phi=[0.25, 2, 3, 4], formula=True, pairs="paper")
    content = fit_study(searched).content
    assert content["left_out"] == ["64,16,4,19"]
    assert all(point["variant"] != "64,16,4,19" for point in content["points"])
    assert "left out: 64,16,4,19" in " ".join(command(store_url, "s").stdout.split())


def test_cost_may_be_flops(store_url: str) -> None:
    content = fit_study(study(store_url, "s", metric="flops")).content
    assert content["scale_metric"] == "flops"
    assert content["exponents"]["width"] == pytest.approx(1.978, abs=0.005)
    assert content["predictions"][0]["cost"] == cost(preset("T").config).flops == content["points"][0]["cost"]


def test_the_largest_phi_held_out_is_predicted_better_than_by_the_next_smaller(store_url: str) -> None:
    searched = study(store_url, "s")
    held = held_out(searched, "error")
    assert (held["held_out_phi"], held["fitted"], len(held["rows"])) == (4, 8, 7)
    for each in held["rows"]:
        assert each["held"] == (each["low"] <= each["measured"] <= each["high"])
    assert held["root_mean_square_error"] < held["nearest_size_root_mean_square_error"] / 2
    errors = [each["predicted"] - each["measured"] for each in held["rows"]]
    assert held["root_mean_square_error"] == pytest.approx(np.sqrt(np.mean(np.square(errors))))


def command(url: str, *arguments: str) -> Any:
    app = typer.Typer()
    app.command()(fit)
    return CliRunner().invoke(app, [*arguments, "--store", url], env={"COLUMNS": "200"})


def test_the_command_prints_law_pairs_predictions_and_noise(store_url: str) -> None:
    study(store_url, "s", seeds=2)
    result = command(store_url, "s")
    assert result.exit_code == 0
    out = " ".join(result.stdout.split())
    (content,) = (each.content for each in Store(store_url).fits.of(Store(store_url).study("s")))
    best, law = content["best"], content["law"]
    for text in (
        f"error = {100 * law['floor']:.2f}% + {100 * law['amplitude']:.2f}% · 2^(-{law['decay']:.3f}·φ)",
        f"(x - {law['share']:.3f}·φ)²)",
        f"α = {best['alpha']:.3f} ({best['low']['alpha']:.3f} to {best['high']['alpha']:.3f})",
        f"β = {best['beta']:.3f} ({best['high']['beta']:.3f} to {best['low']['beta']:.3f}), intervals of 90 %",
        "The paper's pair, α = 1.09, β = 1.36: tied with the best",
        f"Noise of one training: {100 * content['noise']:.2f} points, from the spread over seeds; R² {content['r2']:.3f}",
    ):
        assert text in out
    assert out.count(" tied ") >= len(content["tied"])
    assert "3.99×" in out


def test_the_command_prints_everything_as_json_and_predictions_as_csv(store_url: str) -> None:
    searched = study(store_url, "s")
    document = json.loads(command(store_url, "s", "--metric", "loss", "--predict", "0:1:0.5", "--format", "json").stdout)
    assert document == searched.store.fits.of(searched.record)[0].content
    assert [each["phi"] for each in document["predictions"]] == [0, 0.5, 1]
    rows = list(csv.DictReader(io.StringIO(command(store_url, "s", "--format", "csv").stdout)))
    stored = searched.store.fits.of(searched.record)[0].content["predictions"]
    assert [{name: float(value) for name, value in row.items()} for row in rows] == stored
    refused = command(store_url, "s", "--predict", "6:0")
    assert (refused.exit_code, isinstance(refused.exception, ValueError)) == (1, True)
    assert len(searched.store.fits.of(searched.record)) == 2


def test_a_searched_study_is_fitted_as_it_stands(store_url: str) -> None:
    def evaluate(config: ModelConfig, proxy: ProxyConfig, *, seed: int) -> Iterator[ProxyResult]:
        yield ProxyResult(epoch=1, metrics=trained(TRUTH, 0.005, config, seed), fidelity=proxy.fidelity(epochs=1, seed=seed))

    config = nas.StudyConfig(space=scaling_space(), proxy=ProxyConfig(epochs=1), objectives=["top1"], sampler="exhaustive")
    half = nas.search(config, name="s", store=store_url, engine="local", evaluate=evaluate, trials=9)
    assert len(fit_study(half).content["points"]) == 9
    whole = nas.search(config, name="s", store=store_url, engine="local", evaluate=evaluate)
    assert len(fit_study(whole).content["points"]) == 15
    assert fit_study(whole).content["best"]["alpha"] == pytest.approx(1.09, abs=0.03)
