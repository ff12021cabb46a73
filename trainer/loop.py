"""A network trained an epoch at a time by a recipe, alone or as one of several processes, and measured after each."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from searchspace.recipes import RECIPES, scaled_ema_decay
from trainer.augmentation.augment import Augment
from trainer.average import Average
from trainer.data import Split, batch_sizes, to_batch
from trainer.evaluation import EVAL_BATCH, evaluation_view, metrics, totals
from trainer.feeding import Feed
from trainer.internimage import InternImage
from trainer.optim import lr_factor, make_optimizer, peak_lr, set_lr
from trainer.parallel import ALONE, Ranks, summed, together
from trainer.proxy_config import ProxyConfig
from trainer.step import GraphedStep, Step

OPTIMIZER_MEMORY = ("step", "exp_avg", "exp_avg_sq")
AUGMENTATION_STREAM = 1  # an epoch's seed serves its order, its dropped branches and this


class Trainer:
    """A network with its optimizer, schedule, average and share of the data, on the proxy's device; on CUDA its step is `graphed`."""

    def __init__(self, model: InternImage, split: Split, proxy: ProxyConfig, ranks: Ranks = ALONE, *, graphed: bool = True) -> None:
        self._proxy, self._ranks = proxy, ranks
        self._recipe = recipe = RECIPES[proxy.recipe]
        self._device = torch.device(ranks.device(proxy.device))
        self._sizes = batch_sizes(len(split), proxy.batch_size, world=ranks.world)
        self._total_steps = proxy.epochs * len(self._sizes)
        self._steps = 0
        self.model = model.to(self._device)
        self._network = together(self.model, ranks)
        self._optimizer = make_optimizer(self.model, recipe, batch_size=proxy.batch_size)
        self._average = self._make_average()
        self._feed = Feed(split, self._device, rank=ranks.rank, world=ranks.world)
        self._augment = self._make_augment()
        self._step = Step(self._network, self._optimizer, recipe, precision=proxy.precision, average=self._average)
        # Not for several processes: their sums belong to libraries with streams of their own.
        graphed = graphed and self._device.type == "cuda" and ranks.world == 1
        self._update = GraphedStep(self._step, self._optimizer, self._device) if graphed else self._step

    @property
    def measured(self) -> InternImage:
        """The network that counts: the average of the weights where the recipe keeps one."""
        return self.model if self._average is None else self._average.model

    @property
    def captured(self) -> bool:
        """Whether steps are replayed from a CUDA graph."""
        return isinstance(self._update, GraphedStep) and self._update.captured

    @property
    def steps(self) -> int:
        """Steps taken, so the place in the schedule."""
        return self._steps

    def train_epoch(self, seed: int) -> None:
        """One pass over the training split in an order, and with an augmentation, that `seed` draws."""
        self._network.train()
        order, draws = torch.Generator().manual_seed(seed), self._augmentation_stream(seed)
        batches = self._feed.epoch(self._proxy.batch_size, order)
        for (images, labels), size in zip(batches, self._sizes, strict=True):
            batch, target = self._prepare(images, labels, draws)
            set_lr(self._optimizer, peak_lr(self._recipe, self._proxy.batch_size) * lr_factor(self._steps, self._total_steps, self._recipe))
            if self._ranks.world == 1:
                self._update(batch, target)
            else:  # gradients are averaged over processes, whose shares of a batch may differ in size
                self._step(batch, target, weight=self._ranks.world / size)
            self._steps += 1

    def evaluate(self, feed: Feed) -> dict[str, float]:
        """Top-1, top-5 and loss on the images of a feed, which every process has its share of."""
        view = evaluation_view(self._recipe, self._proxy.image_size)
        batches = feed.in_order(EVAL_BATCH[self._device.type] * self._ranks.world)
        found = totals(self.measured, batches, view, self._proxy.precision)
        return metrics(summed(found, self._ranks), self.model.head.out_features)

    def tensors(self) -> dict[str, Tensor]:
        """Everything that training has changed, by name: network, average and the optimizer's memory."""
        named = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        if self._average is not None:
            named |= {f"average.{name}": value for name, value in self._average.model.state_dict().items()}
        for name, parameter in self.model.named_parameters():
            named |= {f"optimizer.{key}.{name}": value for key, value in self._optimizer.state[parameter].items()}
        return named

    def restore(self, tensors: Mapping[str, Tensor], steps: int) -> None:
        """Go on, before the first step, from what `tensors` gave after `steps` steps of this same training."""
        self.model.load_state_dict(_part(tensors, "model."))
        if self._average is not None:
            self._average.model.load_state_dict(_part(tensors, "average."))
        for name, parameter in self.model.named_parameters():
            memory = {key: tensors[f"optimizer.{key}.{name}"] for key in OPTIMIZER_MEMORY}
            self._optimizer.state[parameter] = {key: _placed_like(parameter, value) for key, value in memory.items()}
        self._steps = steps

    def _make_average(self) -> Average[InternImage] | None:
        if self._recipe.ema_decay is None:
            return None
        return Average(self.model, scaled_ema_decay(self._recipe.ema_decay, self._total_steps, self._recipe.ema_steps))

    def _make_augment(self) -> Augment | None:
        if self._recipe.augmentation is None:
            return None
        return Augment(
            self._recipe.augmentation,
            image_size=self._proxy.image_size,
            num_classes=self.model.head.out_features,
            label_smoothing=self._recipe.label_smoothing,
            mean=self._recipe.mean,
            std=self._recipe.std,
        )

    def _augmentation_stream(self, seed: int) -> torch.Generator:
        """Each process draws for its own share: to draw for the global batch, all would have to load it, as it is mixed throughout."""
        own = np.random.SeedSequence([seed, AUGMENTATION_STREAM, self._ranks.rank]).generate_state(1)[0]
        return torch.Generator().manual_seed(int(own))

    def _prepare(self, images: Tensor, labels: Tensor, draws: torch.Generator) -> tuple[Tensor, Tensor]:
        if self._augment is not None:
            return self._augment(images, labels, draws)
        return to_batch(images, self._proxy.image_size, mean=self._recipe.mean, std=self._recipe.std), labels


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _placed_like(parameter: Tensor, value: Tensor) -> Tensor:
    """A copy of `value` beside its parameter, laid out in memory as the optimizer would."""
    own = torch.zeros_like(parameter) if value.shape == parameter.shape else torch.zeros(value.shape, device=parameter.device)
    return own.copy_(value)
