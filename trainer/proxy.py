"""The only door from a search to training: an architecture in, measured numbers out, epoch by epoch.

Thin: float32, no augmentation, no checkpoints; an interrupted proxy starts over.
"""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from dcnv3 import backend
from searchspace.model_config import ModelConfig
from searchspace.recipes import RECIPES
from trainer.data import Dataset, load_dataset, subset
from trainer.internimage import InternImage
from trainer.loop import Trainer, evaluate
from trainer.matmul import fastest_float32_matmul
from trainer.proxy_config import ProxyConfig, ProxyResult
from trainer.weights import save

log = logging.getLogger(__name__)
SPLIT_SEED = 0  # every study, trial and seed sees the same training, validation and test images

_cached_dataset = lru_cache(maxsize=2)(load_dataset)  # a reused worker loads its data once


def run_proxy(config: ModelConfig, proxy: ProxyConfig, *, seed: int, weights: Path | None = None) -> Iterator[ProxyResult]:
    """Train the proxy of `config` and yield validation top-1, loss and training seconds after each epoch.

    A generator, so that whoever drives it may stop after any epoch. The same seed, device kind and thread count give the same top-1 and
    loss to the bit on CPU. After the last epoch the network's weights are left in the file `weights`, if one is named, with what they are.
    MemoryError when the device's memory does not suffice; ValueError for channels that do not divide.
    """
    with _memory_errors(), _compute(proxy, seed):
        backend(proxy.device)  # a kernel that has yet to be compiled is, before the clock starts
        dataset = _cached_dataset(proxy.dataset, seed=SPLIT_SEED)
        trainer = _make_trainer(config, proxy, dataset, seed)
    seconds = 0.0
    for epoch in range(1, proxy.epochs + 1):
        start = time.perf_counter()
        # Each epoch draws from its own seed: what else runs in this process between two epochs cannot change the result.
        with _memory_errors(), _compute(proxy, _epoch_seed(seed, epoch)):
            trainer.train_epoch(torch.Generator().manual_seed(_epoch_seed(seed, epoch)))
            seconds += time.perf_counter() - start
            metrics = evaluate(trainer.model, dataset.validation, image_size=proxy.image_size, device=proxy.device)
        result = ProxyResult(epoch=epoch, metrics={**metrics, "seconds": seconds}, fidelity=proxy.fidelity(epochs=epoch, seed=seed))
        if weights is not None and epoch == proxy.epochs:
            _keep(trainer.model, weights, config, result)
        yield result


def _keep(model: InternImage, weights: Path, config: ModelConfig, result: ProxyResult) -> None:
    """Save what the network has learnt; a full disk costs the weights, not the result that a night's training brought."""
    origin = {"proxy_of": config.to_dict(), "metrics": dict(result.metrics), "fidelity": dict(result.fidelity)}
    try:
        save(model, weights, provenance=origin)
    except ValueError as error:
        log.warning("weights are not kept: %s", error)


def _epoch_seed(seed: int, epoch: int) -> int:
    """A stream of its own for every epoch of every seed; a sum would give seed 0's second epoch to seed 1's first."""
    return int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0])


def _make_trainer(config: ModelConfig, proxy: ProxyConfig, dataset: Dataset, seed: int) -> Trainer:
    recipe = RECIPES[proxy.recipe]
    model = InternImage(proxy.proxy_of(config), num_classes=dataset.num_classes, drop_path_rate=recipe.drop_path_rate)
    split = subset(dataset.train, proxy.train_fraction, seed=SPLIT_SEED)
    return Trainer(model, split, proxy)


@contextmanager
def _compute(proxy: ProxyConfig, seed: int) -> Iterator[None]:
    """A seeded global generator, the declared number of threads and the fastest exact matrix products; all put back afterwards."""
    threads = torch.get_num_threads()
    with torch.random.fork_rng(devices=[] if proxy.device == "cpu" else None):
        torch.manual_seed(seed)
        torch.set_num_threads(proxy.threads)
        try:
            with fastest_float32_matmul(proxy.device):
                yield
        finally:
            torch.set_num_threads(threads)


@contextmanager
def _memory_errors() -> Iterator[None]:
    """PyTorch's ways of running out of memory as one MemoryError."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise MemoryError(str(error).splitlines()[0]) from error
    except RuntimeError as error:
        if "can't allocate memory" in str(error) or "not enough memory" in str(error):
            raise MemoryError(str(error).splitlines()[0]) from error
        raise
