"""How well a network classifies a split, as the recipe looks at images when it measures."""

from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dcnv3 import backend
from searchspace.model_config import ModelConfig
from searchspace.recipes import RECIPES, Recipe
from trainer.augmentation.augment import evaluation_batch
from trainer.compute import check_present, memory_errors
from trainer.data import load_dataset, to_batch
from trainer.feeding import Feed
from trainer.internimage import InternImage
from trainer.matmul import fastest_float32_matmul
from trainer.proxy_config import MIN_IMAGE_SIZE, PRECISIONS, SPLIT_SEED, check_device
from trainer.splits import SPLITS
from trainer.step import computing_in
from trainer.weights import load

EVAL_BATCH = {"cpu": 128, "cuda": 512}  # the fastest of 16..256 on one core: larger ones leave its caches
TOP = 5
View = Callable[[Tensor], Tensor]


def evaluation_view(recipe: Recipe, image_size: int) -> View:
    """What a network trained by `recipe` is shown of uint8 images (N, C, H, W): float32 (N, 3, image_size, image_size)."""
    if recipe.augmentation is None:
        return lambda images: to_batch(images, image_size, mean=recipe.mean, std=recipe.std)
    how = recipe.augmentation.interpolation
    return lambda images: evaluation_batch(images, image_size, interpolation=how, mean=recipe.mean, std=recipe.std)


@torch.inference_mode()
def totals(model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], view: View, precision: str = "float32") -> Tensor:
    """Sums over batches of uint8 images and labels: right at first, right among five, cross-entropy (nats), images; float64 (4,).

    All on the device of the images: nothing waits for it before the sums are read.
    """
    model.eval()
    device = next(model.parameters()).device
    summed = torch.zeros(4, dtype=torch.float64, device=device)
    for images, labels in batches:
        with computing_in(precision, device):
            logits = model(view(images)).float()
        among = logits.topk(min(TOP, logits.shape[1])).indices == labels[:, None]
        first = logits.argmax(1) == labels
        loss = F.cross_entropy(logits, labels, reduction="sum")
        summed += torch.stack([first.sum().double(), among.sum().double(), loss.double(), _count(labels)])
    return summed


def _count(labels: Tensor) -> Tensor:
    return torch.full((), len(labels), dtype=torch.float64, device=labels.device)


def metrics(summed: Tensor, num_classes: int) -> dict[str, float]:
    """Top-1 and, of more than five classes, top-5 (fractions), and the mean loss (nats) of `totals`; the device is waited for here."""
    first, among, loss, images = summed.tolist()
    top5 = {"top5": among / images} if num_classes > TOP else {}
    return {"top1": first / images, **top5, "loss": loss / images}


def evaluate_weights(
    config: ModelConfig,
    weights_file: Path,
    dataset_spec: str,
    *,
    split: str = "validation",
    recipe: str = "published",
    image_size: int = 224,
    batch_size: int | None = None,
    device: str = "cpu",
    precision: str = "float32",
) -> dict[str, float]:
    """Top-1, top-5 (of more than five classes), loss and `images`, their number, of a network in a file on a split of a data set.

    ValueError for a split that is empty, and for weights that are not this network's or say other classes than the data set has;
    MemoryError when the device's memory does not suffice.
    """
    for name, value, known in (("split", split, SPLITS), ("recipe", recipe, RECIPES), ("precision", precision, PRECISIONS)):
        if value not in known:
            raise ValueError(f"{name} must be one of {', '.join(known)}, got {value!r}")
    _check_sizes(image_size, batch_size)
    check_device(device)
    check_present(device)
    dataset = load_dataset(dataset_spec, seed=SPLIT_SEED, image_size=image_size)
    chosen = getattr(dataset, split)
    if not len(chosen):
        there = [name for name in SPLITS if len(getattr(dataset, name))]
        raise ValueError(f"{dataset.name} has no {split} images; it has: {', '.join(there)}")
    model = InternImage(config, num_classes=dataset.num_classes)
    if untrained := load(model, weights_file).untrained:
        raise ValueError(f"{weights_file}: not trained for the {dataset.num_classes} classes of {dataset.name}: {', '.join(untrained)}")
    with memory_errors(), fastest_float32_matmul(device):
        backend(device)
        batches = Feed(chosen, device).in_order(batch_size or EVAL_BATCH[torch.device(device).type])
        summed = totals(model.to(device), batches, evaluation_view(RECIPES[recipe], image_size), precision)
    return {**metrics(summed, dataset.num_classes), "images": len(chosen)}


def _check_sizes(image_size: int, batch_size: int | None) -> None:
    if image_size < MIN_IMAGE_SIZE:
        raise ValueError(f"image_size must be at least {MIN_IMAGE_SIZE} (four stages), got {image_size}")
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
