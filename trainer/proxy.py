"""The only door to training: an architecture in, measured numbers out, epoch by epoch."""

import logging
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from dcnv3 import backend
from searchspace.model_config import ModelConfig
from searchspace.recipes import RECIPES
from trainer.checkpoint_file import check_name
from trainer.checkpoints import Checkpoint, Checkpoints
from trainer.compute import memory_errors, seeded_compute, sharing_memory
from trainer.data import Dataset, cached_dataset, subset
from trainer.feeding import Feed
from trainer.internimage import InternImage
from trainer.loop import Trainer
from trainer.parallel import ALONE, Ranks, check_world, run_parallel
from trainer.proxy_config import SPLIT_SEED, WHERE, ProxyConfig, ProxyResult
from trainer.weights import save

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Training:
    """A proxy to be trained with a seed, the file for its weights and the folder or URL for its checkpoints, if any."""

    config: ModelConfig
    proxy: ProxyConfig
    seed: int
    weights: Path | None = None
    checkpoints: Path | str | None = None
    state_share: float | None = None


def run_proxy(
    config: ModelConfig,
    proxy: ProxyConfig,
    *,
    seed: int,
    weights: Path | None = None,
    checkpoints: Path | str | None = None,
    state_share: float | None = None,
    world: int = 1,
) -> Generator[ProxyResult, None, None]:
    """Train the proxy of `config` and yield validation top-1, top-5 (of more than five classes), loss and seconds after each epoch.

    A generator, so that whoever drives it may stop after any epoch. The same seed, device kind and thread count give the same metrics to
    the bit on CPU. After the last epoch the network's weights are left in the file `weights`, if one is named, with what they are. With a
    folder or URL `checkpoints` an interrupted training goes on from there, to the same metrics, and yields the results of the epochs before
    again; with `state_share` no more than about this part of the time goes into saving where it is, instead of doing so after each epoch.
    `world` processes share each batch, on CUDA with a device each. MemoryError when the device's memory does not suffice;
    ValueError for channels that do not divide and checkpoints of another training.
    """
    check_world(world, proxy.device)
    if weights is not None:
        check_name(Path(weights))
    training = Training(config, proxy, seed, weights, checkpoints, state_share)
    if world == 1:
        with sharing_memory(proxy.device):
            yield from train(training)
    else:
        yield from run_parallel(train, (training,), world=world, device=proxy.device)


def train(training: Training, ranks: Ranks = ALONE) -> Generator[ProxyResult, None, None]:
    """`run_proxy` as one of the processes that share it: all yield the same results, the first one writes the files."""
    proxy, seed, device = training.proxy, training.seed, ranks.device(training.proxy.device)
    with memory_errors(), seeded_compute(device, threads=proxy.threads, seed=seed):
        backend(device)  # a kernel that has yet to be compiled is, before the clock starts
        dataset = cached_dataset(proxy.dataset, seed=SPLIT_SEED, image_size=proxy.image_size)
        trainer = _make_trainer(training, dataset, ranks)
        validation = Feed(dataset.validation, device, rank=ranks.rank, world=ranks.world)
        checkpoints = _checkpoints(training, dataset)
        results = _resume(trainer, checkpoints)
    saver = Saver(checkpoints, training.state_share)
    seconds = results[-1].metrics["seconds"] if results else 0.0
    if len(results) == proxy.epochs and ranks.first:
        _keep_weights(trainer, training, results[-1])
    yield from tuple(results)
    for epoch in range(len(results) + 1, proxy.epochs + 1):
        start = time.perf_counter()
        # Each epoch draws from its own seed: what else runs in this process between two epochs cannot change the result.
        with memory_errors(), seeded_compute(device, threads=proxy.threads, seed=_epoch_seed(seed, epoch, ranks.rank)):
            trainer.train_epoch(_epoch_seed(seed, epoch))
            if device != "cpu":
                torch.cuda.synchronize(device)  # an epoch is queued long before it is done
            seconds += time.perf_counter() - start
            trained = time.perf_counter()
            metrics = trainer.evaluate(validation)
        fidelity = proxy.fidelity(epochs=epoch, seed=seed, fingerprint=dataset.fingerprint)
        took = time.perf_counter() - trained
        results.append(ProxyResult(epoch=epoch, metrics={**metrics, "seconds": seconds}, fidelity=fidelity, evaluation_seconds=took))
        if ranks.first:
            saver.save(trainer, results)
            if epoch == proxy.epochs:
                _keep_weights(trainer, training, results[-1])
        yield results[-1]


def _make_trainer(training: Training, dataset: Dataset, ranks: Ranks) -> Trainer:
    proxy = training.proxy
    rate = RECIPES[proxy.recipe].drop_path_rate if proxy.drop_path_rate is None else proxy.drop_path_rate
    model = InternImage(proxy.proxy_of(training.config), num_classes=dataset.num_classes, drop_path_rate=rate)
    return Trainer(model, subset(dataset.train, proxy.train_fraction, seed=SPLIT_SEED), proxy, ranks)


def _checkpoints(training: Training, dataset: Dataset) -> Checkpoints | None:
    if training.checkpoints is None:
        return None
    what = {name: value for name, value in training.proxy.to_dict().items() if name not in WHERE}
    facts = {"model": training.config.to_dict(), "proxy": what, "seed": training.seed, "fingerprint": dataset.fingerprint}
    return Checkpoints(training.checkpoints, facts)


def _resume(trainer: Trainer, checkpoints: Checkpoints | None) -> list[ProxyResult]:
    """The results up to the newest checkpoint, from which `trainer` then goes on; none without one."""
    state = None if checkpoints is None else checkpoints.newest()
    if state is None:
        return []
    trainer.restore(state.tensors, state.steps)
    log.info("going on after epoch %d", state.results[-1].epoch)
    return list(state.results)


class Saver:
    """Saves where a training is after its epochs: after each, or with a `share` of the time no sooner than what saving costs allows."""

    def __init__(self, checkpoints: Checkpoints | None, share: float | None) -> None:
        self._checkpoints, self._share = checkpoints, share
        self._next = 0.0

    def save(self, trainer: Trainer, results: Sequence[ProxyResult]) -> None:
        """Save the present state if it is time; a full disk costs the checkpoint, not the training."""
        start = time.perf_counter()
        if self._checkpoints is None or start < self._next:
            return
        try:
            self._checkpoints.write(Checkpoint(trainer.tensors(), trainer.steps, tuple(results)))
        except ValueError as error:
            log.warning("no checkpoint after epoch %d: %s", results[-1].epoch, error)
        end = time.perf_counter()
        self._next = end if self._share is None else end + (end - start) / self._share


def _keep_weights(trainer: Trainer, training: Training, result: ProxyResult) -> None:
    """Save what the network has learnt; a full disk costs the weights, not the result that a night's training brought."""
    if training.weights is None:
        return
    origin = {"proxy_of": training.config.to_dict(), "metrics": dict(result.metrics), "fidelity": dict(result.fidelity)}
    try:
        save(trainer.measured, training.weights, provenance=origin)
    except ValueError as error:
        log.warning("weights are not kept: %s", error)


def _epoch_seed(seed: int, epoch: int, rank: int = 0) -> int:
    """A stream of its own for every epoch of every seed and process; a sum would give seed 0's second epoch to seed 1's first."""
    return int(np.random.SeedSequence([seed, epoch, rank]).generate_state(1)[0])  # an entropy's trailing zeros count for nothing
