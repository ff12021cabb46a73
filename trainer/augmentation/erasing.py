"""Random erasing: a box of some images filled with noise (Zhong et al., arXiv:1708.04896)."""

import torch
from torch import Tensor

from searchspace.recipes import Augmentation
from trainer.augmentation.boxes import draw_boxes

AREA = (0.02, 1 / 3)  # share of the image
RATIO = (0.3, 1 / 0.3)  # width / height


def erase(images: Tensor, augmentation: Augmentation, generator: torch.Generator) -> Tensor:
    """Normalised images (N, C, H, W) where some have had boxes replaced by standard normal noise, drawn for every pixel and channel.

    Of a box's share of the image each of `erasing_count` gets its part. `generator` is one of the CPU; the noise is drawn on the images'
    device from a seed that it gives.
    """
    chosen = (torch.rand(len(images), generator=generator) < augmentation.erasing_probability).nonzero()[:, 0]
    noise = torch.Generator(images.device).manual_seed(int(torch.randint(2**62, (), generator=generator)))
    count = augmentation.erasing_count
    for _ in range(count if len(chosen) else 0):
        size = (images.shape[2], images.shape[3])
        boxes, _found = draw_boxes(len(chosen), size, area=(AREA[0] / count, AREA[1] / count), ratio=RATIO, generator=generator)
        images = _filled(images, chosen, boxes, noise)
    return images


def _filled(images: Tensor, chosen: Tensor, boxes: Tensor, generator: torch.Generator) -> Tensor:
    index, sides = (tensor.to(images.device, non_blocking=True) for tensor in (chosen, boxes))
    left, top, right, bottom = sides.T[..., None, None, None]
    x = torch.arange(images.shape[3], device=images.device)
    y = torch.arange(images.shape[2], device=images.device)[:, None]
    within = (x >= left) & (x < right) & (y >= top) & (y < bottom)
    part = images[index]
    values = torch.randn(part.shape, generator=generator, device=images.device, dtype=images.dtype)
    return images.index_copy(0, index, torch.where(within, values, part))
