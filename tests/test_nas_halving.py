"""Early stopping: who is among the best of a rung, and what becomes of trials that are stopped, paused, promoted and taken up again."""

import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.budget import Budget
from nas.progress_record import Progress
from nas.rungs import Rungs, crowding_distance, ranking
from studies.constraints import Constraint
from studies.halving import Halving
from studies.pareto import pareto_front
from studies.records import NewTrial, Objective, Report, Trial, TrialState
from tests.driven import Found, Search, depths_study
from tests.evaluators import resumable

TOP1 = (Objective.of("top1"),)
SEVERAL = (Objective.of("top1"), Objective.of("flops"), Objective.of("loss"))
few = st.integers(0, 4).map(lambda quarters: quarters / 4)  # so that equal values are common


def trial(number: int, epochs: int = 1, *, state: TrialState = TrialState.RUNNING, **values: float) -> Trial:
    cost = {"flops": int(values.pop("flops", 1))}
    record: dict[str, Any] = {"id": number, "params": {"l3": number}, "model": None, "seed": 0, "fidelity": {"epochs": epochs}}
    return Trial(number=number, state=state, cost=cost, metrics=values, **record)


def filled(rungs: Rungs, points: list[tuple[float, float, float]], order: list[int] | None = None) -> Rungs:
    for number in range(len(points)) if order is None else order:
        top1, flops, loss = points[number]
        measured = trial(number, top1=top1, flops=flops, loss=loss)
        assert rungs.add(measured, Report(1, measured.metrics))
    return rungs


def test_the_rungs_lie_below_the_last_epoch_and_grow_by_eta() -> None:
    assert Halving(eta=3, min_epochs=1).milestones(27) == (1, 3, 9)
    assert Halving(eta=2, min_epochs=3).milestones(13) == (3, 6, 12)
    assert Halving(eta=4, min_epochs=8).milestones(8) == ()


@given(st.lists(few, min_size=1, max_size=40), st.sampled_from([2, 3, 4]), st.sampled_from(["stop", "promote"]))
def test_with_one_objective_the_best_of_every_eta_go_on_and_the_earlier_of_equals(values: list[float], eta: int, mode: Any) -> None:
    rungs = filled(Rungs(Halving(mode=mode, eta=eta), 9, TOP1), [(value, 1.0, 1.0) for value in values])
    count = math.ceil(len(values) / eta) if mode == "stop" else len(values) // eta
    best = sorted(range(len(values)), key=lambda number: (-values[number], number))[:count]
    assert [number for number in range(len(values)) if rungs.goes_on(number, 1)] == sorted(best)


@given(st.lists(st.tuples(few, few, few), min_size=1, max_size=25), st.randoms(use_true_random=False))
def test_the_order_of_reports_changes_nothing_and_nobody_ranks_before_one_who_dominates_it(points: list[Any], random: Any) -> None:
    order = random.sample(range(len(points)), len(points))
    one, other = (filled(Rungs(Halving(), 9, SEVERAL), points, numbers) for numbers in (None, order))
    assert one.contents() == other.contents()
    assert [one.goes_on(number, 1) for number in range(len(points))] == [other.goes_on(number, 1) for number in range(len(points))]
    costs = {number: (-top1, flops, loss) for number, (top1, flops, loss) in enumerate(points)}
    ranked = ranking(costs)
    assert sorted(ranked) == sorted(costs)
    for place, worse in enumerate(ranked):
        for better in ranked[place + 1 :]:
            dominates = all(a <= b for a, b in zip(costs[better], costs[worse], strict=True)) and costs[better] != costs[worse]
            assert not dominates


@given(st.lists(st.tuples(st.integers(0, 9).map(float), st.integers(0, 9).map(float)), min_size=3, max_size=15, unique=True))
def test_of_one_front_the_ends_come_first_and_then_those_with_the_most_room(points: list[tuple[float, float]]) -> None:
    front = np.array([point for point in points if not any(q != point and q[0] <= point[0] and q[1] <= point[1] for q in points)])
    distance = crowding_distance(front)
    for column in (0, 1):
        assert math.isinf(distance[front[:, column].argmin()])
        assert math.isinf(distance[front[:, column].argmax()])
    by_first = front[front[:, 0].argsort()]
    spread = by_first[-1] - by_first[0]
    for before, point, after in zip(by_first, by_first[1:], by_first[2:], strict=False):
        (here,) = distance[(front == point).all(axis=1)]
        assert here == pytest.approx(sum(abs((after - before) / spread)))


@given(st.lists(few, min_size=1, max_size=20), few)
def test_a_trial_that_breaks_an_outcome_constraint_ranks_behind_all_that_keep_it(values: list[float], bound: float) -> None:
    rungs = Rungs(Halving(eta=2), 9, (Objective.of("loss"),), [Constraint("top1", ">=", bound)])
    filled(rungs, [(value, 1.0, value) for value in values])  # the better the loss, the worse the accuracy
    goes_on = [rungs.goes_on(number, 1) for number in range(len(values))]
    kept = [value >= bound for value in values]
    if any(going and not keeps for going, keeps in zip(goes_on, kept, strict=True)):
        assert all(going for going, keeps in zip(goes_on, kept, strict=True) if keeps)


def test_what_cannot_be_compared_does_not_stand_on_a_rung() -> None:
    rungs = Rungs(Halving(), 9, SEVERAL)
    assert not rungs.add(trial(0, top1=0.5, flops=3), Report(1, {"top1": 0.5}))
    whole = trial(1, top1=0.5, loss=1.0, flops=3)
    assert not rungs.add(whole, Report(2, whole.metrics))
    assert rungs.add(whole, Report(1, whole.metrics))
    assert [len(rung) for rung in rungs.contents().values()] == [1, 0]


@given(st.lists(few, min_size=1, max_size=30), st.sampled_from([2, 3]))
def test_promotion_takes_the_best_waiting_trial_of_the_highest_rung_and_never_more_than_one_in_eta(values: list[float], eta: int) -> None:
    halving = Halving(mode="promote", eta=eta)
    rungs, paused, promoted = Rungs(halving, eta * eta + 1, TOP1), {}, Counter[int]()
    for number, value in enumerate(values):
        rungs.add(new := trial(number, 1, top1=value), Report(1, new.metrics))
        paused[number] = trial(number, 1, state=TrialState.PAUSED, top1=value)
        while (best := rungs.promotable(paused)) is not None:
            milestone = best.fidelity["epochs"]
            waiting = [other for other in paused.values() if other.fidelity["epochs"] == milestone]
            assert best.metrics["top1"] == max(other.metrics["top1"] for other in waiting)
            promoted[milestone] += 1
            del paused[best.number]
            if milestone < eta:
                rungs.add(best, Report(eta, best.metrics))
                paused[best.number] = trial(best.number, eta, state=TrialState.PAUSED, **best.metrics)
        for milestone, rung in rungs.contents().items():
            assert promoted[milestone] <= len(values)
            if milestone == 1:
                assert promoted[1] >= len(rung) // eta  # every place is given to somebody


def epochs(log: Path) -> Counter[str]:
    """How often each epoch of each variant was worked."""
    return Counter(log.read_text().split())


def test_a_stopped_trial_keeps_its_own_fidelity_and_never_stands_on_the_front(store_url: str, tmp_path: Path) -> None:
    config = depths_study(range(1, 10), epochs=9, halving=Halving(), objectives=["loss", "flops"])
    falling = resumable(tmp_path / "log", metrics=lambda l3, epoch: {"top1": 0.1, "loss": l3 + 1 / epoch})
    found = Search(config=config, url=store_url, evaluate=falling).run()
    stopped = [trial for trial in found.trials if trial.state is TrialState.PRUNED]
    assert [trial.state for trial in found.trials[:1]] == [TrialState.COMPLETE]
    assert len(stopped) == 8  # the first has the best loss and the fewest FLOPs
    for place, ended in enumerate(stopped, start=2):
        assert ended.fidelity["epochs"] == 1
        needed = -(-place // 3)
        assert ended.reason == f"place {place} of {place} after 1 epoch, needed {needed}" + (" or better" if needed > 1 else "")
        assert [report.step for report in found.reports[ended.number]] == [1]
    assert pareto_front(found.trials, config.objectives) == [found.trials[0]]
    assert sum(epochs(tmp_path / "log").values()) == 9 + 8


def test_a_promoted_trial_goes_on_from_its_rung_and_those_never_promoted_end_pruned(store_url: str, tmp_path: Path) -> None:
    config = depths_study([5, 1, 9, 2, 8, 3, 7, 4, 6], epochs=9, halving=Halving(mode="promote"))
    search = Search(config=config, url=store_url, evaluate=resumable(tmp_path / "log"), checkpoints=tmp_path / "checkpoints")
    found = search.run()
    assert set(epochs(tmp_path / "log").values()) == {1}  # a promotion repeats nothing
    assert {depth for depth, trial in found.by_depth().items() if trial.fidelity["epochs"] == 9} == {9}
    assert found.count(TrialState.PAUSED) == 0
    assert found.count(TrialState.COMPLETE) == 1
    after_rung = [depth for depth, trial in found.by_depth().items() if trial.fidelity["epochs"] >= 3]
    assert len(after_rung) >= 3
    assert {7, 8, 9} <= set(after_rung)
    assert found.by_depth()[1].reason == "place 9 of 9 after 1 epoch, needed 3 or better"
    assert found.by_depth()[9].attempts == 2 + (found.by_depth()[9].attempts > 2)
    assert not list((tmp_path / "checkpoints").glob("*"))
    again = search.run()
    assert again.table() == found.table()
    assert sum(epochs(tmp_path / "log").values()) == sum(trial.fidelity["epochs"] for trial in found.trials)


def test_when_the_target_is_reached_waiting_trials_wait_on_and_the_next_run_promotes_them(store_url: str, tmp_path: Path) -> None:
    config = depths_study(range(1, 10), epochs=9, halving=Halving(mode="promote"))
    seen: list[Progress] = []

    def search(**changes: Any) -> Search:
        defaults: dict[str, Any] = {"config": config, "url": store_url, "evaluate": resumable(tmp_path / "log")}
        return Search(**{**defaults, "checkpoints": tmp_path / "checkpoints", **changes})

    target = Budget(until=(Constraint("top1", ">=", 0.05),))  # met by the first trial that is promoted to the end
    part = search(budget=target, options={"listener": seen.append}).run()
    assert seen[-1].ended == "trial 4 reached the target top1>=0.05"
    assert part.count(TrialState.PAUSED) == seen[-1].paused > 0
    whole = search().run()
    assert whole.count(TrialState.PAUSED) == whole.count(TrialState.RUNNING) == 0
    assert whole.table() == search(name="undisturbed").run().table()


def test_what_a_dead_driver_reported_but_could_not_decide_is_decided_without_training_it_again(store_url: str, tmp_path: Path) -> None:
    config = depths_study([3, 1], epochs=3, halving=Halving(eta=2))
    search = Search(config=config, url=store_url, evaluate=resumable(tmp_path / "log"))
    store = search.store()
    study = store.open(search.name, config.to_dict())
    candidates = config.space.feasible()
    new = [NewTrial(params=each.params, seed=0, model=each.config.to_dict() if each.config else None) for each in candidates]
    for trial, last in zip(store.add(study, new, driver="dead"), (3, 1), strict=True):
        for epoch in range(1, last + 1):
            fidelity = config.proxy.fidelity(epochs=epoch, seed=0)
            store.report(trial, Report(epoch, {"top1": trial.params["l3"] / 100}), fidelity=fidelity)
    found = search.run()
    assert [(trial.state, trial.fidelity["epochs"]) for trial in found.trials] == [(TrialState.COMPLETE, 3), (TrialState.PRUNED, 1)]
    assert {number: len(reports) for number, reports in found.reports.items()} == {0: 3, 1: 1}
    assert not (tmp_path / "log").exists()


class InterruptAt:
    """A listener that interrupts when it hears for the n-th time where the search stands."""

    def __init__(self, n: int) -> None:
        self._left = n

    def __call__(self, progress: Progress) -> None:
        self._left -= 1
        if self._left == 0:
            raise KeyboardInterrupt


@pytest.mark.parametrize("mode", ["stop", "promote"])
@pytest.mark.parametrize("resumes", [True, False])
@settings(max_examples=4)
@given(data=st.data())
def test_after_a_restart_the_rungs_hold_what_they_held(
    mode: Any, resumes: bool, tmp_path_factory: pytest.TempPathFactory, data: Any
) -> None:
    folder = tmp_path_factory.mktemp("search")  # one for each example
    depths = data.draw(st.permutations(range(1, 8)))
    config = depths_study(depths, epochs=5, halving=Halving(mode=mode, eta=2), objectives=["top1", "flops"])

    def search(name: str, **options: Any) -> Search:
        checkpoints = folder / name if resumes else None
        evaluate = resumable(folder / f"{name}.log")
        return Search(
            config=config, url=f"sqlite:///{folder}/nas.db", name=name, evaluate=evaluate, checkpoints=checkpoints, options=options
        )

    heard: list[Progress] = []
    undisturbed = search("undisturbed", listener=heard.append).run()
    cuts = data.draw(st.lists(st.integers(1, len(heard)), min_size=1, max_size=3))
    for cut in cuts:
        try:
            search("cut", listener=InterruptAt(cut)).run()
        except KeyboardInterrupt:
            assert search("cut").found().count(TrialState.RUNNING) == 0
    found = search("cut").run()
    assert found.table() == undisturbed.table()
    assert steps(found) == steps(undisturbed)
    if resumes:
        assert set(epochs(folder / "cut.log").values()) == {1}


def steps(found: Found) -> dict[int, list[int]]:
    return {number: [report.step for report in reports] for number, reports in found.reports.items()}
