"""Fronts against the definition of dominance, and what may never stand on one."""

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from studies.constraints import Constraint
from studies.frames import reports_frame, trials_frame
from studies.pareto import hypervolume, nondominated, pareto_front
from studies.records import Objective, Report, Trial, TrialState

OBJECTIVES = (Objective.of("top1"), Objective.of("flops"))
points = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=25)


def trial(number: int, top1: float | None, flops: int, *, state: TrialState = TrialState.COMPLETE, epochs: int = 3) -> Trial:
    metrics = {} if top1 is None else {"top1": float(top1)}
    values = {
        "params": {"l1": number},
        "model": None,
        "cost": {"flops": flops},
        "metrics": metrics,
        "fidelity": {"epochs": epochs},
        "seed": 0,
    }
    return Trial(id=number, number=number, state=state, **values)  # type: ignore[arg-type]


def dominates(one: tuple[int, int], other: tuple[int, int]) -> bool:
    """More of the first, less of the second."""
    return one[0] >= other[0] and one[1] <= other[1] and one != other


@given(points)
def test_the_front_is_what_nothing_dominates(drawn: list[tuple[int, int]]) -> None:
    front = pareto_front([trial(i, *point) for i, point in enumerate(drawn)], OBJECTIVES)
    expected = {i for i, point in enumerate(drawn) if not any(dominates(other, point) for other in drawn)}
    assert {t.number for t in front} == expected


@given(points, st.randoms())
def test_the_front_does_not_depend_on_the_order(drawn: list[tuple[int, int]], rng: random.Random) -> None:
    trials = [trial(i, *point) for i, point in enumerate(drawn)]
    shuffled = rng.sample(trials, len(trials))
    assert pareto_front(shuffled, OBJECTIVES) == pareto_front(trials, OBJECTIVES)


def test_only_complete_trials_of_full_fidelity_stand_on_a_front() -> None:
    trials = [
        trial(0, 0.5, 5),
        trial(1, 0.9, 1, state=TrialState.PRUNED),
        trial(2, 0.9, 1, epochs=1),
        trial(3, 0.9, 1, state=TrialState.FAILED),
        trial(4, None, 1),
    ]
    assert [t.number for t in pareto_front(trials, OBJECTIVES)] == [0]
    assert pareto_front([], OBJECTIVES) == []


@given(points, st.integers(0, 6), st.integers(0, 6))
def test_a_trial_that_breaks_a_constraint_is_as_if_it_were_not_there(drawn: list[tuple[int, int]], least: int, most: int) -> None:
    trials = [trial(i, top1 / 6, flops) for i, (top1, flops) in enumerate(drawn)]
    kept = [t for t in trials if t.metrics["top1"] >= least / 6 and t.cost["flops"] <= most]
    constraints = (Constraint("top1", ">=", least / 6), Constraint("flops", "<=", most))
    assert pareto_front(trials, OBJECTIVES, constraints) == pareto_front(kept, OBJECTIVES)


def test_hypervolume_is_the_area_in_both_directions() -> None:
    area = np.array([[3.0, 1.0], [1.0, 0.0]])
    assert hypervolume(area, OBJECTIVES, reference=[0, 2]) == pytest.approx(3 * 1 + 1 * 1)
    assert hypervolume(np.empty((0, 2)), OBJECTIVES, reference=[0, 2]) == 0
    assert nondominated(np.empty((0, 2)), OBJECTIVES).shape == (0,)


def test_frames_carry_units_choice_and_fidelity() -> None:
    frame = trials_frame([trial(0, 0.5, 5), trial(1, 0.4, 6)], OBJECTIVES)
    assert frame[["number", "top1", "flops", "param_l1", "fidelity_epochs", "on_front"]].values.tolist() == [
        [0, 0.5, 5, 0, 3, True],
        [1, 0.4, 6, 1, 3, False],
    ]
    assert list(trials_frame([], OBJECTIVES).columns)[:2] == ["number", "state"]
    assert reports_frame({3: [Report(1, {"top1": 0.1})]}).to_dict("records") == [{"number": 3, "epoch": 1, "top1": 0.1}]


def test_an_unknown_metric_or_direction_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown metric 'beauty'"):
        Objective.of("beauty")
    with pytest.raises(ValueError, match="direction must be"):
        Objective("top1", "sideways")  # type: ignore[arg-type]
