"""How many trials share a device, and what becomes of one that does not find the memory it needs there."""

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import nas
from nas.driver import Driver
from nas.engine.ray_tune import run_ray
from nas.errors import NasError
from nas.job import Execution
from nas.ledger import Ledger
from nas.packing import USABLE, Slots, gpu_slots, slots_on, trial_bytes
from nas.preflight import Asked, slots_for
from nas.premeasure import REAL, Premeasuring
from searchspace.spaces import stacking_space
from studies.records import TrialState
from studies.store import Store
from trainer.proxy_config import ProxyConfig, ProxyResult

GIB = 2**30
PATIENCE_S = 60  # with a worker that takes long to start
PROXY = ProxyConfig(device="cuda", epochs=1)
CONFIGS = [candidate.config for candidate in stacking_space().feasible() if candidate.config is not None][::9]


@given(
    memory=st.lists(st.integers(4 * GIB, 200 * GIB), min_size=1, max_size=8),
    processors=st.integers(1, 128),
    data=st.integers(0, 20 * GIB),
    batch=st.sampled_from([2, 32, 512]),
)
def test_what_shares_a_gpu_is_predicted_to_fit_it(memory: list[int], processors: int, data: int, batch: int) -> None:
    proxy = replace(PROXY, batch_size=batch, image_size=64)
    slots = gpu_slots(CONFIGS, proxy, memory, processors=processors, data_bytes=data)
    each = slots.workers // len(memory)
    largest = max(trial_bytes(config, proxy) for config in CONFIGS) + data
    assert slots.workers == each * len(memory)
    assert slots.gpus * each == pytest.approx(1)
    assert each == 1 or (each * largest <= USABLE * min(memory) and each <= processors)
    assert (each + 1) * largest > USABLE * min(memory) or len(memory) * (each + 1) > processors


def test_many_small_trials_share_a_gpu_and_large_ones_do_not() -> None:
    assert gpu_slots(CONFIGS, PROXY, [80 * GIB], processors=64).workers > 20
    assert gpu_slots(CONFIGS, replace(PROXY, channel_divisor=1, batch_size=512, image_size=224), [80 * GIB], processors=64).workers == 1


@pytest.mark.parametrize(("gpus", "workers", "each"), [(2, 3, 0.5), (2, 5, 1 / 3), (4, 3, 1.0), (4, 6, 0.5), (1, 3, 1 / 3)])
def test_as_many_trials_as_asked_for_find_room_on_the_gpus(gpus: int, workers: int, each: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: gpus)
    monkeypatch.setattr("torch.cuda.get_device_properties", lambda _: SimpleNamespace(total_memory=80 * GIB))
    slots = slots_for(nas.StudyConfig(proxy=PROXY), Asked(workers=workers), 0)
    assert slots.gpus == pytest.approx(each)
    assert slots_on([{"CPU": 64.0, "GPU": float(gpus)}], slots).workers == workers


NODES = st.lists(st.fixed_dictionaries({"CPU": st.integers(0, 64).map(float), "GPU": st.integers(0, 8).map(float)}), min_size=1, max_size=5)
SHARES = st.sampled_from([0.0, 0.1, 0.25, 0.3, 0.5, 1.0, 2.0, 4.0])


@given(nodes=NODES, workers=st.integers(0, 40), cpus=st.sampled_from([0.5, 1.0, 3.0, 8.0]), gpus=SHARES)
def test_as_many_trials_run_as_can_be_placed_and_one_more_cannot(
    nodes: list[dict[str, float]], workers: int, cpus: float, gpus: float
) -> None:
    asked = Slots(workers=workers, cpus=cpus, gpus=gpus)
    pieces = placed(nodes, cpus / asked.ranks, gpus / asked.ranks)
    if pieces < asked.ranks:
        with pytest.raises(NasError, match=r"no trial finds room: each asks for .* and the cluster has .* CPU"):
            slots_on(nodes, asked)
        return
    assert slots_on(nodes, asked) == replace(asked, workers=min(workers or 1000, pieces // asked.ranks))


def placed(nodes: list[dict[str, float]], cpus: float, gpus: float) -> int:
    """How many processes Ray would place, one after the other: each on a GPU with enough of it left."""
    count = 0
    for node in nodes:
        left, shares = node["CPU"], [1.0] * int(node["GPU"])
        while left >= cpus - 1e-9 and (gpus == 0 or any(share >= gpus - 1e-9 for share in shares)):
            if gpus:
                shares[next(gpu for gpu, share in enumerate(shares) if share >= gpus - 1e-9)] -= gpus
            left, count = left - cpus, count + 1
    return count


def test_what_is_missing_is_said_with_what_the_nodes_have() -> None:
    nodes = [{"CPU": 8.0, "GPU": 4.0}, {"CPU": 8.0, "GPU": 4.0}, {"CPU": 2.0, "memory": 1e9}]
    with pytest.raises(NasError, match=r"each asks for 8 CPU, 9 GPU, and the cluster has 2 x \(8 CPU, 4 GPU\); 2 CPU, 0 GPU; ask for less"):
        slots_on(nodes, Slots(cpus=8, gpus=9))
    assert slots_on(nodes, Slots(cpus=8, gpus=8)) == Slots(workers=1, cpus=8, gpus=8)  # its processes are on two nodes


@pytest.mark.parametrize(
    ("settings", "rule"),
    [
        ({"gpus": 1.5}, "at most 1 or a whole number, got 1.5"),
        ({"gpus": -1}, "got -1"),
        ({"cpus": 0}, "above 0"),
        ({"workers": -1}, "at least 1"),
    ],
)
def test_what_no_machine_could_give_is_refused(settings: dict[str, Any], rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        Slots(**settings)


@pytest.mark.cluster
@pytest.mark.xdist_group("ray")
def test_no_more_trials_run_on_a_gpu_than_its_share_allows(store_url: str, tmp_path: Path) -> None:
    running, most = tmp_path / "running", tmp_path / "most"
    running.mkdir()

    def evaluate(config: Any, proxy: Any, *, seed: int) -> Iterator[Any]:
        from trainer.proxy_config import ProxyResult

        mine, waited = running / config.short_name, time.monotonic() + PATIENCE_S
        mine.touch()
        try:
            while len(list(running.iterdir())) < 2 and not most.exists() and time.monotonic() < waited:
                time.sleep(0.01)
            time.sleep(1)  # long enough for another, were there room for it
            with most.open("a") as file:
                file.write(f"{len(list(running.iterdir()))}\n")
        finally:
            mine.unlink()
        yield ProxyResult(epoch=1, metrics={"top1": 0.5}, fidelity=proxy.fidelity(epochs=1, seed=seed))

    with small_driver(store_url, [1, 2, 3, 4, 5], 4) as driver:
        run_ray(driver, Slots(workers=4, gpus=0.5, logical_gpus=1), evaluate, Execution())
    beside = [int(line) for line in most.read_text().split()]
    assert len(beside) == 5
    assert max(beside) == 2


@pytest.mark.cluster
@pytest.mark.xdist_group("ray")
def test_a_trial_that_runs_out_of_shared_memory_is_trained_again_alone(store_url: str, tmp_path: Path) -> None:
    running, calls = tmp_path / "running", tmp_path / "calls"
    running.mkdir()
    calls.touch()

    def evaluate(config: Any, proxy: Any, *, seed: int) -> Iterator[Any]:
        from trainer.proxy_config import ProxyResult

        depth, mine, waited = config.depths[2], running / config.short_name, time.monotonic() + PATIENCE_S
        company = depth == 2 and str(depth) not in calls.read_text().split()
        mine.touch()
        with calls.open("a") as file:
            file.write(f"{depth}\n")
        try:
            while company and len(list(running.iterdir())) == 1 and time.monotonic() < waited:
                time.sleep(0.01)
            others = len(list(running.iterdir())) - 1
            time.sleep(1)
        finally:
            mine.unlink()
        if depth == 5 or (depth == 2 and others):
            raise MemoryError(f"{others} beside")
        yield ProxyResult(epoch=1, metrics={"top1": float(others)}, fidelity=proxy.fidelity(epochs=1, seed=seed))

    with small_driver(store_url, [1, 2, 3, 4, 5], 2) as driver:
        run_ray(driver, Slots(workers=2), evaluate, Execution())
    found = {trial.params["l3"]: trial for trial in driver.finished}
    assert Counter(trial.state for trial in found.values()) == {TrialState.COMPLETE: 4}
    assert found[2].metrics["top1"] == 0
    assert Counter(calls.read_text().split())["2"] == 2
    stored = {trial.params["l3"]: trial for trial in Store(store_url).trials(driver.study)}
    assert (stored[5].state, stored[5].reason) == (TrialState.INFEASIBLE, "out of memory: 0 beside")


@contextmanager
def small_driver(store_url: str, depths: list[int], workers: int) -> Iterator[Driver]:
    space = stacking_space(channels=[16], group_channels=[8], l1=[1], l3=depths)
    config = nas.StudyConfig(space=space, proxy=ProxyConfig(epochs=1), objectives=["top1"])
    store = Store(store_url)
    study = store.open("small", config.to_dict())
    with store.driving(study) as lease:
        yield Driver(store, study, config, Premeasuring(store, study, config, REAL, None).plan(), lease=lease, ledger=Ledger(workers))


def test_a_trial_alone_in_its_memory_is_not_tried_twice(store_url: str) -> None:
    calls: list[int] = []

    def evaluate(config: Any, proxy: ProxyConfig, *, seed: int) -> Iterator[ProxyResult]:
        calls.append(config.depths[2])
        if config.depths[2] == 2:
            raise MemoryError
        yield ProxyResult(epoch=1, metrics={"top1": 0.5}, fidelity=proxy.fidelity(epochs=1, seed=seed))

    space = stacking_space(channels=[16], group_channels=[8], l1=[1], l3=[1, 2, 3])
    config = nas.StudyConfig(space=space, proxy=ProxyConfig(epochs=1), objectives=["top1"])
    nas.search(config, store=store_url, engine="local", evaluate=evaluate)
    assert sorted(calls) == [1, 2, 3]
