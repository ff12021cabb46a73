"""Mixup (Zhang et al., arXiv:1710.09412) and cutmix (Yun et al., arXiv:1905.04899) of a batch with itself backwards, and soft labels."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from searchspace.recipes import Augmentation

Box = tuple[int, int, int, int]  # left, top, right, bottom


@dataclass(frozen=True, slots=True)
class Mix:
    """How a batch is mixed: `share` of every image and label stays; a `box` of the partner is pasted, or without one the mean weighted."""

    share: float
    box: Box | None = None


def draw_mix(augmentation: Augmentation, size: tuple[int, int], generator: torch.Generator) -> Mix:
    """One mix for a batch of images of `size` (height, width); a share of 1 where nothing is mixed.

    A parameter of 0 turns mixup or cutmix off; where both are on, `cutmix_share` of the batches get cutmix. A box reaches over the edge as
    often as its middle lies near it, and the share is that of the area which it does not cover.
    """
    draws = torch.rand(4, generator=generator, dtype=torch.float64).tolist()
    # PyTorch's Beta distribution takes no generator.
    beta = np.random.default_rng(int(torch.randint(2**62, (), generator=generator)))
    if draws[0] >= augmentation.mix_probability or not (augmentation.mixup or augmentation.cutmix):
        return Mix(1.0)
    if augmentation.cutmix and (not augmentation.mixup or draws[1] < augmentation.cutmix_share):
        return cut(beta.beta(augmentation.cutmix, augmentation.cutmix), (draws[2], draws[3]), size)
    return Mix(beta.beta(augmentation.mixup, augmentation.mixup))


def cut(share: float, middle: tuple[float, float], size: tuple[int, int]) -> Mix:
    """Cutmix with a box of 1 - share of the area about `middle` (x and y as shares of the sides), cut off at the edges."""
    sides = []
    for length, position in ((size[1], middle[0]), (size[0], middle[1])):
        half, at = int(length * math.sqrt(1 - share)) // 2, int(length * position)
        sides.append((max(0, at - half), min(length, at + half)))
    (left, right), (top, bottom) = sides
    return Mix(1 - (right - left) * (bottom - top) / (size[0] * size[1]), (left, top, right, bottom))


def mix_images(images: Tensor, mix: Mix) -> Tensor:
    """Images (N, C, H, W) mixed with the same batch from its end; the middle one of an odd number meets itself."""
    if mix.share == 1.0:
        return images
    if mix.box is None:
        return images * mix.share + images.flip(0) * (1 - mix.share)
    left, top, right, bottom = mix.box
    mixed = images.clone()
    mixed[:, :, top:bottom, left:right] = images[:, :, top:bottom, left:right].flip(0)
    return mixed


def mix_labels(labels: Tensor, mix: Mix, *, num_classes: int, smoothing: float) -> Tensor:
    """Smoothed and mixed targets float32 (N, num_classes), each summing to one, of labels (N)."""
    off = smoothing / num_classes
    targets = torch.full((len(labels), num_classes), off, device=labels.device)
    targets.scatter_(1, labels.long()[:, None], 1 - smoothing + off)
    return targets * mix.share + targets.flip(0) * (1 - mix.share)
