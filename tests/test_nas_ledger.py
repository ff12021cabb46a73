"""Every slot-second of a run is charged once, to what happened in it."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.ledger import CATEGORIES, WORKER, Ledger
from studies.records import TrialState
from studies.store import Store


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def pass_(self, seconds: float) -> None:
        self.now += seconds


def opened(slots: int) -> tuple[Ledger, Clock]:
    clock = Clock()
    return Ledger(slots, clock=clock), clock


def spent(ledger: Ledger) -> dict[str, float]:
    return {category: seconds for category, seconds in ledger.totals().items() if seconds}


seconds = st.floats(0, 100)
events = st.lists(
    st.one_of(
        st.tuples(st.just("pass"), seconds),
        st.tuples(st.just("started"), st.integers(0, 3)),
        st.tuples(st.just("step"), st.dictionaries(st.sampled_from(WORKER), st.floats(-5, 100))),
        st.tuples(st.just("lost"), st.none()),
        st.tuples(st.just("ended"), st.sampled_from([None, TrialState.PAUSED, *(state for state in TrialState if state.finished)])),
        st.tuples(st.just("pruned"), st.none()),
        st.tuples(st.just("doing"), st.sampled_from(["sampling", "start-up", "evaluation"])),
        st.tuples(st.just("done"), st.none()),
    ),
    max_size=60,
)


def play(ledger: Ledger, clock: Clock, drawn: list[tuple[str, object]], pick: st.DataObject) -> Iterator[None]:
    """Let the drawn events happen as far as they make sense; stops after each."""
    running: list[int] = []
    number = 0
    with ExitStack() as doing:
        for name, value in drawn:
            trial = pick.draw(st.sampled_from(running)) if running else None
            if name == "pass":
                clock.pass_(value)  # type: ignore[arg-type]
            elif name == "started":
                ledger.started(number, epoch=value)  # type: ignore[arg-type]
                running.append(number)
                number += 1
            elif name == "doing":
                doing.enter_context(ledger.time(value))  # type: ignore[arg-type]
            elif name == "done":
                doing.pop_all().close()
            elif trial is None:
                continue
            elif name == "step":
                ledger.step(trial, value, epoch=pick.draw(st.integers(1, 4)))  # type: ignore[arg-type]
            elif name == "ended":
                ledger.ended(trial, value)  # type: ignore[arg-type]
                running.remove(trial)
            else:
                getattr(ledger, name)(trial)
            yield
    for trial in running:
        ledger.ended(trial, None)
    yield


@given(st.integers(1, 3), events, st.data())
def test_the_categories_are_never_negative_and_add_up_to_wall_times_slots(
    slots: int, drawn: list[tuple[str, object]], pick: st.DataObject
) -> None:
    ledger, clock = opened(slots)
    for _ in play(ledger, clock, drawn, pick):
        assert min(ledger.totals().values()) >= -1e-9
        assert sum(ledger.totals().values()) + ledger.under_way == pytest.approx(slots * (clock.now - 1000), abs=1e-6)
    assert ledger.under_way == 0
    assert ledger.device_seconds == pytest.approx(sum(ledger.totals().values()), abs=1e-6)


def test_an_epoch_is_split_as_its_worker_measured_it_and_the_rest_is_unaccounted() -> None:
    ledger, clock = opened(1)
    ledger.started(0)
    clock.pass_(10)
    ledger.step(0, {"training": 6, "evaluation": 1, "start-up": 2}, epoch=1)  # one second before the worker began
    clock.pass_(8)
    ledger.step(0, {"training": 6, "evaluation": 1}, epoch=2)
    ledger.ended(0, TrialState.COMPLETE)
    assert spent(ledger) == {"training": 12, "evaluation": 2, "start-up": 3, "unaccounted": 1}


def test_slots_without_a_trial_are_idle_and_wait_for_the_sampler_while_it_works() -> None:
    ledger, clock = opened(3)
    ledger.started(0)
    clock.pass_(5)
    with ledger.time("sampling"):
        clock.pass_(2)
    ledger.started(1)
    clock.pass_(1)
    assert spent(ledger) == {"idle": 2 * 5 + 1, "sampling": 2 * 2}
    assert ledger.under_way == 8 + 1


def test_a_cluster_that_says_later_what_room_it_has_is_charged_for_that_room_from_then_on() -> None:
    ledger, clock = opened(1)
    with ledger.time("start-up"):
        clock.now += 5
        ledger.resize(3)
        clock.now += 1
    clock.now += 2
    assert (ledger.totals()["start-up"], ledger.totals()["idle"]) == (5 + 3, 6)
    assert ledger.device_seconds == 5 + 9
    ledger.started(0)
    with pytest.raises(ValueError, match="slots must be at least 1 and free, got slots=2 with 1 held"):
        ledger.resize(2)


def test_a_step_that_has_to_wait_for_the_sampler_is_charged_to_sampling() -> None:
    ledger, clock = opened(2)
    ledger.started(0)
    clock.pass_(3)
    ledger.step(0, {"training": 3}, epoch=1)
    with ledger.time("sampling"):
        clock.pass_(7)
    clock.pass_(1)
    ledger.step(0, {"training": 4}, epoch=2)  # it came back after 4 of the 8 seconds
    assert spent(ledger) == {"training": 7, "sampling": 7 + 4, "idle": 4}


def test_a_lost_attempt_costs_retries_and_so_do_the_epochs_that_it_makes_repeat() -> None:
    ledger, clock = opened(1)
    ledger.started(0)
    for epoch in (1, 2):
        clock.pass_(5)
        ledger.step(0, {"training": 5}, epoch=epoch)
    clock.pass_(3)
    ledger.lost(0)
    clock.pass_(6)
    ledger.step(0, {"training": 5, "start-up": 1}, epoch=2)
    clock.pass_(5)
    ledger.step(0, {"training": 5}, epoch=3)
    ledger.ended(0, TrialState.COMPLETE)
    assert spent(ledger) == {"training": 15, "retries": 3 + 5, "start-up": 1}


def test_a_trial_that_goes_on_from_another_run_repeats_what_that_run_reported() -> None:
    ledger, clock = opened(1)
    ledger.started(0, epoch=2)
    for epoch in (2, 3):
        clock.pass_(4)
        ledger.step(0, {"training": 4}, epoch=epoch)
    ledger.ended(0, TrialState.COMPLETE)
    assert spent(ledger) == {"training": 4, "retries": 4}


@pytest.mark.parametrize(("state", "category"), [(None, "retries"), (TrialState.FAILED, "retries"), (TrialState.INFEASIBLE, "unaccounted")])
def test_a_trial_that_ends_without_a_last_step_wasted_its_time_if_it_failed_or_was_stopped(state: TrialState | None, category: str) -> None:
    ledger, clock = opened(1)
    ledger.started(0)
    clock.pass_(4)
    ledger.ended(0, state)
    assert spent(ledger) == {category: 4}


def test_what_a_pruned_trial_spent_is_pruned_even_when_it_had_paused_before() -> None:
    ledger, clock = opened(1)
    for trial, state in ((0, TrialState.PRUNED), (1, TrialState.PAUSED), (2, TrialState.COMPLETE)):
        ledger.started(trial)
        clock.pass_(6)
        ledger.step(trial, {"training": 4, "evaluation": 1}, epoch=1)
        ledger.ended(trial, state)
    assert spent(ledger) == {"training": 8, "evaluation": 2, "pruned": 5, "start-up": 3}
    ledger.pruned(1)
    assert spent(ledger) == {"training": 4, "evaluation": 1, "pruned": 10, "start-up": 3}


def test_a_worker_whose_clock_runs_fast_is_never_charged_for_more_than_has_passed() -> None:
    ledger, clock = opened(1)
    ledger.started(0)
    clock.pass_(3)
    ledger.step(0, {"training": 4, "evaluation": 2}, epoch=1)
    assert spent(ledger) == {"training": 2, "evaluation": 1}


def test_a_trial_beyond_the_slots_waits_for_one_at_no_charge() -> None:
    ledger, clock = opened(1)
    ledger.started(0)
    ledger.started(1)
    clock.pass_(5)
    ledger.step(0, {"training": 5})
    ledger.ended(0, TrialState.COMPLETE)
    clock.pass_(2)
    ledger.step(1, {"training": 2})
    assert spent(ledger) == {"training": 7}


def test_what_is_flushed_is_stored_once_and_adds_up_over_drivers(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path}/nas.db")
    study = store.open("ledger", {})
    for _ in range(2):
        with store.driving(study) as lease:
            ledger, clock = opened(1)
            ledger.started(0)
            clock.pass_(4)
            ledger.step(0, {"training": 3}, epoch=1)
            ledger.flush(store, study, lease)
            ledger.flush(store, study, lease)
            ledger.ended(0, TrialState.PRUNED)
            clock.pass_(1)
            ledger.flush(store, study, lease)
    stored = {category: seconds for category, seconds in store.ledger.of(study).items() if seconds}
    assert stored == {"pruned": 6, "start-up": 2, "idle": 2}


def test_unknown_categories_and_no_slots_are_refused() -> None:
    ledger, _ = opened(1)
    with pytest.raises(ValueError, match=f"known: {', '.join(CATEGORIES)}"), ledger.time("lunch"):
        pass
    ledger.started(0)
    with pytest.raises(ValueError, match="a worker spends training, evaluation, start-up, got lunch"):
        ledger.step(0, {"lunch": 1})
    with pytest.raises(ValueError, match="slots must be at least 1, got 0"):
        Ledger(0)
