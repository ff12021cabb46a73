"""Images per second of training proxies on CPU, against PyTorch's operator and loader: `python -m benchmarks.proxy_cpu [--repeats N]`.

The same network, optimizer and images twice. Ours: the compiled operator, exact matrix products by the faster library, images kept as
bytes and prepared a batch at a time. Conventional: the operator in PyTorch, the default matrix products, a `DataLoader` that prepares
image by image; of its spellings (operator by planes or by gathers, no or two loading processes) the fastest of the run is compared with.
A second table trains with one and two processes and threads at a time: whether W workers on W cores disturb each other.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from benchmarks.hardware import describe
from benchmarks.training_step import deform, operator
from searchspace.formats import load_variant
from searchspace.recipes import RECIPES
from trainer.data import Split, load_dataset, to_batch
from trainer.feeding import Feed
from trainer.internimage import InternImage
from trainer.matmul import fastest_float32_matmul, float32_precision
from trainer.optim import make_optimizer

RESULT = Path(__file__).parent / "results" / "proxy-cpu.json"
RECIPE = RECIPES["proxy"]
DATASET = "shapes:640,size=64"
BATCH = 32
BATCHES = 6  # of each measured pass
PROXIES = ((4, 32), (4, 64), (1, 32), (1, 64))  # channel divisor, image side
PARTS = ("data", "forward", "backward", "update")
OURS = "ours"
CONVENTIONAL = tuple((spelling, processes) for spelling in ("grid_sample", "reference") for processes in (0, 2))
Batches = Iterable[tuple[Tensor, Tensor]]


@dataclass(frozen=True, slots=True)
class Row:
    """One proxy: images per second of every loop, and the milliseconds of a step by part for ours and the fastest other."""

    divisor: int
    side: int
    images_per_second: dict[str, float]
    fastest: str
    ratio: float
    parts_ms: dict[str, dict[str, float]]


class Images(Dataset[tuple[Tensor, Tensor]]):
    """A split as loaders know it: one prepared image at a time."""

    def __init__(self, split: Split, side: int) -> None:
        self._images, self._labels = split.batch(torch.arange(len(split)))
        self._side = side

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return to_batch(self._images[index : index + 1], self._side)[0], self._labels[index]


class Network:
    """A proxy of T with its optimizer; `step` trains on a batch and adds the seconds of each part to `spent`."""

    def __init__(self, divisor: int, num_classes: int) -> None:
        torch.manual_seed(0)
        self.model = InternImage(load_variant("T").divide_channels(divisor), num_classes=num_classes).train()
        self.model.apply(deform)
        self.optimizer = make_optimizer(self.model, RECIPE, batch_size=BATCH)

    def step(self, images: Tensor, labels: Tensor, spent: dict[str, float]) -> None:
        start = time.perf_counter()
        loss = F.cross_entropy(self.model(images), labels, label_smoothing=RECIPE.label_smoothing)
        forward = time.perf_counter()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        backward = time.perf_counter()
        nn.utils.clip_grad_norm_(self.model.parameters(), RECIPE.clip_norm)
        self.optimizer.step()
        for part, seconds in zip(PARTS[1:], (forward - start, backward - forward, time.perf_counter() - backward), strict=True):
            spent[part] += seconds


def measure(divisor: int, side: int, repeats: int) -> Row:
    """All loops in turns on one network."""
    split = load_dataset(DATASET, seed=0).train
    network = Network(divisor, 10)
    loops: dict[str, Callable[[], dict[str, float]]] = {
        OURS: partial(_pass, network, lambda: _own_batches(split, side), fastest_float32_matmul)
    }
    for spelling, processes in CONVENTIONAL:
        loader = DataLoader(Images(split, side), BATCH, shuffle=True, num_workers=processes, persistent_workers=processes > 0)
        loops[f"{spelling}, {processes} loading processes"] = partial(_pass, network, partial(iter, loader), partial(operator, spelling))
    samples: dict[str, list[dict[str, float]]] = {name: [] for name in loops}
    for repeat in range(repeats + 1):  # the first pass of each starts its processes and fills caches
        for name, run in loops.items():
            spent = run()
            if repeat:
                samples[name].append(spent)
    return _row(divisor, side, samples)


def _own_batches(split: Split, side: int) -> Iterator[tuple[Tensor, Tensor]]:
    batches = Feed(split, "cpu").epoch(BATCH, torch.Generator().manual_seed(0))
    return ((to_batch(images, side), labels) for images, labels in batches)


def _pass(network: Network, batches: Callable[[], Batches], setting: Callable[[], AbstractContextManager[Any]]) -> dict[str, float]:
    """Seconds by part of training on a few batches."""
    spent = dict.fromkeys(PARTS, 0.0)
    with setting():
        start = time.perf_counter()
        source = iter(batches())
        for _ in range(BATCHES):
            images, labels = next(source)
            spent["data"] += time.perf_counter() - start
            network.step(images, labels, spent)
            start = time.perf_counter()
    return spent


def _row(divisor: int, side: int, samples: dict[str, list[dict[str, float]]]) -> Row:
    seconds = {name: statistics.median(sum(spent.values()) for spent in taken) for name, taken in samples.items()}
    speeds = {name: BATCHES * BATCH / taken for name, taken in seconds.items()}
    fastest = max((name for name in speeds if name != OURS), key=lambda name: speeds[name])
    parts = {
        name: {part: 1000 / BATCHES * statistics.median(spent[part] for spent in samples[name]) for part in PARTS}
        for name in (OURS, fastest)
    }
    return Row(divisor, side, speeds, fastest, speeds[OURS] / speeds[fastest], parts)


def crowding(seconds: float = 6.0) -> dict[str, float]:
    """Images per second together of the default proxy's network, by processes × threads."""
    layouts = {
        "1 process, 1 thread": (1, 1),
        "1 process, 2 threads": (1, 2),
        "2 processes, 1 thread": (2, 1),
        "2 processes, 2 threads": (2, 2),
    }
    together = {}
    for name, (processes, threads) in layouts.items():
        with get_context("spawn").Pool(processes) as pool:
            together[name] = sum(pool.starmap(_throughput, [(threads, seconds)] * processes))
    return together


def _throughput(threads: int, seconds: float) -> float:
    torch.set_num_threads(threads)
    network, split = Network(4, 10), load_dataset("digits", seed=0).train
    images, labels = split.batch(torch.arange(BATCH))
    batch, spent, steps = to_batch(images, 32), dict.fromkeys(PARTS, 0.0), 0
    with fastest_float32_matmul():
        network.step(batch, labels, spent)
        start = time.perf_counter()
        while time.perf_counter() - start < seconds:
            network.step(batch, labels, spent)
            steps += 1
        return steps * BATCH / (time.perf_counter() - start)


def main() -> None:
    """Measure, print and record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    torch.set_num_threads(1)  # as the workers of a search train
    float32_precision()  # probed before anything is timed
    rows = [measure(divisor, side, repeats) for divisor, side in PROXIES]
    for row in rows:
        print(f"T / {row.divisor} at {row.side}², batches of {BATCH}, 1 thread")
        for name, speed in row.images_per_second.items():
            print(f"  {name:<36} {speed:8.1f} images/s")
        print(f"  ours is {row.ratio:.2f}x the fastest other ({row.fastest})")
        for name, parts in row.parts_ms.items():
            print(f"  {name:<36} " + ", ".join(f"{part} {ms:.1f} ms" for part, ms in parts.items()))
    together = crowding()
    for name, speed in together.items():
        print(f"  {name:<24} {speed:8.1f} images/s together")
    record = {"hardware": describe(), "rows": [asdict(row) for row in rows], "workers": together}
    RESULT.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
