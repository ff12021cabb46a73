"""Several seeds of one choice: where it stands, its mean, the front of means, and what differences between means are noise."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from studies.frames import trials_frame
from studies.pareto import pareto_front
from studies.records import Objective, Trial, TrialState
from studies.seeds import Spread, averaged, gathered, least_difference, pooled_spread, spread

OBJECTIVES = (Objective.of("top1"), Objective.of("flops"))
COMPLETE, FAILED, INFEASIBLE, QUEUED, RUNNING = (TrialState[name] for name in ("COMPLETE", "FAILED", "INFEASIBLE", "QUEUED", "RUNNING"))
values = st.lists(st.lists(st.floats(0, 1), min_size=3, max_size=3), min_size=1, max_size=8)


def trial(number: int, choice: int, seed: int, top1: float | None = None, **changes: Any) -> Trial:
    made = Trial(
        id=number,
        number=number,
        state=COMPLETE,
        params={"l3": choice},
        model=None,
        cost={"flops": 100 + choice},
        metrics={} if top1 is None else {"top1": top1, "loss": 1 - top1},
        fidelity={"epochs": 3, "seed": seed},
        seed=seed,
    )
    return replace(made, **changes)


def trials_of(rows: Sequence[Sequence[float]]) -> list[Trial]:
    """A row a choice, a column a seed."""
    return [trial(3 * i + j, i, j, top1) for i, row in enumerate(rows) for j, top1 in enumerate(row)]


@given(values, st.randoms())
def test_a_choice_is_worth_the_mean_of_its_seeds_in_whatever_order_they_ended(rows: list[list[float]], random: Any) -> None:
    trials = trials_of(rows)
    means = {one.params["l3"]: one for one in averaged(trials)}
    assert [means[i].metrics["top1"] for i in range(len(rows))] == pytest.approx([float(np.mean(row)) for row in rows])
    assert [means[i].number for i in range(len(rows))] == [3 * i for i in range(len(rows))]
    random.shuffle(trials)
    assert {one.params["l3"]: one for one in averaged(trials)} == means


@given(values)
def test_the_front_is_that_of_the_means_and_not_of_the_luckiest_seeds(rows: list[list[float]]) -> None:
    means = [sum(row) / 3 for row in rows]  # FLOPs grow from choice to choice: who is better than all that are cheaper stands on the front
    expected = {i for i, mean in enumerate(means) if all(mean > other + 1e-12 for other in means[:i])}
    possible = {i for i, mean in enumerate(means) if all(mean > other - 1e-12 for other in means[:i])}
    front = {one.params["l3"] for one in pareto_front(averaged(trials_of(rows)), OBJECTIVES)}
    assert expected <= front <= possible


def test_noise_alone_puts_a_worse_choice_on_the_front_of_single_trainings_and_not_on_that_of_means() -> None:
    lucky = [[0.80, 0.81, 0.79], [0.70, 0.71, 0.95]]
    assert {one.params["l3"] for one in pareto_front(trials_of(lucky), OBJECTIVES)} == {0, 1}
    assert {one.params["l3"] for one in pareto_front(averaged(trials_of(lucky)), OBJECTIVES)} == {0}


def test_trials_of_one_seed_are_given_back_as_they_are_even_if_a_choice_came_twice() -> None:
    trials = [trial(0, 1, 5, 0.5), trial(1, 1, 5, 0.7), trial(2, 2, 5, state=RUNNING)]
    assert averaged(trials) == averaged(trials, seeds=1) == trials
    assert averaged([]) == []


@pytest.mark.parametrize(
    ("states", "seeds", "expected"),
    [
        ([COMPLETE, COMPLETE, COMPLETE], 3, COMPLETE),
        ([COMPLETE, COMPLETE, FAILED], 3, COMPLETE),
        ([FAILED, FAILED, FAILED], 3, FAILED),
        ([COMPLETE, COMPLETE, RUNNING], 3, RUNNING),
        ([COMPLETE, QUEUED, RUNNING], 3, RUNNING),
        ([COMPLETE, QUEUED, COMPLETE], 3, QUEUED),
        ([COMPLETE, COMPLETE], 3, QUEUED),
        ([INFEASIBLE], 3, INFEASIBLE),
        ([COMPLETE, INFEASIBLE], 3, COMPLETE),
        ([INFEASIBLE, RUNNING], 3, RUNNING),
    ],
)
def test_a_choice_has_ended_when_all_its_seeds_have_or_memory_ran_out(states: list[TrialState], seeds: int, expected: TrialState) -> None:
    trials = [trial(i, 7, i, 0.1 * i if state is COMPLETE else None, state=state) for i, state in enumerate(states)]
    (standing,) = averaged(trials, seeds=seeds)
    complete = [one for one in trials if one.state is COMPLETE]
    assert standing.state is expected
    assert standing.number == (complete[0].number if complete else next(one.number for one in trials if one.state is expected))
    assert standing.metrics.get("top1", 0.0) == pytest.approx(np.mean([one.metrics["top1"] for one in complete]) if complete else 0.0)
    assert bool(pareto_front([standing], OBJECTIVES)) is (expected is COMPLETE)


def test_unless_told_a_choice_is_to_have_as_many_seeds_as_any_other_has() -> None:
    trials = [*trials_of([[0.1, 0.2, 0.3]]), trial(3, 1, 0, 0.9), trial(4, 1, 1, 0.9)]
    assert [one.state for one in averaged(trials)] == [COMPLETE, QUEUED]
    assert [one.state for one in averaged(trials, seeds=2)] == [COMPLETE, COMPLETE]
    assert [len(members) for _, members in gathered(trials)] == [3, 2]


@given(values)
def test_the_spread_is_the_sample_standard_deviation_and_pools_over_choices(rows: list[list[float]]) -> None:
    spreads = [spread(trials) for _, trials in gathered(trials_of(rows))]
    assert [found.seeds for found in spreads] == [3] * len(rows)
    assert [found.std["top1"] for found in spreads] == pytest.approx(np.std(rows, axis=1, ddof=1).tolist(), abs=1e-12)
    std, freedom = pooled_spread(spreads, "top1")
    assert freedom == 2 * len(rows)
    assert std == pytest.approx(float(np.sqrt(np.mean(np.var(rows, axis=1, ddof=1)))), abs=1e-12)
    assert pooled_spread(spreads, "seconds") == (0.0, 0)


def test_one_seed_and_a_metric_that_not_all_report_have_no_spread() -> None:
    assert spread([trial(0, 0, 0, 0.5), trial(1, 0, 1, state=FAILED)]) == Spread(1)
    unlike = [trial(0, 0, 0, 0.5), trial(1, 0, 1, 0.5, metrics={"top1": 0.7})]
    assert set(spread(unlike).std) == {"top1"}
    assert least_difference([spread(unlike)], "loss", seeds=2) is None


def test_means_of_equal_choices_differ_by_less_than_the_least_difference_in_95_percent_of_cases() -> None:
    rng, within, draws = np.random.default_rng(0), 0, 2000
    for _ in range(draws):
        rows = rng.normal(0.5, 0.02, (4, 3))
        bound = least_difference([Spread(3, {"top1": float(row.std(ddof=1))}) for row in rows], "top1", seeds=3)
        assert bound is not None
        within += abs(rows[0].mean() - rows[1].mean()) <= bound
    assert 0.935 < within / draws < 0.965


def test_a_frame_says_how_many_seeds_each_choice_has_and_how_far_they_lie_apart() -> None:
    trials = [*trials_of([[0.80, 0.82, 0.78], [0.70, 0.71, 0.95]]), trial(6, 2, 0, 0.99), trial(7, 2, 1, state=RUNNING)]
    frame = trials_frame(trials, OBJECTIVES, seeds=3)
    assert list(frame["seeds"]) == [3] * 6 + [1, 1]
    assert list(frame["top1_std"])[:3] == pytest.approx([0.02] * 3)
    assert frame["top1_std"].isna().tolist() == [False] * 6 + [True] * 2
    assert frame["on_front"].tolist() == [True] * 3 + [False] * 5
    assert list(frame["top1"])[:3] == [0.80, 0.82, 0.78]
    single = trials_frame([one for one in trials if one.seed == 0], OBJECTIVES)
    assert not [name for name in single.columns if name == "seeds" or name.endswith("_std")]
