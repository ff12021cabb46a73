"""Random boxes of a drawn area and aspect ratio, for cropping and for erasing."""

import math

import torch
from torch import Tensor

ATTEMPTS = 10  # after which an image has no box of the drawn kind: the usual number


def uniform(low: float, high: float, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Float64 numbers, evenly spread over [low, high)."""
    return low + (high - low) * torch.rand(shape, generator=generator, dtype=torch.float64)


def draw_boxes(
    count: int, size: tuple[int, int], *, area: tuple[float, float], ratio: tuple[float, float], generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Boxes int64 (count, 4), left, top, right and bottom, within an image of `size` (height, width); and which were found, bool (count).

    A box has a share of the image's area drawn evenly from `area` and a width / height drawn evenly, in logarithms, from `ratio`; the first
    of ten that fits is taken and put anywhere with the same chance. Where none fits, the box is empty.
    """
    height, width = size
    areas = height * width * uniform(*area, (count, ATTEMPTS), generator)
    ratios = uniform(math.log(ratio[0]), math.log(ratio[1]), (count, ATTEMPTS), generator).exp()
    sides = torch.stack([(areas * ratios).sqrt(), (areas / ratios).sqrt()], dim=2).round()
    room = torch.tensor([width, height]) - sides
    fits = ((room >= 0) & (sides > 0)).all(2)
    first = fits.int().argmax(1)
    found, every = fits.any(1), torch.arange(count)
    chosen = sides[every, first] * found[:, None]
    corner = (uniform(0, 1, (count, 2), generator) * (room[every, first] + 1)).floor() * found[:, None]
    return torch.cat([corner, corner + chosen], dim=1).long(), found


def central_box(size: tuple[int, int], ratio: tuple[float, float]) -> Tensor:
    """The largest box int64 (4) in the middle of an image of `size` (height, width) whose width / height lies within `ratio`."""
    height, width = size
    box_width, box_height = min(width, round(height * ratio[1])), min(height, round(width / ratio[0]))
    left, top = (width - box_width) // 2, (height - box_height) // 2
    return torch.tensor([left, top, left + box_width, top + box_height])
