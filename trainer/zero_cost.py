"""Zero-cost scores: numbers of an untrained proxy that may foretell how well its architecture learns."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property

import torch
from torch import Tensor

from searchspace.cost import cost
from searchspace.model_config import ModelConfig
from searchspace.recipes import RECIPES
from searchspace.score_table import SCORE_TABLE, ScoreFacts, is_constant, known_scores
from trainer.compute import memory_errors, seeded_compute
from trainer.data import Dataset, cached_dataset, epoch_batches, subset
from trainer.evaluation import evaluation_view
from trainer.internimage import InternImage
from trainer.proxy_config import SPLIT_SEED, ProxyConfig
from trainer.score_functions import grad_norm, naswot, synflow, zen

__all__ = ["SCORES", "Score", "Untrained", "is_constant", "scores"]


@dataclass(frozen=True)
class Untrained:
    """An architecture with the network and the images that a training of its proxy could begin with; made when first asked for."""

    config: ModelConfig
    proxy: ProxyConfig
    seed: int

    @cached_property
    def network(self) -> InternImage:
        """The proxy's network with its initial weights on the proxy's device, without stochastic depth."""
        torch.manual_seed(self.seed)
        return InternImage(self.proxy.proxy_of(self.config), num_classes=self._dataset.num_classes).to(self.proxy.device)

    @cached_property
    def batch(self) -> tuple[Tensor, Tensor]:
        """Images float32 (N, 3, S, S), not augmented, and labels int64 (N,) of the first batch of training images in a drawn order."""
        split = subset(self._dataset.train, self.proxy.train_fraction, seed=SPLIT_SEED)
        images, labels = next(epoch_batches(split, self.proxy.batch_size, self.generator()))
        view = evaluation_view(RECIPES[self.proxy.recipe], self.proxy.image_size)
        return view(images.to(self.proxy.device)), labels.to(self.proxy.device)

    def generator(self) -> torch.Generator:
        """A generator that begins at the seed."""
        return torch.Generator().manual_seed(self.seed)

    @cached_property
    def _dataset(self) -> Dataset:
        return cached_dataset(self.proxy.dataset, seed=SPLIT_SEED, image_size=self.proxy.image_size)


@dataclass(frozen=True, slots=True, kw_only=True)
class Score(ScoreFacts):
    """A score in words and as the function that gives it; a value may be infinite or NaN."""

    function: Callable[[Untrained], float]


FUNCTIONS: Mapping[str, Callable[[Untrained], float]] = {
    "synflow": lambda start: synflow(start.network, start.proxy.image_size),
    "naswot": lambda start: naswot(start.network, start.batch[0]),
    "grad_norm": lambda start: grad_norm(start.network, *start.batch),
    "zen": lambda start: zen(start.network, start.proxy.batch_size, start.proxy.image_size, start.generator()),
    "params": lambda start: float(cost(start.config).params),
    "flops": lambda start: float(cost(start.config).flops),
}
SCORES: Mapping[str, Score] = {name: Score(function=FUNCTIONS[name], **asdict(facts)) for name, facts in SCORE_TABLE.items()}


def scores(config: ModelConfig, proxy: ProxyConfig, names: Sequence[str], *, seed: int) -> dict[str, float]:
    """The named scores of the untrained proxy of `config`; `seed` draws its weights, its batch and the Zen-score's inputs.

    To the bit the same for the same seed and thread count on a CPU, whichever others are asked for beside it. ValueError for an unknown
    name or channels that do not divide; MemoryError when the device's memory does not suffice.
    """
    chosen = known_scores(names)
    with memory_errors(), seeded_compute(proxy.device, threads=proxy.threads, seed=seed):
        start = Untrained(config, proxy, seed)
        return {name: SCORES[name].function(start) for name in chosen}
