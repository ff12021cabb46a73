"""The scaling law on simulated studies: intervals and bands hold the truth as often as they say, and nothing is found where nothing is."""

import json
from dataclasses import astuple, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.stats import binom

from benchmarks.scaling_law import CASES, RESULTS, Case, design, replicate, row
from nas.scaling_form import Law, Sample
from nas.scaling_grid import Box, fit, shapeless_loss
from nas.scaling_inference import Inference, Repeats, infer

REPLICATES = 60
REALISTIC = tuple(case for case in CASES if case.amplitude > 0 and case.curvature >= 0.3 and case.offset == 0)
TOLD = ("ordinary", "noisy, 3 seeds", "low edge")  # in the default run
TRUTH = Law(0.1, 0.45, 0.35, 0.3, 0.124)


def measured(law: Law, noise: float = 0.0, seeds: int = 1, seed: int = 0) -> tuple[Sample, Repeats]:
    """The default scaling space as it would be measured if the law were true."""
    plan = design()
    rng = np.random.default_rng(seed)
    values = law.at(plan.phi, plan.depth)[:, None] + rng.normal(0, noise, (len(plan.phi), seeds))
    return Sample(plan.phi, plan.depth, values.mean(1), np.full(len(plan.phi), float(seeds))), Repeats.of(values.tolist())


def inferred(noise: float = 0.01, seeds: int = 1, seed: int = 0, law: Law = TRUTH) -> Inference:
    return infer(*measured(law, noise, seeds, seed))


def within(count: int, trials: int, low: float, high: float) -> bool:
    """Whether so many successes of so many are what a probability between two would bring, but for one case in a thousand."""
    return bool(binom.ppf(0.001, trials, low) <= count <= binom.ppf(0.999, trials, high))


laws = st.builds(
    Law,
    floor=st.floats(0.0, 0.3),
    amplitude=st.floats(0.2, 0.6),
    decay=st.floats(0.15, 0.8),
    curvature=st.floats(0.1, 2.0),
    share=st.floats(0.05, 0.4),
)


@settings(max_examples=15)
@given(laws)
def test_without_noise_the_law_itself_is_found(law: Law) -> None:
    found = inferred(noise=0.0, law=law)
    assert astuple(found.law) == pytest.approx(astuple(law), rel=1e-3, abs=1e-4)
    assert found.share == pytest.approx((law.share, law.share), abs=0.01)
    assert found.explained == pytest.approx(1.0, abs=1e-6)


@settings(max_examples=10)
@given(st.integers(0, 1000), st.floats(0.2, 3.0))
def test_the_fit_follows_the_unit_of_the_values(seed: int, unit: float) -> None:
    sample, _ = measured(TRUTH, 0.01, seed=seed)
    one, other = (fit(each, Box.around(each)) for each in (sample, replace(sample, value=unit * sample.value)))
    assert (other.decay, other.curvature, other.share) == pytest.approx((one.decay, one.curvature, one.share), rel=1e-2, abs=1e-3)
    assert (other.floor, other.amplitude) == pytest.approx((unit * one.floor, unit * one.amplitude), rel=1e-2, abs=1e-3)


def test_a_mean_of_several_trainings_counts_as_often_as_they_are_many() -> None:
    once, _ = measured(TRUTH, 0.01, seed=1)
    weighted = replace(once, weight=np.where(once.phi > 3.5, 3.0, 1.0))
    many = np.repeat(np.arange(len(once)), weighted.weight.astype(int))
    repeated = Sample(*(array[many] for array in (once.phi, once.depth, once.value)), np.ones(len(many)))
    one, other = (fit(each, Box.around(each)) for each in (weighted, repeated))
    assert weighted.loss(one) == pytest.approx(repeated.loss(other))
    assert astuple(one) == pytest.approx(astuple(other), rel=1e-3, abs=1e-4)
    assert astuple(fit(once, Box.around(once))) != pytest.approx(astuple(one), rel=1e-2)


@pytest.mark.parametrize(("noise", "seeds"), [(0.005, 1), (0.01, 3)])
def test_the_interval_ends_where_the_best_law_of_a_share_reaches_the_limit(noise: float, seeds: int) -> None:
    found = inferred(noise, seeds, seed=4)
    for share in found.region.share:
        assert profile(found, share) == pytest.approx(found.region.limit, rel=0.01)


def profile(found: Inference, share: float) -> float:
    """The least that laws of a share leave unexplained, by another way than the grid's."""
    starts = [replace(found.law, share=share), replace(found.law, share=share, curvature=0.05)]

    def loss(logs: np.ndarray) -> float:
        floor, amplitude, decay, curvature = np.exp(np.clip(logs, -30, 5))
        return found.sample.loss(Law(floor, amplitude, decay, curvature, share))

    options = {"maxiter": 6000, "maxfev": 6000, "xatol": 1e-9, "fatol": 1e-12}
    return min(
        float(minimize(loss, np.log(np.maximum(astuple(start)[:4], 1e-6)), method="Nelder-Mead", options=options).fun) for start in starts
    )


@pytest.mark.parametrize("phi", [0.0, 3.0, 6.0])
def test_a_training_at_the_end_of_its_band_would_leave_just_the_limit_unexplained(phi: float) -> None:
    found = inferred(seed=5)
    depth = 0.15 * phi
    sample, box = found.sample, Box.around(found.sample)
    for end in found.band(phi, depth):
        added = ((sample.phi, phi), (sample.depth, depth), (sample.value, end), (sample.weight, 1.0))
        more = Sample(*(np.append(array, value) for array, value in added))
        assert more.loss(fit(more, box)) == pytest.approx(found.region.limit, rel=0.02)


def test_bands_narrow_with_trainings_and_widen_beyond_the_points() -> None:
    found = inferred(seed=6)

    def width(phi: float, trainings: int = 1) -> float:
        low, high = found.band(phi, 0.15 * phi, trainings=trainings)
        return high - low

    assert width(4, trainings=9) < width(4) < width(5) < width(6) < width(8)


def test_noise_is_read_from_seeds_unless_they_are_few_or_the_law_is_farther_off() -> None:
    assert inferred(seeds=3).noise.source == "seeds"
    assert inferred(seeds=3).noise.freedom == 2 * len(design().phi)
    assert inferred(seeds=1).noise.source == "residuals"
    sample, _ = measured(TRUTH, 0.01, 3)
    assert infer(sample, Repeats(squares=0.001, freedom=4)).noise.source == "residuals"
    bent = replace(sample, value=sample.value + 0.03 * np.sin(9 * sample.phi + 5 * sample.depth))
    assert infer(bent, Repeats(squares=30 * 1e-4, freedom=30)).noise.source == "residuals"


def test_a_law_without_a_shape_is_never_better_than_one_with() -> None:
    for seed in range(5):
        sample, _ = measured(replace(TRUTH, curvature=0.0), 0.02, seed=seed)
        assert sample.loss(fit(sample, Box.around(sample))) <= shapeless_loss(sample) * (1 + 1e-9)


def test_intervals_and_bands_hold_the_truth_in_85_to_95_of_100_studies() -> None:
    found = [replicate(case, rng) for case, rng in _told() for _ in range(REPLICATES)]
    assert within(sum(each["share"] for each in found), len(found), 0.85, 0.95)
    for where in ("inside", "beyond"):
        assert 0.85 <= np.mean([each[where] for each in found]) <= 0.95
    assert np.mean([each["named"] for each in found]) > 0.9


def _told() -> list[tuple[Case, np.random.Generator]]:
    return [(case, np.random.default_rng(i)) for i, case in enumerate(REALISTIC) if case.name in TOLD]


def test_where_no_shape_is_better_none_is_named_but_by_chance() -> None:
    for name in ("no preference", "constant"):
        (case,) = (case for case in CASES if case.name == name)
        rng = np.random.default_rng(7)
        named = sum(replicate(case, rng)["named"] for _ in range(REPLICATES // 2))
        assert named <= binom.ppf(0.999, REPLICATES // 2, 0.05)


@pytest.mark.slow
@pytest.mark.parametrize("case", REALISTIC, ids=lambda case: case.name)
def test_each_interval_holds_the_truth_in_85_to_95_of_100_studies(case: Case) -> None:
    found = row(case, 500, seed=1000 + REALISTIC.index(case))
    for measure in ("coverage", "inside", "beyond"):
        assert 0.85 <= found[measure] <= 0.95, (measure, found)


def test_what_is_recorded_of_500_studies_a_case_keeps_to_85_to_95_percent() -> None:
    record = json.loads((RESULTS / "scaling-law.json").read_text())
    by_name = {each["name"]: each for each in record["cases"]}
    assert record["replicates"] == 500
    assert set(by_name) == {case.name for case in CASES}
    for case in REALISTIC:
        for measure in ("coverage", "inside", "beyond"):
            assert 0.85 <= by_name[case.name][measure] <= 0.95, (case.name, measure)
    for case in CASES:
        if case.curvature == 0 or case.amplitude == 0:
            assert by_name[case.name]["named"] <= 0.05


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"phi": np.zeros(3)}, r"must be of one length, got \(3,\), \(15,\)"),
        ({"value": np.full(15, np.nan)}, "must be finite"),
        ({"weight": np.zeros(15)}, "weights positive"),
    ],
)
def test_a_sample_that_makes_no_sense_is_refused(change: dict[str, np.ndarray], message: str) -> None:
    sample, _ = measured(TRUTH)
    with pytest.raises(ValueError, match=message):
        replace(sample, **change)


def test_six_points_are_too_few_for_a_law() -> None:
    sample, _ = measured(TRUTH)
    few = Sample(*(array[:6] for array in (sample.phi, sample.depth, sample.value, sample.weight)))
    with pytest.raises(ValueError, match="needs at least 7 points, got 6"):
        infer(few)
