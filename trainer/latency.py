"""Latency of networks, measured in turns beside an anchor so that a slow moment of the machine strikes all alike."""

import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from searchspace.cost import cost
from searchspace.model_config import ModelConfig
from trainer.latency_bench import TYPES, Bench, machine
from trainer.latency_setting import BLOCK, Latency, LatencySetting, OutOfMemory
from trainer.latency_statistics import Floats, Timings, summarise

__all__ = ["Latency", "LatencySetting", "OutOfMemory", "measure_latency", "measure_rounds"]
log = logging.getLogger(__name__)
MEMINFO = Path("/proc/meminfo")
MOST_HELD = 4 * 2**30  # bytes of weights
ANCHOR = -1  # its place beside the variants' indices
Order = np.random.Generator


def measure_latency(configs: Sequence[ModelConfig], setting: LatencySetting) -> list[Latency]:
    """The record of every architecture, in order; equal ones are measured once and share theirs.

    OutOfMemory names the first architecture that does not fit, before anything is timed; ValueError where the device is not there.
    """
    distinct = list(dict.fromkeys(configs))
    records = dict(zip(distinct, summarise(measure_rounds(distinct, setting)), strict=True))
    return [records[config] for config in configs]


def measure_rounds(configs: Sequence[ModelConfig], setting: LatencySetting) -> Timings:
    """Timings of all rounds; in each the anchor and the variants run in a drawn order.

    Every block of rounds builds the networks anew in a drawn order, for where one lies in memory makes it faster or slower. As many are
    built at a time as `room` allows; where that is not all, each block draws who shares a group, and every group has the anchor.
    """
    if not configs:
        raise ValueError("latency needs at least one variant, got none")
    sizes = {config: _weight_bytes(config, setting) for config in (setting.anchor, *configs)}
    order = np.random.default_rng(setting.seed)
    with machine(setting):
        bench = Bench.of(setting)
        calls = {config: bench.calls(config) for config in sizes}
        weights = [sizes[config] for config in configs]
        most = room(setting.device) - sizes[setting.anchor]
        start = time.monotonic()
        blocks: list[Floats] = []
        while len(blocks) < setting.blocks or (setting.seconds is not None and time.monotonic() - start < setting.seconds):
            groups = draw_groups(weights, most, order)
            blocks.append(_block(bench, configs, calls, groups, order))
            log.info("block %d of rounds after %.0f s", len(blocks), time.monotonic() - start)
    times = np.concatenate(blocks)
    return Timings(times[..., 0], times[..., 1])


def draw_groups(weights: Sequence[int], most: int, order: Order) -> list[list[int]]:
    """The indices in a drawn order, cut into groups whose weights add up to at most `most`, or into single ones that exceed it."""
    groups: list[list[int]] = []
    held = 0
    for index in map(int, order.permutation(len(weights))):
        if not groups or held + weights[index] > most:
            groups.append([])
            held = 0
        groups[-1].append(index)
        held += weights[index]
    return groups


def room(device: str) -> int:
    """Bytes of weights that are held together: a quarter of the free memory, at most 4 GiB."""
    return int(min(_FREE[torch.device(device).type]() // 4, MOST_HELD))


def _free_on_cuda() -> int:
    torch.cuda.empty_cache()  # of the networks that have been tried one by one
    return int(torch.cuda.mem_get_info()[0])


def _free_on_cpu() -> int:
    """What Linux calls available: unlike free memory, with the files that it would drop."""
    try:
        lines = MEMINFO.read_text(encoding="utf-8").splitlines()
    except OSError:  # another system
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))


_FREE: Mapping[str, Callable[[], int]] = {"cpu": _free_on_cpu, "cuda": _free_on_cuda}


def _block(
    bench: Bench, configs: Sequence[ModelConfig], calls: Mapping[ModelConfig, int], groups: Sequence[Sequence[int]], order: Order
) -> Floats:
    """(BLOCK, variants, 2): milliseconds of each variant and of the anchor beside it."""
    times = np.empty((BLOCK, len(configs), 2))
    for group in groups:
        named = {ANCHOR: bench.setting.anchor, **{index: configs[index] for index in group}}
        taken = _group(bench, named, calls, order)
        for index in group:
            times[:, index] = np.stack([taken[index], taken[ANCHOR]], axis=1)
    return times


def _group(bench: Bench, named: Mapping[int, ModelConfig], calls: Mapping[ModelConfig, int], order: Order) -> dict[int, Floats]:
    """Milliseconds (BLOCK,) of networks that are in memory together."""
    drawn = [int(index) for index in order.permutation(list(named))]
    networks = {index: bench.network(named[index]) for index in drawn}
    taken = {index: np.empty(BLOCK) for index in drawn}
    for turn in range(-1, BLOCK):  # the first turn warms up
        for index in map(int, order.permutation(drawn)):
            ms = bench.milliseconds(named[index], networks[index], calls[named[index]])
            if turn >= 0:
                taken[index][turn] = ms
    return taken


def _weight_bytes(config: ModelConfig, setting: LatencySetting) -> int:
    return cost(config, setting.image_size).params * TYPES[setting.precision].itemsize
