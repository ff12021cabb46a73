"""One epoch of training and one pass of validation."""

from collections.abc import Mapping

import torch
from torch import nn
from torch.nn import functional as F

from searchspace.recipes import RECIPES
from trainer.data import Split, batch_sizes, epoch_batches, to_batch
from trainer.optim import make_optimizer, make_schedule
from trainer.proxy_config import ProxyConfig

EVAL_BATCH = 128  # the fastest of 16..256 on one core: larger ones leave its caches


class Trainer:
    """A network with its optimizer, schedule and share of the data, trained an epoch at a time on the proxy's device."""

    def __init__(self, model: nn.Module, split: Split, proxy: ProxyConfig) -> None:
        self.model = model.to(proxy.device)
        self._split = split
        self._proxy = proxy
        self._recipe = RECIPES[proxy.recipe]
        steps_per_epoch = len(batch_sizes(len(split), proxy.batch_size))
        self._optimizer = make_optimizer(model, self._recipe, batch_size=proxy.batch_size)
        self._schedule = make_schedule(self._optimizer, self._recipe, proxy.epochs * steps_per_epoch)

    def train_epoch(self, generator: torch.Generator) -> None:
        """One pass over the training split in the order that `generator` draws."""
        self.model.train()
        for images, labels in epoch_batches(self._split, self._proxy.batch_size, generator):
            self._step(to_batch(images.to(self._proxy.device), self._proxy.image_size), labels.to(self._proxy.device))

    def _step(self, batch: torch.Tensor, labels: torch.Tensor) -> None:
        loss = F.cross_entropy(self.model(batch), labels, label_smoothing=self._recipe.label_smoothing)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.model.parameters(), self._recipe.clip_norm)
        self._optimizer.step()
        self._schedule.step()


@torch.inference_mode()
def evaluate(model: nn.Module, split: Split, *, image_size: int, device: str) -> Mapping[str, float]:
    """Top-1 (a fraction) and mean cross-entropy (nats) of `model` on a split."""
    model.eval()
    correct, loss = 0, 0.0
    for start in range(0, len(split), EVAL_BATCH):
        images, labels = split.images[start : start + EVAL_BATCH], split.labels[start : start + EVAL_BATCH].to(device)
        logits = model(to_batch(images.to(device), image_size))
        correct += int((logits.argmax(1) == labels).sum())
        loss += float(F.cross_entropy(logits, labels, reduction="sum"))
    return {"top1": correct / len(split), "loss": loss / len(split)}
