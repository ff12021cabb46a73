"""Image data sets by name, held in memory or mapped from disk as uint8, split three ways and cut into batches."""

import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from trainer.dataset_spec import DatasetSpec, parse_dataset
from trainer.shapes import CLASS_NAMES, draw_shapes
from trainer.splits import cut, fraction_of_classes

# One mean and deviation for every data set and channel, so that a network sees the same range whatever it is trained on:
# images in [0, 1] have a mean near 0.5 and a deviation near 0.25, and come out in [-2, 2].
MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)

Channels = tuple[float, float, float]


class Split:
    """Part of a data set: which of its images uint8 (N, C, H, W), C of 1 or 3, by index (n,), and their labels int64 (n,).

    Without indices it is all of them. The images may be a memory map larger than the memory, and splits share it.
    """

    __slots__ = ("_stored", "indices", "labels")

    def __init__(self, images: Tensor, labels: Tensor, indices: Tensor | None = None) -> None:
        count = len(images) if indices is None else len(indices)
        if len(labels) != count:
            raise ValueError(f"a split needs a label for each image, got images={count}, labels={len(labels)}")
        self._stored, self.labels, self.indices = images, labels, indices

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def images(self) -> Tensor:
        """The split's images (n, C, H, W); those of a part are copied, so ask a large split for batches instead."""
        return self._stored if self.indices is None else self._stored[self.indices]

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width."""
        channels, height, width = self._stored.shape[1:]
        return channels, height, width

    def take(self, indices: NDArray[np.int64]) -> "Split":
        """The part at `indices`, in that order; no image is copied."""
        chosen = torch.from_numpy(indices).to(self.labels.device)
        return Split(self._stored, self.labels[chosen], chosen if self.indices is None else self.indices[chosen])

    def batch(self, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """The images (b, C, H, W) and labels (b,) at the indices `chosen` (b,) of this split."""
        return self._stored[self._places(chosen)], self.labels[chosen]

    def batch_into(self, images: Tensor, labels: Tensor, chosen: Tensor) -> None:
        """Put what `batch` would give into tensors that are there."""
        torch.index_select(self._stored, 0, self._places(chosen), out=images)
        torch.index_select(self.labels, 0, chosen, out=labels)

    def _places(self, chosen: Tensor) -> Tensor:
        return chosen if self.indices is None else self.indices[chosen]


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Dataset:
    """A data set under its canonical name, with its splits; `synthetic` says that its images were drawn, not collected.

    `fingerprint` is the hash of what was read from files; a source may have no images for the test.
    """

    name: str
    class_names: tuple[str, ...]
    synthetic: bool
    train: Split
    validation: Split
    test: Split
    fingerprint: str | None = None

    @property
    def num_classes(self) -> int:
        """The number of classes, so the width of a classifier's last layer."""
        return len(self.class_names)


@dataclass(frozen=True, eq=False, slots=True)
class _Unsplit:
    images: Tensor  # (N, C, H, W)
    labels: NDArray[np.int64]
    class_names: tuple[str, ...]
    splits: NDArray[np.uint8]  # as the source has it, by the codes of `trainer.splits`
    fingerprint: str | None = None


def _load_digits(_spec: DatasetSpec, _seed: int, _image_size: int) -> _Unsplit:
    from sklearn.datasets import load_digits  # a second to import, for one data set

    digits = load_digits()
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)[..., None]  # stored as 0..16
    return _in_memory(images, digits.target.astype(np.int64), tuple(str(name) for name in digits.target_names))


def _load_shapes(spec: DatasetSpec, seed: int, _image_size: int) -> _Unsplit:
    assert spec.knobs is not None
    return _in_memory(*draw_shapes(spec.knobs, seed), CLASS_NAMES[: spec.knobs.classes])


def _in_memory(images_nhwc: NDArray[np.uint8], labels: NDArray[np.int64], class_names: tuple[str, ...]) -> _Unsplit:
    images = torch.from_numpy(images_nhwc).permute(0, 3, 1, 2).contiguous()
    return _Unsplit(images, labels, class_names, np.zeros(len(labels), np.uint8))


def _load_files(spec: DatasetSpec, _seed: int, image_size: int) -> _Unsplit:
    from trainer.packing.cache import opened

    packed = opened(spec, image_size)
    with warnings.catch_warnings():
        # Mapped for reading only: a map that could be written counts as memory, and one larger than the memory is refused.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        images = torch.from_numpy(packed.images)
    return _Unsplit(images, packed.labels, packed.meta.class_names, packed.splits, packed.meta.fingerprint)


LOADERS: Mapping[str, Callable[[DatasetSpec, int, int], _Unsplit]] = {
    "digits": _load_digits,
    "shapes": _load_shapes,
    "imagefolder": _load_files,
    "cifar10": _load_files,
    "cifar100": _load_files,
    "parquet": _load_files,
    "packed": _load_files,
}


def load_dataset(spec: str, *, seed: int, image_size: int = 32) -> Dataset:
    """The data set that `spec` names, drawn by `seed` if it is drawn, and split by it where its source has no splits.

    `image_size` is the side in pixels at which image files are decoded; packed, drawn and embedded images have their own. ValueError for
    a spec that `parse_dataset` refuses, and for missing, damaged or unsuitable files.
    """
    if seed < 0:
        raise ValueError(f"seed must be at least 0, got seed={seed}")
    parsed = parse_dataset(spec)
    raw = LOADERS[parsed.name](parsed, seed, image_size)
    whole = Split(raw.images, torch.from_numpy(raw.labels))
    train, validation, test = (whole.take(indices) for indices in cut(raw.labels, raw.splits, seed))
    return Dataset(
        name=str(parsed),
        class_names=raw.class_names,
        synthetic=parsed.synthetic,
        train=train,
        validation=validation,
        test=test,
        fingerprint=raw.fingerprint,
    )


cached_dataset = lru_cache(maxsize=2)(load_dataset)  # whoever trains and scores many candidates loads their data once


def subset(split: Split, fraction: float, seed: int) -> Split:
    """The given part of every class, at least one image each and in the split's order; a larger fraction contains a smaller one."""
    if not 0 < fraction <= 1:
        raise ValueError(f"fraction must lie in (0, 1], got fraction={fraction}")
    return split.take(fraction_of_classes(split.labels.cpu().numpy(), fraction, seed))


def to_batch(images_uint8: Tensor, image_size: int, *, mean: Channels = MEAN, std: Channels = STD) -> Tensor:
    """Normalised float32 images (N, 3, image_size, image_size) of uint8 (N, C, H, W); one channel is repeated three times."""
    if images_uint8.dtype != torch.uint8 or images_uint8.ndim != 4 or images_uint8.shape[1] not in (1, 3):
        raise ValueError(f"images must be uint8 (N, 1 or 3, H, W), got {images_uint8.dtype} {tuple(images_uint8.shape)}")
    if image_size < 1:
        raise ValueError(f"image_size must be at least 1, got image_size={image_size}")
    images = _normalised(images_uint8.float() / 255, mean, std)
    if images.shape[2:] != (image_size, image_size):
        shrinks = image_size < max(images.shape[2:])
        images = F.interpolate(images, size=(image_size, image_size), mode="bilinear", align_corners=False, antialias=shrinks)
    return images.expand(-1, 3, -1, -1).contiguous()


def _normalised(images: Tensor, mean: Channels, std: Channels) -> Tensor:
    if len({*mean}) == len({*std}) == 1:  # grey images stay one channel until they have their size
        return (images - mean[0]) / std[0]
    return (images - _by_channel(mean, images.device)) / _by_channel(std, images.device)


@lru_cache(maxsize=8)  # sent to a device once, not with every batch
def _by_channel(values: Channels, device: torch.device) -> Tensor:
    return torch.tensor(values, device=device).reshape(1, 3, 1, 1)


def epoch_batches(split: Split, batch_size: int, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
    """Every image (uint8) and label of the split once, in an order drawn from `generator`; no batch holds a single image."""
    sizes = batch_sizes(len(split), batch_size)
    return (split.batch(chosen) for chosen in epoch_order(split, generator).split(sizes))


def epoch_order(split: Split, generator: torch.Generator) -> Tensor:
    """The indices (n,) of a split in an order drawn from `generator`."""
    return torch.randperm(len(split), generator=generator, device=generator.device).to(split.labels.device, non_blocking=True)


def batch_sizes(samples: int, batch_size: int, *, world: int = 1) -> list[int]:
    """The sizes of an epoch's batches, so their number too: full ones, then a short one unless it would hold a single image.

    Where `world` processes share every batch, each gets two images of it at least.
    """
    least = 2 * world
    if batch_size < least or samples < least:
        wanted = f"at least {least} images" + (f" ({world} processes share it)" if world > 1 else "")
        raise ValueError(f"a batch needs {wanted}, got samples={samples}, batch_size={batch_size}")
    sizes = [batch_size] * (samples // batch_size)
    rest = samples % batch_size
    if sizes and 0 < rest < least:
        # BatchNorm has no deviation over one image; joining the batch before it, not dropped, every epoch still sees every image.
        return [*sizes[:-1], sizes[-1] + rest]
    return [*sizes, rest] if rest else sizes
