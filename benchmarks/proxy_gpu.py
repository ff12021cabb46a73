"""Training proxies on one GPU: `python -m benchmarks.proxy_gpu [--quick]`.

Images per second of InternImage-T and B in bfloat16 at 64², 128² and 224², by the training loop itself, with the step as a CUDA graph and
without; their share of the rate at which this GPU multiplies large matrices, and the peak of memory beside the predicted one. Then trials
per hour of the paper's nineteen stacking candidates as proxies, one at a time. Beside this repository on PYTHONPATH it needs torch, numpy,
PyYAML, filelock and safetensors, for our kernels cuda-bindings and NVRTC.
"""

import argparse
import gc
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.hardware import describe
from searchspace.cost import cost
from searchspace.formats import load_variant
from searchspace.memory import Training, memory_bytes
from searchspace.model_config import ModelConfig
from searchspace.spaces import stacking_space
from trainer.data import Split
from trainer.internimage import InternImage
from trainer.loop import Trainer
from trainer.proxy_config import ProxyConfig

RESULT = Path(__file__).parent / "results" / "proxy-gpu.json"
VARIANTS = ("T", "B")
BATCHES = {64: 512, 128: 256, 224: 128}  # images by side
STEPS = 12  # of each measured epoch
REPEATS = 5
CLASSES = 1000
PASSES = 3  # a backward pass costs two forward passes
MATRIX_SIDE = 8192
PROXY = ProxyConfig(dataset="shapes:2000", channel_divisor=1, batch_size=256, image_size=64, device="cuda", precision="bfloat16")


@dataclass(frozen=True, slots=True)
class Row:
    """One network at one size: images per second, share of the matrix peak, and bytes of memory at the peak.

    `graph` is as slow as `eager` where the step was not `captured`.
    """

    variant: str
    side: int
    batch: int
    captured: bool
    graph: float
    eager: float
    of_peak: float
    peak_bytes: int
    predicted_bytes: int


def measure(variant: str, side: int) -> Row:
    """Both ways of stepping; a batch that does not fit is halved."""
    config, batch = load_variant(variant), BATCHES[side]
    while True:
        try:
            return _measured(variant, config, replace(PROXY, image_size=side, batch_size=batch))
        except torch.OutOfMemoryError:
            batch //= 2


def _measured(variant: str, config: ModelConfig, proxy: ProxyConfig) -> Row:
    peak = _eager_peak(config, proxy)
    graph, captured = _speed(config, proxy, graphed=True)
    eager, _ = _speed(config, proxy, graphed=False)
    of_peak = graph * PASSES * 2 * cost(config, proxy.image_size, CLASSES).flops / matrix_rate()
    how = Training(batch_size=proxy.batch_size, image_size=proxy.image_size, precision="bfloat16", drop_path=True)
    predicted = memory_bytes(config, how).total
    return Row(variant, proxy.image_size, proxy.batch_size, captured, graph, eager, of_peak, peak, predicted)


def _speed(config: ModelConfig, proxy: ProxyConfig, *, graphed: bool) -> tuple[float, bool]:
    """Images per second, alone on the device, and whether the step was captured."""
    _free_memory()
    trainer = _trainer(config, proxy, graphed=graphed)
    trainer.train_epoch(0)  # captures, compiles and allocates
    seconds = statistics.median(_seconds(partial(trainer.train_epoch, epoch)) for epoch in range(1, REPEATS + 1))
    return STEPS * proxy.batch_size / seconds, trainer.captured


def _trainer(config: ModelConfig, proxy: ProxyConfig, *, graphed: bool) -> Trainer:
    torch.manual_seed(0)
    model = InternImage(config, num_classes=CLASSES, drop_path_rate=0.1)
    images = torch.randint(256, (STEPS * proxy.batch_size, 3, proxy.image_size, proxy.image_size), dtype=torch.uint8)
    return Trainer(model, Split(images, torch.randint(CLASSES, (len(images),))), proxy, graphed=graphed)


def _eager_peak(config: ModelConfig, proxy: ProxyConfig) -> int:
    """The most memory that one network in training held, its images left out."""
    _free_memory()
    trainer = _trainer(config, proxy, graphed=False)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()  # weights and images
    trainer.train_epoch(0)
    return torch.cuda.max_memory_allocated() - before + 4 * cost(config, proxy.image_size, CLASSES).params


def _free_memory() -> None:
    """What earlier trainers held, for a trainer may be in a cycle of references."""
    gc.collect()
    torch.cuda.empty_cache()


def matrix_rate() -> float:
    """FLOP/s of multiplying large bfloat16 matrices here."""
    a, b = (torch.randn(MATRIX_SIDE, MATRIX_SIDE, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    seconds = statistics.median(_seconds(lambda: a @ b) for _ in range(REPEATS * 2))
    return 2 * MATRIX_SIDE**3 / seconds


def trials_per_hour() -> dict[str, Any]:
    """Seconds of one trial of every stacking candidate by the default proxy's length on this GPU, and how many an hour that makes."""
    candidates = [candidate.config for candidate in stacking_space().feasible()]
    proxy = replace(PROXY, channel_divisor=ProxyConfig().channel_divisor, image_size=32, batch_size=64, epochs=ProxyConfig().epochs)
    seconds = {}
    for config in candidates:
        assert config is not None, "a feasible candidate has been built"
        seconds[config.short_name] = _seconds(partial(_run_to_the_end, config, proxy))
    return {"proxy": proxy.to_dict(), "seconds": seconds, "trials_per_hour": 3600 * len(seconds) / sum(seconds.values())}


def _run_to_the_end(config: ModelConfig, proxy: ProxyConfig) -> None:
    from trainer.proxy import run_proxy

    for _ in run_proxy(config, proxy, seed=0):
        pass


def _seconds(run: Callable[[], object]) -> float:
    torch.cuda.synchronize()
    start = time.perf_counter()
    run()
    torch.cuda.synchronize()
    return time.perf_counter() - start


def main() -> None:
    """Measure, print and record; exit code 1 without a GPU."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="T at 64² only")
    quick = parser.parse_args().quick
    if not torch.cuda.is_available():
        sys.exit("no CUDA device: nothing to measure")
    rows = [measure("T", 64)] if quick else [measure(variant, side) for variant in VARIANTS for side in BATCHES]
    for row in rows:
        way = "as a graph" if row.captured else "not captured"
        print(
            f"{row.variant} at {row.side}², {row.batch} images: {row.graph:,.0f} images/s {way}, {row.eager:,.0f} eagerly, "
            f"{row.of_peak:.0%} of the matrix peak, {row.peak_bytes / 2**30:.1f} GiB (predicted {row.predicted_bytes / 2**30:.1f})"
        )
    trials = trials_per_hour()
    print(f"{trials['trials_per_hour']:,.0f} trials an hour, one at a time")
    record = {"hardware": describe(), "matrix_flops_per_second": matrix_rate(), "rows": [asdict(row) for row in rows], "trials": trials}
    RESULT.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
