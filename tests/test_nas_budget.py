"""Budgets say in words what is reached, and durations are read as people write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.budget import UNITS, Budget, duration_text, parse_duration
from studies.constraints import Constraint
from studies.records import Trial, TrialState

FRESH = {"trained": 0, "elapsed": 0.0, "device_seconds": 0.0, "best": ()}


def trial(number: int, top1: float, *, state: TrialState = TrialState.COMPLETE) -> Trial:
    values = {"params": {}, "model": None, "cost": {"flops": 4_000_000_000}, "metrics": {"top1": top1}, "fidelity": {}, "seed": 0}
    return Trial(id=number, number=number, state=state, **values)  # type: ignore[arg-type]


def test_a_search_without_limits_never_ends_by_its_budget() -> None:
    assert Budget().reached(trained=10**6, elapsed=1e9, device_seconds=1e9, best=[trial(0, 1.0)]) is None


@pytest.mark.parametrize(
    ("budget", "just_short", "reached", "words"),
    [
        (Budget(trials=8), {"trained": 7}, {"trained": 8}, "8 trials are trained"),
        (Budget(seconds=7200), {"elapsed": 7199.0}, {"elapsed": 7201.0}, "the time is up: 2h of 2h"),
        (Budget(device_seconds=90), {"device_seconds": 89.0}, {"device_seconds": 90.0}, "the device time is spent: 1.5m of 1.5m"),
    ],
)
def test_each_limit_is_reached_alone_and_named(budget: Budget, just_short: dict, reached: dict, words: str) -> None:  # type: ignore[type-arg]
    assert budget.reached(**{**FRESH, **just_short}) is None
    assert words in str(budget.reached(**{**FRESH, **reached}))


def test_whichever_limit_comes_first_ends_the_search() -> None:
    budget = Budget(trials=8, seconds=60, device_seconds=100)
    assert "device time" in str(budget.reached(trained=7, elapsed=59, device_seconds=100, best=()))
    assert "time is up" in str(budget.reached(trained=7, elapsed=60, device_seconds=99, best=()))


def test_a_target_is_reached_by_one_complete_trial_that_keeps_every_bound() -> None:
    budget = Budget(until=(Constraint.parse("top1>=95%"), Constraint.parse("flops<=5G")))
    assert budget.reached(**{**FRESH, "best": [trial(0, 0.94), trial(1, 0.99, state=TrialState.PRUNED)]}) is None
    assert (
        budget.reached(**{**FRESH, "best": [trial(0, 0.9), trial(3, 0.95)]})
        == "trial 3 reached the target top1>=0.95 and flops<=5000000000"
    )
    tight = Budget(until=(Constraint.parse("top1>=95%"), Constraint.parse("flops<=3G")))
    assert tight.reached(**{**FRESH, "best": [trial(3, 0.95)]}) is None


@pytest.mark.parametrize(
    ("text", "seconds"), [("8h", 28800), ("90m", 5400), ("3600", 3600), ("1d", 86400), (" 1.5 H ", 5400), (".5s", 0.5)]
)
def test_durations_are_read_with_their_unit(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "h", "-3h", "0", "0m", "8 hours", "1h30", "1e3", "inf", "nan", "9" * 400])
def test_what_is_no_duration_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(ValueError, match=r"not a duration: .*8h or 1d") as refused:
        parse_duration(text)
    assert len(str(refused.value)) < 200


@given(st.floats(0.5, 1e7))
def test_a_shown_duration_is_within_a_twentieth_of_what_it_says(seconds: float) -> None:
    text = duration_text(seconds)
    assert parse_duration(text) == pytest.approx(seconds, abs=0.0501 * UNITS[text[-1]])


@pytest.mark.parametrize("limits", [{"trials": 0}, {"trials": 2.5}, {"seconds": 0}, {"seconds": float("nan")}, {"device_seconds": -1}])
def test_limits_that_limit_nothing_are_refused(limits: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(limits))} must be"):
        Budget(**limits)  # type: ignore[arg-type]
