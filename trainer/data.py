"""The image data sets of a proxy, held in memory as uint8 tensors, split three ways and cut into batches."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from trainer.dataset_spec import Knobs, parse_dataset
from trainer.shapes import CLASS_NAMES, draw_shapes

# One mean and deviation for every data set and channel, so that a network sees the same range whatever it is trained on:
# images in [0, 1] have a mean near 0.5 and a deviation near 0.25, and come out in [-2, 2].
MEAN, STD = 0.5, 0.25
HELD_OUT = 0.2  # of every class, for validation and once more for the test
SPLIT_STREAM, SUBSET_STREAM = 1, 2  # one seed serves several draws; each has its own stream, and so has the drawing of images


@dataclass(frozen=True, eq=False, slots=True)
class Split:
    """Images uint8 (N, C, H, W) with C of 1 or 3, and labels int64 (N,)."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: NDArray[np.int64]) -> "Split":
        """The images and labels at `indices`, in that order."""
        chosen = torch.from_numpy(indices).to(self.labels.device)
        return Split(self.images[chosen], self.labels[chosen])


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Dataset:
    """A data set under its canonical name, split 60/20/20 by class; `synthetic` says that its images were drawn, not collected."""

    name: str
    class_names: tuple[str, ...]
    synthetic: bool
    train: Split
    validation: Split
    test: Split

    @property
    def num_classes(self) -> int:
        """The number of classes, so the width of a classifier's last layer."""
        return len(self.class_names)


@dataclass(frozen=True, eq=False, slots=True)
class _Unsplit:
    images: NDArray[np.uint8]  # (N, H, W, C)
    labels: NDArray[np.int64]
    class_names: tuple[str, ...]


def _load_digits(_knobs: Knobs, _seed: int) -> _Unsplit:
    from sklearn.datasets import load_digits  # a second to import, for one data set

    digits = load_digits()
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)[..., None]  # stored as 0..16
    return _Unsplit(images, digits.target.astype(np.int64), tuple(str(name) for name in digits.target_names))


def _load_shapes(knobs: Knobs, seed: int) -> _Unsplit:
    assert knobs is not None
    images, labels = draw_shapes(knobs, seed)
    return _Unsplit(images, labels, CLASS_NAMES[: knobs.classes])


LOADERS: Mapping[str, Callable[[Knobs, int], _Unsplit]] = {"digits": _load_digits, "shapes": _load_shapes}


def load_dataset(spec: str, *, seed: int) -> Dataset:
    """The data set that `spec` names, drawn and split by `seed`; ValueError for a spec that `parse_dataset` refuses."""
    if seed < 0:
        raise ValueError(f"seed must be at least 0, got seed={seed}")
    parsed = parse_dataset(spec)
    raw = LOADERS[parsed.name](parsed.knobs, seed)
    whole = Split(torch.from_numpy(raw.images).permute(0, 3, 1, 2).contiguous(), torch.from_numpy(raw.labels))
    train, validation, test = (whole.take(indices) for indices in _split_indices(raw.labels, seed))
    return Dataset(name=str(parsed), class_names=raw.class_names, synthetic=parsed.synthetic, train=train, validation=validation, test=test)


def subset(split: Split, fraction: float, seed: int) -> Split:
    """The given part of every class, at least one image each and in the split's order; a larger fraction contains a smaller one."""
    if not 0 < fraction <= 1:
        raise ValueError(f"fraction must lie in (0, 1], got fraction={fraction}")
    classes = _shuffled_classes(split.labels.cpu().numpy(), seed, SUBSET_STREAM)
    return split.take(np.sort(np.concatenate([members[: max(1, round(fraction * len(members)))] for members in classes])))


def to_batch(images_uint8: Tensor, image_size: int) -> Tensor:
    """Normalised float32 images (N, 3, image_size, image_size) of uint8 (N, C, H, W); one channel is repeated three times."""
    if images_uint8.dtype != torch.uint8 or images_uint8.ndim != 4 or images_uint8.shape[1] not in (1, 3):
        raise ValueError(f"images must be uint8 (N, 1 or 3, H, W), got {images_uint8.dtype} {tuple(images_uint8.shape)}")
    if image_size < 1:
        raise ValueError(f"image_size must be at least 1, got image_size={image_size}")
    images = (images_uint8.float() / 255 - MEAN) / STD
    if images.shape[2:] != (image_size, image_size):
        shrinks = image_size < max(images.shape[2:])
        images = F.interpolate(images, size=(image_size, image_size), mode="bilinear", align_corners=False, antialias=shrinks)
    return images.expand(-1, 3, -1, -1).contiguous()


def epoch_batches(split: Split, batch_size: int, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
    """Every image (uint8) and label of the split once, in an order drawn from `generator`; no batch holds a single image."""
    sizes = batch_sizes(len(split), batch_size)
    order = torch.randperm(len(split), generator=generator, device=generator.device).to(split.labels.device)
    return ((split.images[chosen], split.labels[chosen]) for chosen in order.split(sizes))


def batch_sizes(samples: int, batch_size: int) -> list[int]:
    """The sizes of an epoch's batches, so their number too: full ones, then a short one unless it would hold a single image."""
    if batch_size < 2 or samples < 2:
        raise ValueError(f"a batch needs at least 2 images, got samples={samples}, batch_size={batch_size}")
    sizes = [batch_size] * (samples // batch_size)
    rest = samples % batch_size
    if rest == 1:
        # BatchNorm has no deviation over one image; joining the batch before it, not dropped, every epoch still sees every image.
        return [*sizes[:-1], sizes[-1] + 1]
    return [*sizes, rest] if rest else sizes


def _split_indices(labels: NDArray[np.int64], seed: int) -> tuple[NDArray[np.int64], ...]:
    """Ascending indices of train, validation and test: disjoint, exhaustive, and 60/20/20 within one image of every class."""
    parts: tuple[list[NDArray[np.int64]], ...] = ([], [], [])
    for members in _shuffled_classes(labels, seed, SPLIT_STREAM):
        held_out = round(HELD_OUT * len(members))
        for part, chosen in zip(parts, np.split(members, [len(members) - 2 * held_out, len(members) - held_out]), strict=True):
            part.append(chosen)
    return tuple(np.sort(np.concatenate(part)) for part in parts)


def _shuffled_classes(labels: NDArray[np.int64], seed: int, stream: int) -> list[NDArray[np.int64]]:
    rng = np.random.default_rng([seed, 0, stream])
    return [rng.permutation(np.flatnonzero(labels == label)) for label in np.unique(labels)]
