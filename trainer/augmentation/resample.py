"""Antialiased resizing of boxes of images, a whole batch at once and bit for bit as Pillow does it.

Resizing is separable and linear, so it is two matrix products: columns first, then rows, with one weight matrix for each image and axis.
As in Pillow, the filter widens where the image shrinks, weights sum to one and are whole multiples of 2⁻²², and what leaves each pass is
rounded and clipped to 8 bits. (Pillow 13 takes rows first where that is the cheaper order; earlier ones never do, nor does this.)
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

FINE_STEPS = 2.0**22  # of a weight, in one: Pillow's
COARSE_STEPS = 2.0**10  # a weight up to 1.25 then has 11 bits, which float32 products keep exactly, and TF32's too
CHUNK = 64  # images at a time: their float64 weight matrices are the largest thing here


def _triangle(distance: Tensor) -> Tensor:
    return (1 - distance.abs()).clamp(min=0)


def _cubic(distance: Tensor) -> Tensor:
    """Keys' cubic convolution with a = -0.5."""
    x = distance.abs()
    near, far = (1.5 * x - 2.5) * x * x + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2
    return torch.where(x < 1, near, torch.where(x < 2, far, 0.0))


Filter = Callable[[Tensor], Tensor]  # distances in pixels to weights, not yet normalised
FILTERS: Mapping[str, Filter] = {"bilinear": _triangle, "bicubic": _cubic}


def check_interpolation(interpolation: str) -> None:
    """ValueError for a filter that is not in `FILTERS`."""
    if interpolation not in FILTERS:
        raise ValueError(f"unknown interpolation {interpolation!r}; known: {', '.join(FILTERS)}")


def resize(images: Tensor, boxes: Tensor, size: tuple[int, int], *, interpolation: str, mirrored: Tensor | None = None) -> Tensor:
    """Boxes (N, 4) of uint8 images (N, C, H, W) as uint8 images (N, C, *size), size being (height, width).

    A box is left, top, right and bottom in pixels; as in Pillow, what lies around it counts where the filter reaches over its edge.
    `mirrored` (N) says which results are flipped left to right. ValueError for an unknown filter.
    """
    check_interpolation(interpolation)
    across, down = boxes[:, 0::2], boxes[:, 1::2]
    if mirrored is not None:
        across = torch.where(mirrored[:, None], across.flip(1), across)  # from right to left: a mirror image
    sides = torch.stack([across, down], dim=1).to(images.device, torch.float64, non_blocking=True)
    with torch.autocast(images.device.type, enabled=False):
        parts = zip(images.split(CHUNK), sides.split(CHUNK), strict=True)
        return torch.cat([_resized(part, part_sides, size, FILTERS[interpolation]) for part, part_sides in parts])


def _resized(images: Tensor, sides: Tensor, size: tuple[int, int], filter: Filter) -> Tensor:
    channels, height, width = images.shape[1:]
    columns, rows = _weights(sides[:, 0], size[1], width, filter), _weights(sides[:, 1], size[0], height, filter)
    flat = images.flatten(1, 2).float()  # (N, C H, W)
    narrowed = _eight_bits(*(flat @ weights.transpose(1, 2) for weights in columns))
    by_row = narrowed.unflatten(1, (channels, height)).transpose(1, 2).flatten(2)  # (N, H, C width)
    done = _eight_bits(*(weights @ by_row for weights in rows))
    return done.unflatten(2, (channels, size[1])).transpose(1, 2).to(torch.uint8)


def _weights(sides: Tensor, size: int, length: int, filter: Filter) -> tuple[Tensor, Tensor]:
    """Matrices float32 (N, size, length), coarse and fine, whose sum weighs `length` pixels for `size` samples between sides (N, 2)."""
    scale = (sides[:, 1:] - sides[:, :1]) / size
    centres = sides[:, :1] + (torch.arange(size, device=sides.device) + 0.5) * scale
    pixels = torch.arange(length, device=sides.device) + 0.5
    weights = filter((pixels - centres[..., None]) / scale.abs().clamp(min=1)[..., None])
    weights = ((weights / weights.sum(2, keepdim=True)) * FINE_STEPS).round() / FINE_STEPS
    coarse = (weights * COARSE_STEPS).round() / COARSE_STEPS
    return coarse.float(), (weights - coarse).float()


def _eight_bits(coarse: Tensor, fine: Tensor) -> Tensor:
    """The sum rounded half up and clipped to 0..255; exact where the sum itself would need more digits than float32 has."""
    whole = (coarse + 0.5).floor()
    return (whole + (coarse + 0.5 - whole + fine).floor()).clamp(0, 255)
