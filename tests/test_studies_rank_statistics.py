"""Ranking statistics against closed forms, drawn populations of known truth and examples worked by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from studies.rank_statistics import (
    Floats,
    Interval,
    kendall_tau,
    least_significant_difference,
    ordered_pairs,
    random_regret,
    ranks,
    resampled_counts,
    seed_means,
    seed_variance,
    tau_ceiling,
    tau_interval,
    tau_lead_interval,
    top_k_regret,
    weighted_tau,
)

SCORES = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=3, max_size=14).map(
    lambda pairs: np.array(pairs, dtype=float).T
)
SEED = st.integers(0, 2**32 - 1)


def population(n: int, correlation: float, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """True scores of both sides, each of variance 1."""
    truth = rng.standard_normal(n)
    return correlation * truth + math.sqrt(1 - correlation**2) * rng.standard_normal(n), truth


def noisy(scores: Floats, variance: float, seeds: int, rng: np.random.Generator) -> Floats:
    return scores[:, None] + rng.normal(0, math.sqrt(variance), (len(scores), seeds))


@given(SCORES)
def test_tau_is_the_known_one_ties_included_and_undefined_for_constants(scores: Floats) -> None:
    expected = stats.kendalltau(*scores).statistic
    tau = kendall_tau(*scores)
    if math.isnan(expected):
        assert tau is None
        assert 1 in (len(set(scores[0])), len(set(scores[1])))
    else:
        assert tau == pytest.approx(expected, abs=1e-12)


@given(SCORES, SEED)
def test_a_counted_tau_is_that_of_the_repeated_sample(scores: Floats, seed: int) -> None:
    counts = resampled_counts(scores.shape[1], np.random.default_rng(seed), 3)
    assert (counts.sum(1) == scores.shape[1]).all()
    repeated = [kendall_tau(*np.repeat(scores, row.astype(int), axis=1)) for row in counts]
    np.testing.assert_allclose(weighted_tau(*scores, counts), [math.nan if tau is None else tau for tau in repeated])


@given(SCORES, SEED, st.integers(1, 3))
def test_nothing_depends_on_the_order_of_the_variants_or_on_the_scale_of_the_scores(scores: Floats, seed: int, k: int) -> None:
    order = np.random.default_rng(seed).permutation(scores.shape[1])
    (one, other), (first, second) = scores, scores[:, order]
    assert kendall_tau(one, other) == kendall_tau(first, second) == kendall_tau(np.exp(first), 3 * second - 7)
    assert top_k_regret(first, second, k) == pytest.approx(top_k_regret(one, other, k))
    assert [ranks(one)[i] for i in order] == ranks(first)
    seeds, moved = (np.stack([side, side[::-1]], axis=1) for side in (one, other)), (order, slice(None))
    cheap, reference = seeds
    found, again = ordered_pairs(cheap, reference), ordered_pairs(cheap[moved], reference[moved])
    assert found is not None
    assert again is not None
    assert (found.pairs, found.beyond_noise, found.agree) == (again.pairs, again.beyond_noise, again.agree)
    assert found.difference == pytest.approx(again.difference, abs=1e-9)


def test_the_interval_holds_the_true_tau_in_about_95_of_100_populations_and_a_false_lead_is_rare() -> None:
    rng, correlation, variance, seeds = np.random.default_rng(0), 0.8, 0.5, 2
    true = 2 / math.pi * math.asin(correlation / (1 + variance / seeds))
    found, held, claimed = [], 0, 0
    for _ in range(200):
        one, other = population(18, correlation, rng)
        equal = seed_means(noisy(correlation * other + 0.6 * rng.standard_normal(18), variance, seeds, rng))
        cheap, reference = (seed_means(noisy(side, variance, seeds, rng)) for side in (one, other))
        counts = resampled_counts(18, rng, 400)
        interval, lead = tau_interval(cheap, reference, counts), tau_lead_interval(cheap, equal, reference, counts)
        assert interval is not None
        assert lead is not None
        found.append(interval.value)
        held += interval.low <= true <= interval.high
        claimed += lead.low > 0
    assert np.mean(found) == pytest.approx(true, abs=0.03)
    assert 0.9 <= held / 200 <= 0.995
    assert claimed / 200 <= 0.06


def test_a_lead_is_paired() -> None:
    rng = np.random.default_rng(1)
    one, other = population(20, 0.7, rng)
    rival, counts = rng.standard_normal(20), resampled_counts(20, rng)
    assert tau_lead_interval(one, one, other, counts) == Interval(0.0, 0.0, 0.0)
    ahead, behind = tau_lead_interval(one, rival, other, counts), tau_lead_interval(rival, one, other, counts)
    assert ahead is not None
    assert behind is not None
    assert (ahead.value, ahead.low, ahead.high) == pytest.approx((-behind.value, -behind.high, -behind.low), abs=1e-9)
    assert ahead.value == pytest.approx((kendall_tau(one, other) or 0) - (kendall_tau(rival, other) or 0))
    assert tau_lead_interval(one, np.ones(20), other, counts) is None


@given(SCORES, SEED)
def test_intervals_are_in_order_and_within_bounds(scores: Floats, seed: int) -> None:
    interval = tau_interval(*scores, resampled_counts(scores.shape[1], np.random.default_rng(seed), 50))
    assert (interval is None) == (kendall_tau(*scores) is None)
    if interval is not None:
        assert -1 <= interval.low <= interval.high <= 1


def test_the_noise_of_seeds_is_found_and_what_moves_a_whole_seed_is_not_noise() -> None:
    rng = np.random.default_rng(2)
    values = noisy(rng.normal(0, 5, 2000), 0.25, 3, rng)
    assert seed_variance(values) == pytest.approx(0.25, rel=0.06)
    assert seed_variance(values + np.array([10.0, -3.0, 0.5])) == pytest.approx(seed_variance(values))
    assert seed_variance(values[:, :1]) is None
    assert least_significant_difference(values[:, :1]) is None


def test_equal_variants_differ_by_more_than_the_bound_in_five_of_a_hundred_pairs() -> None:
    rng = np.random.default_rng(3)
    beyond = [ordered_pairs(noisy(np.zeros(6), 4.0, 3, rng), noisy(np.zeros(6), 4.0, 1, rng)) for _ in range(600)]
    shares = [found.beyond_noise / found.pairs for found in beyond if found is not None]
    assert len(shares) == 600
    assert np.mean(shares) == pytest.approx(0.05, abs=0.012)


def test_pairs_beyond_noise_are_counted_and_held_against_the_reference() -> None:
    cheap = np.array([[0.0, 2.0], [1.0, 1.0], [10.0, 12.0], [21.0, 21.0]])
    residual = np.array([[-0.5, 0.5], [0.5, -0.5], [-0.5, 0.5], [0.5, -0.5]])
    variance = (residual**2).sum() / 3
    assert seed_variance(cheap) == pytest.approx(variance)
    found = ordered_pairs(cheap, np.array([[1.0], [2.0], [4.0], [3.0]]))
    assert found is not None
    assert found.difference == pytest.approx(stats.t.ppf(0.975, 3) * math.sqrt(2 * variance / 2))
    assert (found.pairs, found.beyond_noise, found.agree) == (6, 5, 4)  # the first two are equal, the last two change places


def test_means_that_are_equal_on_paper_are_tied() -> None:
    values = np.array([[0.1, 0.2, 0.3], [0.3, 0.2, 0.1], [0.7, 0.1, 0.4]])
    assert len(set(values.mean(1))) == 3  # as floating-point numbers add up
    assert ranks(seed_means(values)) == [2, 2, 1]


@pytest.mark.parametrize(("variances", "seeds"), [((0.5, 0.5), (3, 3)), ((2.0, 0.3), (2, 4))])
def test_the_ceiling_is_the_tau_that_a_perfect_proxy_reaches(variances: tuple[float, float], seeds: tuple[int, int]) -> None:
    rng, reached, predicted = np.random.default_rng(4), [], []
    for _ in range(40):
        truth = rng.standard_normal(60)
        cheap, reference = (noisy(scale * truth, scale**2 * variance, number, rng)
                            for scale, variance, number in zip((7.0, 1.0), variances, seeds, strict=True))  # fmt: skip
        reached.append(kendall_tau(seed_means(cheap), seed_means(reference)))
        unrelated = rng.permutation(cheap)  # the ceiling must not look at how well this proxy does
        ceiling = tau_ceiling(unrelated, reference, rng, 100)
        assert ceiling is not None
        assert ceiling.low < ceiling.value < ceiling.high
        predicted.append(ceiling.value)
    assert np.mean(predicted) == pytest.approx(np.mean(reached), abs=0.03)


def test_the_ceiling_is_1_without_noise_near_0_without_signal_and_unknown_for_single_seeds() -> None:
    rng = np.random.default_rng(5)
    exact = np.repeat(rng.standard_normal((12, 1)), 2, axis=1)
    assert tau_ceiling(exact, exact, rng) == Interval(1.0, 1.0, 1.0)
    noise = noisy(np.zeros(200), 1.0, 4, rng)
    drowned = tau_ceiling(noise, noisy(rng.standard_normal(200), 0.01, 4, rng), rng, 50)
    assert drowned is not None
    assert drowned.value < 0.25
    assert tau_ceiling(noise[:, :1], noise, rng) is None
    assert tau_ceiling(noise, noise[:, :1], rng) is None
    assert tau_ceiling(noise, np.ones((200, 2)), rng) is None


def test_regret_of_the_best_k_by_hand() -> None:
    reference = np.array([10.0, 8.0, 7.0, 1.0])
    cheap = np.array([2.0, 3.0, 9.0, 5.0])  # puts 7 first, 1 second, 8 third
    assert [top_k_regret(cheap, reference, k) for k in (1, 2, 3, 4)] == [3, 3, 2, 0]
    shared = np.array([5.0, 5.0, 1.0, 9.0])  # 1 is first, 10 and 8 share the second place
    assert top_k_regret(shared, reference, 2) == pytest.approx((0 + 2) / 2)
    assert top_k_regret(shared, reference, 3) == 0
    assert random_regret(reference, 1) == pytest.approx(10 - 26 / 4)
    assert random_regret(reference, 2) == pytest.approx(10 - (3 * 10 + 2 * 8 + 7) / 6)
    assert random_regret(reference, 4) == 0
    for k in (0, 5):
        with pytest.raises(ValueError, match=f"top must lie between 1 and the number of variants, got top={k} for 4 variants"):
            top_k_regret(cheap, reference, k)
