"""Latency: what rounds of timings may claim, and networks measured in turns."""

import gc
import json
import math
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, wilcoxon

from benchmarks.latency_aa import RESULTS, false_differences, found_differences, recorded, redrawn
from searchspace.formats import load_variant
from searchspace.model_config import ModelConfig
from trainer import latency_bench
from trainer.internimage import InternImage
from trainer.latency import LatencySetting, OutOfMemory, draw_groups, measure_latency, measure_rounds, room
from trainer.latency_statistics import (
    BLOCK,
    Timings,
    block_medians,
    declare,
    fewest_blocks,
    holm,
    median_interval,
    signed_rank,
    slower,
    summarise,
)

SMALL, SMALLER = load_variant("16,8,1,2"), load_variant("16,8,1,1")
DEEP = load_variant("16,8,1,4")
seeds = st.integers(0, 2**32 - 1)


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measurements of a single call."""
    monkeypatch.setattr(latency_bench, "MEASUREMENT_SECONDS", 1e-9)


@pytest.fixture
def depth_clock(monkeypatch: pytest.MonkeyPatch, brief: None) -> list[InternImage]:
    """A clock on which a network takes as many milliseconds as its third stage has blocks; returns what it has timed."""
    timed: list[InternImage] = []

    def clock(model: InternImage, images: torch.Tensor, calls: int) -> float:
        timed.append(model)
        return model.config.depths[2] / 1000

    monkeypatch.setitem(latency_bench.CLOCKS, "cpu", clock)
    monkeypatch.setattr(InternImage, "forward", lambda self, images: images)
    return timed


def setting(**changes: Any) -> LatencySetting:
    return LatencySetting(**{"image_size": 32, "rounds": 30, "anchor": SMALL, **changes})


def machine(sessions: int, rounds: int, variants: int, *, noise: float, seed: int = 0) -> np.ndarray:
    """Timings of equals on a machine that drifts, stalls now and then, and favours places in memory as long as networks keep them."""
    generator = np.random.default_rng(seed)
    drift = np.cumsum(generator.normal(0, 0.02, (sessions, rounds, 1)), axis=1)
    places = np.repeat(generator.normal(0, noise, (sessions, rounds // BLOCK, variants)), BLOCK, axis=1)
    stalls = generator.exponential(0.5, (sessions, rounds, variants)) * (generator.random((sessions, rounds, variants)) < 0.05)
    return 10 * np.exp(drift + places + stalls + generator.normal(0, noise, (sessions, rounds, variants)))


@given(seeds, st.integers(6, 25))
def test_the_signed_rank_test_is_scipy_s_exact_one(seed: int, blocks: int) -> None:
    differences = np.random.default_rng(seed).normal(0.3, 1, (blocks, 4))
    chance, direction = signed_rank(differences)
    np.testing.assert_allclose(chance, wilcoxon(differences, axis=0, method="exact").pvalue, rtol=1e-9)
    for column in range(4):
        greater = wilcoxon(differences[:, column], alternative="greater", method="exact").pvalue
        assert direction[column] != (1 if greater > 0.5 else -1) or math.isclose(chance[column], 1)


@given(seeds)
def test_differences_of_nothing_are_never_significant(seed: int) -> None:
    times = np.repeat(np.random.default_rng(seed).uniform(1, 2, (60, 1)), 5, axis=1)
    assert [(rank.first, rank.last) for rank in declare(times)] == [(1, 5)] * 5


@given(st.lists(st.floats(1e-6, 1), min_size=1, max_size=8))
def test_holm_is_its_definition(chances: list[float]) -> None:
    level, expected, left = 0.05, set(), sorted(range(len(chances)), key=lambda index: chances[index])
    while left and chances[left[0]] * len(left) <= level:
        expected.add(left.pop(0))
    assert set(np.flatnonzero(holm(np.array(chances), level))) == expected


@pytest.mark.parametrize("n", [*range(6, 40), 200])
def test_the_interval_of_a_median_is_the_narrowest_that_covers_95_percent(n: int) -> None:
    low, median, high = median_interval(np.random.default_rng(0).permutation(n).astype(float))
    assert (median, low + high) == ((n - 1) / 2, n - 1)
    assert 2 * binom.cdf(low, n, 0.5) <= 0.05 < 2 * binom.cdf(low + 1, n, 0.5)


@given(seeds, st.permutations(range(4)))
def test_verdicts_follow_their_variants_and_ignore_what_strikes_a_whole_round(seed: int, order: list[int]) -> None:
    generator = np.random.default_rng(seed)
    times = generator.lognormal(np.log([1, 1, 1.2, 2]), 0.1, (60, 4))
    verdict = slower(times)
    assert (verdict[np.ix_(order, order)] == slower(times[:, order])).all()
    assert (verdict == slower(times * generator.uniform(0.1, 10, (60, 1)))).all()
    assert (verdict == -verdict.T).all()


def test_ranks_overlap_where_variants_cannot_be_told_apart() -> None:
    times = np.random.default_rng(1).lognormal(np.log([3, 1, 2, 2]), 0.05, (60, 4))
    assert [str(rank) for rank in declare(times)] == ["4", "1", "2–3", "2–3"]


@pytest.mark.parametrize("variants", [2, 3, 4, 6, 20])
def test_the_fewest_blocks_are_where_a_large_difference_is_first_found(variants: int) -> None:
    times = np.random.default_rng(0).lognormal(np.arange(variants), 0.01, (BLOCK * fewest_blocks(variants), variants))
    assert [str(rank) for rank in declare(times)] == [str(place + 1) for place in range(variants)]
    if fewest_blocks(variants) > 6:  # the fewest of an interval of a median
        assert not slower(times[:-BLOCK]).all(where=~np.eye(variants, dtype=bool))


def test_recorded_timings_of_equals_differ_in_at_most_5_percent_of_sessions() -> None:
    sessions = recorded(json.loads(RESULTS.read_text()))
    assert len(sessions) >= 20
    relabelled = false_differences(redrawn(sessions, relabel=True))
    assert relabelled.bound <= 0.05
    assert false_differences(redrawn(sessions)).rate <= 0.05
    as_it_was = false_differences(sessions)
    assert binom.sf(as_it_was.found - 1, as_it_was.sessions, 0.05) > 0.01  # no evidence against 5 %


def test_simulated_equals_on_a_drifting_machine_differ_in_at_most_5_percent_of_sessions() -> None:
    sessions = machine(1000, 60, 4, noise=0.02)
    assert false_differences(sessions).bound <= 0.05
    assert false_differences(sessions[:200], block=1).rate > 0.2  # places in memory pass for speed where rounds are counted singly


def test_a_difference_of_5_percent_is_found_on_a_drifting_machine() -> None:
    assert found_differences(machine(200, 60, 4, noise=0.02), 1.05).rate > 0.9
    assert found_differences(machine(200, 60, 4, noise=0.02), 1.0).rate < 0.05


def test_intervals_of_a_ratio_cover_it_on_a_drifting_machine() -> None:
    sessions = machine(400, 60, 2, noise=0.02)
    times, anchor = 1.3 * sessions[:, :, :1], sessions[:, :, 1:]
    records = [summarise(Timings(*pair))[0] for pair in zip(times, anchor, strict=True)]
    assert np.mean([record.ratio_low <= 1.3 <= record.ratio_high for record in records]) > 0.93


@pytest.mark.parametrize("times", [np.ones(30), np.zeros((30, 2)), np.ones((0, 2)), np.full((30, 2), np.nan)])
def test_what_cannot_be_timings_is_refused(times: np.ndarray) -> None:
    with pytest.raises(ValueError, match="timings must be positive"):
        declare(times)


def test_rounds_outside_blocks_are_refused() -> None:
    with pytest.raises(ValueError, match="whole blocks of 5, got 31 rounds"):
        block_medians(np.ones((31, 2)))
    with pytest.raises(ValueError, match="at least 6 blocks, got 5"):
        summarise(Timings(np.ones((25, 2)), np.ones((25, 2))))


@given(st.lists(st.integers(1, 10), min_size=1, max_size=30), st.integers(1, 25), seeds)
def test_groups_hold_every_network_once_and_no_more_than_there_is_room_for(weights: list[int], most: int, seed: int) -> None:
    groups = draw_groups(weights, most, np.random.default_rng(seed))
    assert sorted(index for group in groups for index in group) == list(range(len(weights)))
    for group, following in zip(groups, [*groups[1:], None], strict=True):
        assert len(group) == 1 or sum(weights[index] for index in group) <= most
        assert following is None or sum(weights[index] for index in [*group, following[0]]) > most


def test_a_quarter_of_the_available_memory_is_used_and_no_more_than_4_gib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    meminfo = tmp_path / "meminfo"
    monkeypatch.setattr("trainer.latency.MEMINFO", meminfo)
    for available_kib, expected in ((4096, 2**20), (2**40, 4 * 2**30)):
        meminfo.write_text(f"MemTotal: 9 kB\nMemFree: 1 kB\nMemAvailable:   {available_kib} kB\n")
        assert room("cpu") == expected
    meminfo.unlink()
    assert 0 < room("cpu") <= 4 * 2**30


def test_a_network_is_gone_when_nobody_holds_it() -> None:
    bench = latency_bench.Bench.of(setting())
    gc.disable()
    try:
        network = weakref.ref(bench.network(SMALL))
        assert network() is None  # a cycle would keep blocks of networks until Python happens to look
    finally:
        gc.enable()


def test_real_networks_are_measured_and_the_machine_is_put_back(brief: None, two_threads: None) -> None:
    precision, state = torch.get_float32_matmul_precision(), torch.random.get_rng_state()
    one, two, again = measure_latency([SMALLER, SMALL, SMALLER], setting(threads=1, batch_size=2))
    assert torch.get_num_threads() == 2
    assert torch.get_float32_matmul_precision() == precision
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not torch.is_inference_mode_enabled()
    assert one is again
    for record in (one, two):
        assert 0 < record.low_ms <= record.median_ms <= record.high_ms
        assert 0 < record.ratio_low <= record.ratio <= record.ratio_high
        assert record.rounds == 30


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_network_computes_in_the_precision_that_is_asked_for(precision: str) -> None:
    bench = latency_bench.Bench.of(setting(precision=precision))
    with torch.inference_mode():
        logits = bench.network(load_variant("16,8,1,2", style="h"))(bench.images)
    assert str(logits.dtype) == f"torch.{precision}"
    assert logits.isfinite().all()


@pytest.mark.parametrize("held", [4 * 2**30, 1])
def test_every_round_measures_each_variant_once_beside_the_anchor(
    held: int, depth_clock: list[InternImage], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainer.latency.MOST_HELD", held)
    timings = measure_rounds([SMALLER, DEEP], setting())
    assert timings.ratios.tolist() == [[0.5, 2.0]] * 30
    assert np.ptp(timings.times_ms, axis=0).tolist() == [0, 0]
    groups = 1 if held > 1 else 2
    calibrations, warm_ups = 2, 6  # of every network; a block each
    by_config = {config: [model.config for model in depth_clock].count(config) for config in (SMALLER, SMALL, DEEP)}
    assert by_config == {SMALLER: calibrations + warm_ups + 30, DEEP: calibrations + warm_ups + 30, SMALL: 2 + groups * (6 + 30)}
    assert len({id(model) for model in depth_clock}) >= 3 + 6 * (2 + groups)  # built anew for every block


def test_the_order_is_drawn_for_every_round_and_decided_by_the_seed(depth_clock: list[InternImage]) -> None:
    measure_rounds([SMALLER, DEEP], setting())
    first = [model.config for model in depth_clock]
    depth_clock.clear()
    measure_rounds([SMALLER, DEEP], setting())
    assert [model.config for model in depth_clock] == first
    measured = first[6:]
    assert len({tuple(measured[start : start + 3]) for start in range(0, len(measured), 3)}) == 6  # all orders of three


def test_seconds_add_blocks_beyond_the_fewest(depth_clock: list[InternImage]) -> None:
    assert len(measure_rounds([SMALLER], setting(rounds=None, seconds=1e-9)).times_ms) == 30
    assert len(measure_rounds([SMALLER], setting(rounds=None, seconds=2.0)).times_ms) > 30


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("[...] not enough memory: you tried")])
def test_a_variant_that_does_not_fit_is_named(error: Exception, depth_clock: list[InternImage], monkeypatch: pytest.MonkeyPatch) -> None:
    def forward(self: InternImage, images: torch.Tensor) -> torch.Tensor:
        if self.config == DEEP:
            raise error
        return images

    monkeypatch.setattr(InternImage, "forward", forward)
    with pytest.raises(OutOfMemory, match="variant 16,8,1,4 does not fit into the memory of cpu at batch 1") as raised:
        measure_latency([SMALLER, DEEP], setting())
    assert raised.value.config == DEEP


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"device": "tpu"}, "device must be cpu or cuda .* got 'tpu'"),
        ({"device": "cuda:one"}, "device must be cpu or cuda .* got 'cuda:one'"),
        ({"batch_size": 0}, "batch_size must be whole and at least 1, got 0"),
        ({"image_size": 31}, "image_size must be whole and at least 32, got 31"),
        ({"threads": 0}, "threads must be whole and at least 1, got 0"),
        ({"precision": "float16"}, "precision must be one of float32, bfloat16, got 'float16'"),
        ({"rounds": 29}, "rounds must be whole and at least 30, got 29"),
        ({"rounds": None, "seconds": math.inf}, "seconds must be a positive number, got inf"),
        ({"seconds": 1.0}, "give one"),
    ],
)
def test_settings_that_cannot_be_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        setting(**changes)


def test_nothing_to_measure_and_devices_that_are_not_there_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="at least one variant, got none"):
        measure_latency([], setting())
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(ValueError, match="device cuda is not there: torch finds 0 CUDA devices; use --device cpu"):
        measure_latency([SMALL], setting(device="cuda"))


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_networks_are_measured_on_a_cuda_device(precision: str) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    state = torch.cuda.get_rng_state()
    configs: list[ModelConfig] = [SMALLER, DEEP]
    records = measure_latency(configs, setting(device="cuda", batch_size=4, precision=precision))
    assert torch.equal(torch.cuda.get_rng_state(), state)
    assert all(0 < record.low_ms <= record.median_ms <= record.high_ms for record in records)
