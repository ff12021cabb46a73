"""Images to look at a network with: files, or samples of the data set that it was trained on, as its training held them."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from searchspace.recipes import Recipe

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

_SAMPLE = re.compile(r"(train|validation|test):(\d{1,12})")


def image_name(text: str) -> str:
    """What an image is called where others read it: a file's name without its folders."""
    return text if _SAMPLE.fullmatch(text) else Path(text).name


def read_image(text: str, fidelity: Mapping[str, Any], side: int) -> "Tensor":
    """An image uint8 (1, C, H, W): a file, whose centre is cut to `side` pixels, or `validation:0` of the fidelity's data set.

    ValueError for what cannot be read, is no image, or has no such number.
    """
    import torch

    from trainer.packing.decoding import decode

    if sample := _SAMPLE.fullmatch(text):
        return _sample(sample[1], int(sample[2]), fidelity["dataset"], side)
    try:
        pixels, _ = decode(Path(text).expanduser().read_bytes(), side)
    except OSError as error:
        raise ValueError(f"cannot read the image {text}: {error.strerror or error}") from None
    except ValueError as error:
        raise ValueError(f"{text} is not an image that can be used: {error}") from None
    return torch.from_numpy(pixels.copy())[None]


def _sample(part: str, index: int, spec: str, side: int) -> "Tensor":
    import torch

    from trainer.data import cached_dataset
    from trainer.proxy_config import SPLIT_SEED

    dataset = cached_dataset(spec, seed=SPLIT_SEED, image_size=side)
    split = getattr(dataset, part)
    if index >= len(split):
        raise ValueError(f"{dataset.name} has {len(split):,} {part} images, counted from 0, got {part}:{index}")
    images: Tensor = split.batch(torch.tensor([index]))[0]
    return images


def as_evaluated(pixels: Sequence["Tensor"], recipe: Recipe, side: int) -> "Tensor":
    """Images as a network trained by `recipe` is evaluated on them: float32 (N, 3, side, side)."""
    import torch

    from trainer.evaluation import evaluation_view

    view = evaluation_view(recipe, side)
    return torch.cat([view(image) for image in pixels])


def as_seen(images: "Tensor", recipe: Recipe) -> "NDArray[np.uint8]":
    """Evaluated images as pictures again: uint8 (N, side, side, 3)."""
    mean, std = (images.new_tensor(values)[:, None, None] for values in (recipe.mean, recipe.std))
    pixels: NDArray[np.uint8] = ((images * std + mean) * 255).round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()
    return pixels
