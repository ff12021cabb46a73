"""The search on both engines: what is trained, what is recorded, and what happens when something goes wrong."""

import multiprocessing
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import nas
from nas.ledger import Ledger
from nas.progress_record import Progress
from searchspace.sizes import Limit, Target
from searchspace.spaces import stacking_space
from studies.database import StoreError
from studies.records import TrialState
from studies.store import Store, StudyMismatch
from tests.evaluators import counting, troubled
from trainer.proxy_config import ProxyConfig, ProxyResult

SMALL = nas.StudyConfig(space=stacking_space(channels=[16], group_channels=[8], l1=[1, 2], l3=range(1, 7)), proxy=ProxyConfig(epochs=2))
ENGINES = ["local", pytest.param("ray", marks=[pytest.mark.cluster, pytest.mark.xdist_group("ray")])]


def calls(log: Path) -> Counter[str]:
    return Counter(log.read_text().split())


@pytest.mark.parametrize("engine", ENGINES)
def test_every_feasible_candidate_is_trained_once_and_the_rest_is_listed_with_its_reason(
    engine: str, store_url: str, tmp_path: Path
) -> None:
    log = tmp_path / "calls"
    study = nas.search(SMALL, name="s", store=store_url, engine=engine, evaluate=counting(log))
    assert set(calls(log).values()) == {1}
    assert len(calls(log)) == 11
    states = Counter(trial.state for trial in study.trials())
    assert states == {TrialState.COMPLETE: 11, TrialState.INFEASIBLE: 1}
    (infeasible,) = (trial for trial in study.trials() if trial.state is TrialState.INFEASIBLE)
    assert infeasible.params == {"channels": 16, "group_channels": 8, "l1": 2, "l3": 1}
    assert "rule 4" in (infeasible.reason or "")
    assert study.front()[0].value("top1") == 0.06
    assert {trial.fidelity["epochs"] for trial in study.front()} == {2}
    assert all(len(reports) == 2 for reports in study.store.reports(study.record).values())
    frame = study.frame()
    assert frame[frame.on_front].number.tolist() == sorted(trial.number for trial in study.front())


def test_a_search_remembers_in_postgresql_what_it_remembers_in_sqlite(any_store_url: str, tmp_path: Path) -> None:
    log = tmp_path / "calls"
    for trials in (3, 11):
        study = nas.search(SMALL, store=any_store_url, engine="local", evaluate=counting(log), trials=trials)
    assert set(calls(log).values()) == {1}
    assert [trial.params["l3"] for trial in study.front()] == [6, 5, 4, 3, 2, 1]


@pytest.mark.parametrize("engine", ENGINES)
def test_a_trial_that_goes_wrong_ends_in_its_state_with_the_reason_and_the_search_goes_on(
    engine: str, store_url: str, tmp_path: Path
) -> None:
    depths = [1, 2, 3, 4, 5] + ([6] if engine == "ray" else [])
    space = stacking_space(channels=[16], group_channels=[8], l1=[1], l3=depths)
    config = SMALL.model_copy(update={"space": space})
    study = nas.search(config, store=store_url, engine=engine, evaluate=troubled(tmp_path / "calls"), workers=1)
    found = {trial.params["l3"]: (trial.state, trial.reason) for trial in study.trials()}
    assert found[1] == found[2] == (TrialState.COMPLETE, None)
    assert found[3] == (TrialState.FAILED, "RuntimeError: no such kernel")
    assert found[4] == (TrialState.INFEASIBLE, "out of memory: tried to allocate 9 GiB")
    assert found[5] == (TrialState.FAILED, "top1 is nan after epoch 1")
    if engine == "ray":
        assert found[6][0] is TrialState.FAILED
        assert "the worker was lost 3 times" in (found[6][1] or "")
        assert calls(tmp_path / "calls")["16,8,1,6"] == 3
    assert [trial.params["l3"] for trial in study.front()] == [2, 1]


@pytest.mark.cluster
@pytest.mark.xdist_group("ray")
def test_a_trial_that_runs_out_of_memory_is_replaced_by_another(store_url: str, tmp_path: Path) -> None:
    space = stacking_space(channels=[16], group_channels=[8], l1=[1], l3=[1, 2, 4, 5, 7, 8])
    config = SMALL.model_copy(update={"space": space, "sampler": "exhaustive"})

    def misbehave(l3: int) -> None:
        time.sleep(1)
        if l3 == 4:
            raise MemoryError

    study = nas.search(config, store=store_url, workers=2, trials=3, evaluate=counting(tmp_path / "calls", misbehave))
    assert Counter(trial.state for trial in study.trials()) == {TrialState.COMPLETE: 3, TrialState.INFEASIBLE: 1}


def test_an_objective_that_is_not_reported_fails_the_trial(store_url: str) -> None:
    def silent(config: object, proxy: ProxyConfig, *, seed: int) -> Iterator[ProxyResult]:
        yield ProxyResult(epoch=2, metrics={"loss": 1.0}, fidelity=proxy.fidelity(epochs=2, seed=seed))

    with pytest.raises(nas.NasError, match="all 11 trials failed; the first: no top1 was reported"):
        nas.search(SMALL, store=store_url, engine="local", evaluate=silent)


def test_numbers_of_numpy_are_stored_and_what_is_no_number_fails_its_trial(store_url: str) -> None:
    def evaluate(config: Any, proxy: ProxyConfig, *, seed: int) -> Iterator[ProxyResult]:
        l3 = config.depths[2]
        metrics: dict[str, Any] = {"top1": np.float32(0.5), "loss": torch.tensor(1.0), **({"top5": "0.9"} if l3 == 2 else {})}
        fidelity: Any = {3: None, 4: {"images": {1, 2}}}.get(l3, {"epochs": np.int64(2), "seed": seed})
        yield ProxyResult(epoch=2, metrics=metrics, fidelity=fidelity)

    space = stacking_space(channels=[16], group_channels=[8], l1=[1], l3=[1, 2, 3, 4])
    study = nas.search(SMALL.model_copy(update={"space": space}), store=store_url, engine="local", evaluate=evaluate)
    found = {trial.params["l3"]: trial for trial in study.trials()}
    assert (found[1].state, found[1].metrics, found[1].fidelity["epochs"]) == (TrialState.COMPLETE, {"top1": 0.5, "loss": 1.0}, 2)
    assert {l3: found[l3].state for l3 in (2, 3, 4)} == dict.fromkeys((2, 3, 4), TrialState.FAILED)
    assert (found[4].reason or "").startswith("ValueError: images must be plain")


def drive(url: str, ready: Any) -> None:
    store = Store(url)
    with store.driving(store.study("stacking")):
        ready.set()
        time.sleep(60)


def test_a_second_driver_of_a_file_is_refused_until_the_first_is_gone_or_dead(store_url: str, tmp_path: Path) -> None:
    evaluate = counting(tmp_path / "calls")
    nas.search(SMALL, store=store_url, engine="local", evaluate=evaluate, trials=2)
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    first = context.Process(target=drive, args=(store_url, ready))
    first.start()
    assert ready.wait(60)
    with pytest.raises(StoreError, match="'stacking' is being searched by another process"):
        nas.search(SMALL, store=store_url, engine="local", evaluate=evaluate)
    nas.search(SMALL, name="other", store=store_url, engine="local", evaluate=evaluate, trials=1)
    first.kill()
    first.join()
    study = nas.search(SMALL, store=store_url, engine="local", evaluate=evaluate)
    assert sum(trial.state is TrialState.COMPLETE for trial in study.trials()) == 11


class StopAfter:
    """A listener that interrupts once so many trials have ended and another is on its way."""

    def __init__(self, done: int) -> None:
        self.done = done

    def __call__(self, progress: Progress) -> None:
        if progress.done >= self.done and progress.running and progress.running[0].metrics:
            raise KeyboardInterrupt


def test_an_interrupted_search_goes_on_and_repeats_no_finished_trial(store_url: str, tmp_path: Path) -> None:
    log = tmp_path / "calls"
    for done in (3, 7):
        with pytest.raises(KeyboardInterrupt):
            nas.search(SMALL, store=store_url, engine="local", evaluate=counting(log), listener=StopAfter(done))
        states = Counter(trial.state for trial in Store(store_url).trials(Store(store_url).study("stacking")))
        assert states[TrialState.RUNNING] == 0
        assert states[TrialState.QUEUED] == 1
        assert states[TrialState.COMPLETE] == done
    study = nas.search(SMALL, store=store_url, engine="local", evaluate=counting(log))
    assert Counter(calls(log).values()) == {1: 9, 2: 2}  # the two that were on their way began again
    assert [trial.number for trial in study.trials()] == list(range(12))
    assert {trial.state for trial in study.trials()} == {TrialState.COMPLETE, TrialState.INFEASIBLE}


@pytest.mark.parametrize("engine", ENGINES)
def test_a_store_that_fails_under_a_search_is_one_clear_error(engine: str, store_url: str, tmp_path: Path) -> None:
    def disk_full(progress: Progress) -> None:
        if progress.done == 2:
            raise StoreError("the store failed: database or disk is full")

    with pytest.raises(StoreError, match="disk is full"):
        nas.search(SMALL, store=store_url, engine=engine, evaluate=counting(tmp_path / "calls"), listener=disk_full)
    study = nas.search(SMALL, store=store_url, engine="local", evaluate=counting(tmp_path / "calls"))
    assert Counter(trial.state for trial in study.trials()) == {TrialState.COMPLETE: 11, TrialState.INFEASIBLE: 1}


def test_the_number_of_trials_is_the_total_that_the_study_shall_have(store_url: str, tmp_path: Path) -> None:
    log = tmp_path / "calls"
    for trials, trained in ((4, 4), (4, 4), (2, 4), (7, 7), (50, 11)):
        study = nas.search(SMALL, store=store_url, engine="local", evaluate=counting(log), trials=trials)
        assert sum(trial.state is TrialState.COMPLETE for trial in study.trials()) == trained
    assert set(calls(log).values()) == {1}


@pytest.mark.parametrize("sampler", ["tpe", "random", "auto"])
def test_the_same_seed_gives_the_same_trials_and_another_seed_others(sampler: str, tmp_path: Path) -> None:
    def chosen(seed: int, file: str) -> list[str]:
        space = stacking_space(channels=[16, 32, 48, 64], group_channels=[8, 16], l1=[1, 2, 3], l3=range(3, 9))
        config = nas.StudyConfig(space=space, proxy=SMALL.proxy, seed=seed, sampler=sampler)
        url = f"sqlite:///{tmp_path / file}"
        study = nas.search(config, store=url, engine="local", evaluate=counting(tmp_path / "calls"), trials=20)
        return [str(trial.params) for trial in study.trials() if trial.state is TrialState.COMPLETE]

    first = chosen(0, "a.db")
    assert len(set(first)) == 20
    assert chosen(0, "b.db") == first
    assert chosen(1, "c.db") != first


def test_a_search_in_many_pieces_proposes_nothing_twice(store_url: str, tmp_path: Path) -> None:
    space = stacking_space(channels=[16, 32, 48], group_channels=[8], l1=[1, 2], l3=range(2, 9))
    config = nas.StudyConfig(space=space, proxy=SMALL.proxy, sampler="tpe")
    for trials in (5, 12, 13, 20):
        nas.search(config, store=store_url, engine="local", evaluate=counting(tmp_path / "calls"), trials=trials)
    assert set(calls(tmp_path / "calls").values()) == {1}
    assert len(calls(tmp_path / "calls")) == 20


def test_tpe_finds_the_best_of_a_plain_landscape_sooner_than_chance(tmp_path: Path) -> None:
    space = stacking_space(channels=range(16, 17), group_channels=[8], l1=[1], l3=range(1, 201))

    def best(sampler: str, seed: int) -> float:
        config = nas.StudyConfig(space=space, proxy=SMALL.proxy, sampler=sampler, seed=seed, objectives=["top1"])
        url = f"sqlite:///{tmp_path / f'{sampler}{seed}.db'}"
        peak = counting(tmp_path / "calls", top1=lambda config: 1 - abs(config.depths[2] - 137) / 200)
        return nas.search(config, store=url, engine="local", evaluate=peak, trials=30).front()[0].value("top1") or 0.0

    seeds = range(4)
    assert sum(best("tpe", seed) for seed in seeds) > sum(best("random", seed) for seed in seeds)


def test_a_search_in_which_everything_fails_says_so(store_url: str, tmp_path: Path) -> None:
    def fail(l3: int) -> None:
        raise OSError("disk on fire")

    with pytest.raises(nas.NasError, match=r"all 11 trials failed; the first: OSError: disk on fire"):
        nas.search(SMALL, store=store_url, engine="local", evaluate=counting(tmp_path / "calls", fail))


def test_a_search_that_ends_by_its_budget_before_anything_is_trained_says_so(store_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]  # a clock that stands still until the first epoch
    monkeypatch.setattr("nas.api.Ledger", partial(Ledger, clock=lambda: now[0]))

    def slowly(config: Any, proxy: ProxyConfig, *, seed: int) -> Iterator[ProxyResult]:
        for epoch in (1, 2):
            now[0] += 0.1
            yield ProxyResult(epoch=epoch, metrics={"top1": 0.5}, fidelity=proxy.fidelity(epochs=epoch, seed=seed))

    with pytest.raises(
        nas.NasError, match=r"ended before a trial was trained \(the time is up: .*\); with more of it the same command goes"
    ):
        nas.search(SMALL, store=store_url, engine="local", evaluate=slowly, budget=nas.Budget(seconds=0.05))
    store = Store(store_url)
    states = Counter(trial.state for trial in store.trials(store.study("stacking")))
    assert (states[TrialState.QUEUED], states[TrialState.COMPLETE]) == (1, 0)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_search_whose_store_is_deleted_ends_with_an_error(engine: str, store_url: str, tmp_path: Path) -> None:
    def delete(progress: Progress) -> None:
        if progress.done == 2:
            Path(store_url.removeprefix("sqlite:///")).unlink(missing_ok=True)

    with pytest.raises(StoreError, match=r"nas\.db was deleted, moved or replaced while it was being written"):
        nas.search(SMALL, store=store_url, engine=engine, evaluate=counting(tmp_path / "calls"), listener=delete)
    assert len(calls(tmp_path / "calls")) < 11


def test_bad_input_leaves_no_study_behind(store_url: str, tmp_path: Path) -> None:
    empty = nas.StudyConfig(space=stacking_space(target=Target(1_000_000)))
    undividable = nas.StudyConfig(space=stacking_space(channels=[18], group_channels=[6], l1=[1], l3=[1]))
    for config, options, message in (
        (empty, {}, "nearest reachable"),
        (undividable, {}, "channel divisor"),
        (SMALL, {"engine": "cloud"}, "unknown engine 'cloud'; known: local, ray"),
        (SMALL, {"trials": 0}, "trials must be whole and at least 1"),
        (SMALL, {"workers": 0}, "workers must be at least 1"),
        (SMALL, {"engine": "local", "workers": 2}, "one trial at a time"),
        (SMALL, {"engine": "local", "gpus_per_trial": 0.5}, "has no use for gpus=0.5"),
        (SMALL, {"gpus_per_trial": 2.0}, "only the real training shares a trial"),
        (SMALL, {"ray_address": "ray://head:10001"}, "run the driver on the cluster"),
        (SMALL, {"checkpoints": "s3://"}, "a URL names its bucket"),
        (SMALL, {"checkpoints": "caf\udce9"}, "checkpoints must be UTF-8"),
        (SMALL, {"name": "caf\udce9"}, "the name of a study must be UTF-8"),
    ):
        with pytest.raises(ValueError, match=message):
            nas.search(config, store=store_url, evaluate=counting(tmp_path / "calls"), **options)
    assert not Path(store_url.removeprefix("sqlite:///")).exists()


def test_another_configuration_under_the_same_name_is_refused_with_the_difference(store_url: str, tmp_path: Path) -> None:
    nas.search(SMALL, store=store_url, engine="local", evaluate=counting(tmp_path / "calls"), trials=1)
    other = SMALL.model_copy(update={"proxy": ProxyConfig(epochs=3)})
    with pytest.raises(StudyMismatch, match=r"proxy\.epochs is 2, asked 3"):
        nas.search(other, store=store_url, engine="local", evaluate=counting(tmp_path / "calls"))


def test_a_study_configuration_survives_json_and_refuses_what_it_does_not_know() -> None:
    limited = nas.StudyConfig(space=stacking_space(limits=[Limit("flops", 5 * 10**9)]), objectives=["top1", "params"], seed=3)
    assert nas.StudyConfig.from_dict(limited.to_dict()) == limited
    for values, message in (
        ({"colour": 1}, "colour"),
        ({"objectives": ["beauty"]}, "objectives: unknown metric 'beauty'"),
        ({"objectives": ["top1", "top1"]}, "different objectives"),
        ({"proxy": {"epochs": 0}}, "proxy: epochs must be whole"),
        ({"space": {"name": "moon"}}, "space: unknown space 'moon'"),
        ({"sampler": "oracle"}, "sampler"),
        ([], "expected a mapping"),
    ):
        with pytest.raises(ValueError, match=message):
            nas.StudyConfig.from_dict(values)


def test_the_time_left_shrinks_to_nothing(store_url: str, tmp_path: Path) -> None:
    seen: list[Progress] = []

    def slow(l3: int) -> None:
        time.sleep(0.02)

    nas.search(SMALL, store=store_url, engine="local", evaluate=counting(tmp_path / "calls", slow), listener=seen.append)
    left = [progress.seconds_left for progress in seen if progress.seconds_left is not None]
    assert left[-1] == 0
    assert left[1] > 0.1  # the first comes before the first pause
    assert [progress.done for progress in seen] == sorted(progress.done for progress in seen)
    assert seen[-1].best is not None
    assert seen[-1].best.value("top1") == 0.06


@pytest.mark.cluster
@pytest.mark.xdist_group("ray")
def test_both_engines_measure_the_same_to_the_bit(tmp_path: Path) -> None:
    config = nas.StudyConfig(
        space=stacking_space(channels=[16], group_channels=[8], l1=[1], l3=[1, 2]), proxy=ProxyConfig(epochs=2, train_fraction=0.1)
    )
    measured = []
    for engine, workers in (("local", 1), ("local", 1), ("ray", 1), ("ray", 2)):
        study = nas.search(config, store=f"sqlite:///{tmp_path / f'{len(measured)}.db'}", engine=engine, workers=workers)
        reports = study.store.reports(study.record)
        trials = {trial.number: str(trial.params) for trial in study.trials()}
        measured.append({(trials[n], r.step): (r.metrics["top1"], r.metrics["loss"]) for n, of_trial in reports.items() for r in of_trial})
    assert len(measured[0]) == 4
    assert measured.count(measured[0]) == 4
