"""Replayed orders: the hypervolume of a growing set against its definition, and claims that chance alone seldom earns."""

import moocore
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from studies.records import Objective
from studies.replay import (
    REFERENCE,
    Scale,
    Sequel,
    against_chance,
    average,
    ended_within,
    hypervolume_curve,
    lead,
    leads_by_chance,
    random_orders,
    reached,
    whole_hypervolume,
)

REPLAYS = 200
ORDERS = 199
Floats = NDArray[np.float64]


@st.composite
def clouds(draw: st.DrawFn) -> Floats:
    """Up to 20 points in [0, 1]^d on a coarse grid, so that some are equal, some of them without a result."""
    dimensions = draw(st.integers(1, 4))
    rows = draw(st.lists(st.lists(st.integers(0, 5), min_size=dimensions, max_size=dimensions), min_size=1, max_size=20))
    points = np.array(rows, dtype=float) / 5
    points[draw(st.lists(st.integers(0, len(rows) - 1), max_size=3))] = np.nan
    return points


def candidates(n: int, rng: np.random.Generator) -> Sequel:
    """What cost and accuracy look like: larger is better on the whole, and takes longer."""
    size = rng.random(n)
    points = np.stack([1 - np.clip(size**0.5 + rng.normal(0, 0.15, n), 0, 1), size], axis=1)
    return Sequel(points, 1 + 4 * size)


@given(clouds())
def test_the_curve_is_the_hypervolume_of_all_points_so_far(points: Floats) -> None:
    curve = hypervolume_curve(points)
    for i in range(len(points)):
        known = points[: i + 1][~np.isnan(points[: i + 1]).any(axis=1)]
        expected = moocore.hypervolume(known, ref=np.full(points.shape[1], REFERENCE)) if len(known) else 0.0
        assert curve[i] == pytest.approx(expected, abs=1e-12)
    assert whole_hypervolume(points) == pytest.approx(curve[-1], abs=1e-12)


@given(clouds(), st.randoms())
def test_the_end_of_the_curve_does_not_depend_on_the_order(points: Floats, random: object) -> None:
    shuffled = points[np.random.default_rng(random.randrange(1000)).permutation(len(points))]  # type: ignore[attr-defined]
    assert hypervolume_curve(shuffled)[-1] == pytest.approx(hypervolume_curve(points)[-1], abs=1e-12)


def test_a_scale_puts_the_best_at_zero_and_the_worst_at_one_whichever_way_is_better() -> None:
    known = np.array([[0.9, 4e9], [0.5, 1e9], [np.nan, np.nan]])
    scale = Scale.of(known, (Objective.of("top1"), Objective.of("flops")))
    assert (scale.best, scale.worst) == ((0.9, 1e9), (0.5, 4e9))
    assert scale.reference == pytest.approx((0.46, 4.3e9))
    assert scale.normalised(known)[:2].tolist() == [[0, 1], [1, 0]]
    assert Scale.of(np.array([[0.5]]), (Objective.of("top1"),)).normalised(np.array([[0.5]])).tolist() == [[0]]


def test_a_result_counts_from_when_its_trial_ended_and_stays() -> None:
    sequel = Sequel(np.array([[np.nan], [0.6], [0.1]]), np.array([1.0, 2.0, 3.0]), whole=REFERENCE)
    best = [(REFERENCE - value) / REFERENCE for value in (0.6, 0.1)]
    assert reached(sequel, 2).mean == reached(sequel, 2).final == 0
    assert reached(sequel, 5).mean == pytest.approx(best[0] * 2 / 5)
    assert reached(sequel, 10).mean == pytest.approx((best[0] * 3 + best[1] * 4) / 10)
    assert reached(sequel, 10).final == pytest.approx(best[1])
    assert [ended_within(sequel, budget) for budget in (0.5, 1, 5, 6)] == [0, 1, 2, 3]


def test_random_orders_of_everything_end_alike_and_differ_on_the_way() -> None:
    pool = candidates(30, np.random.default_rng(0))
    orders = random_orders(pool, float(pool.spent.sum()), np.random.default_rng(1), 50)
    assert np.ptp([order.final for order in orders]) < 1e-9
    assert np.ptp([order.mean for order in orders]) > 0.01


def test_on_shuffled_objectives_a_study_seldom_wins_against_random_orders() -> None:
    """Which result belongs to which candidate is drawn anew 200 times: whatever the order of asking, it knows nothing."""
    rng = np.random.default_rng(0)
    pool = candidates(30, rng)
    wins = 0
    for _ in range(REPLAYS):
        shuffled = Sequel(pool.points[rng.permutation(30)], pool.spent)
        budget = float(shuffled.spent.sum())
        orders = random_orders(shuffled, budget, rng, ORDERS)
        wins += against_chance(reached(shuffled, budget).mean, np.array([order.mean for order in orders])).better
    assert wins <= 0.05 * REPLAYS


def test_a_random_study_seldom_wins_against_others_of_the_same_space() -> None:
    rng = np.random.default_rng(1)
    space = candidates(60, rng)
    wins = 0
    for _ in range(REPLAYS):
        one, *others = (space.taken(rng.permutation(60)[:8]) for _ in range(2))
        wins += against_chance(lead(one, others), leads_by_chance(one, others, rng, 99)).better
    assert wins <= 0.05 * REPLAYS


def test_a_study_that_asks_the_best_first_wins_and_one_that_asks_them_last_loses() -> None:
    rng = np.random.default_rng(2)
    pool = candidates(30, rng)
    budget = float(pool.spent.sum())
    by_chance = np.array([order.mean for order in random_orders(pool, budget, rng, ORDERS)])
    best_first = np.argsort(moocore.pareto_rank(pool.points))
    first, last = (against_chance(reached(pool.taken(order), budget).mean, by_chance) for order in (best_first, best_first[::-1]))
    assert (first.better, first.worse) == (True, False)
    assert (last.better, last.worse) == (False, True)
    assert last.difference.high < 0 < first.difference.low


def test_a_study_of_the_best_candidates_wins_against_random_studies() -> None:
    rng = np.random.default_rng(3)
    space = candidates(200, rng)
    searched = space.taken(np.argsort(moocore.pareto_rank(space.points))[:30])
    others = [space.taken(rng.permutation(200)[:30]) for _ in range(3)]
    chance = against_chance(lead(searched, others), leads_by_chance(searched, others, rng, ORDERS))
    assert chance.better
    assert chance.difference.low > 0
    assert lead(searched, others[:1]) == pytest.approx(-lead(others[0], [searched]))


def test_equal_results_count_against_a_claim() -> None:
    same = against_chance(0.5, np.full(ORDERS, 0.5))
    assert same.p == same.p_worse == 1.0
    assert (same.better, same.worse) == (False, False)


def test_several_random_studies_are_averaged() -> None:
    pool = candidates(10, np.random.default_rng(3))
    results = [reached(pool.taken(np.arange(10)[::step]), 20.0) for step in (1, -1)]
    assert average(results).mean == pytest.approx((results[0].mean + results[1].mean) / 2)
    assert average(results).final == pytest.approx((results[0].final + results[1].final) / 2)


def test_points_and_spending_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="points must be"):
        Sequel(np.zeros((3, 2)), np.zeros(2))
