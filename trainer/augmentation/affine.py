"""Rotating, shearing and shifting a batch of images bit for bit as Pillow's `Image.transform` does, each by a matrix of its own.

A matrix (a, b, c, d, e, f) takes the point (x, y) of the result to (a x + b y + c, d x + e y + f) in the source, both in pixels from
the upper left corner. Points outside the source have the fill colour. Between pixels Pillow interpolates with other weights than where
it resizes: its cubic has a = -1 here, nothing widens, and results are cut off rather than rounded. Hence float64, as in Pillow: a sum that
falls short of a whole number by its last bit is a grey level darker.
"""

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

Size = tuple[int, int]  # height, width


def rotation(degrees: Tensor, size: Size) -> Tensor:
    """Counterclockwise about the middle."""
    angle = -(degrees % 360) * (math.pi / 180)  # to the last bit as Pillow, and so is the rounding
    a, b = angle.cos().round(decimals=15), angle.sin().round(decimals=15)
    x, y = size[1] / 2, size[0] / 2
    return torch.stack([a, b, -a * x - b * y + x, -b, a, b * x - a * y + y], dim=1)


def horizontal_shear(factor: Tensor, _size: Size) -> Tensor:
    """Rows shifted by `factor` for every row further down."""
    return _matrices(factor, 1)


def vertical_shear(factor: Tensor, _size: Size) -> Tensor:
    """Columns shifted by `factor` for every column further right."""
    return _matrices(factor, 3)


def horizontal_shift(share: Tensor, size: Size) -> Tensor:
    """Shifted by a share of the width."""
    return _matrices(share * size[1], 2)


def vertical_shift(share: Tensor, size: Size) -> Tensor:
    """Shifted by a share of the height."""
    return _matrices(share * size[0], 5)


# From arguments float64 (N) to matrices float64 (N, 6).
AFFINE_OPERATIONS: Mapping[str, Callable[[Tensor, Size], Tensor]] = {
    "Rotate": rotation,
    "ShearX": horizontal_shear,
    "ShearY": vertical_shear,
    "TranslateXRel": horizontal_shift,
    "TranslateYRel": vertical_shift,
}


def transform(images: Tensor, matrices: Tensor, *, fill: Tensor, interpolation: str) -> Tensor:
    """Uint8 images (N, C, H, W) transformed by float64 matrices (N, 6) on the same device; `fill` (C) is uint8."""
    height, width = images.shape[2:]
    x, y = _sources(matrices, (height, width))
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    blend, reach = INTERPOLATIONS[interpolation]
    left, up = (x - 0.5).floor(), (y - 0.5).floor()
    across, down = (x - 0.5 - left)[:, None], (y - 0.5 - up)[:, None]
    flat = images.flatten(2)

    def pixels(right: int, below: int) -> Tensor:
        column, row = (left.long() + right).clamp(0, width - 1), (up.long() + below).clamp(0, height - 1)
        index = (row * width + column).flatten(1)[:, None].expand(-1, images.shape[1], -1)
        return flat.gather(2, index).view_as(images).double()

    rows = [blend([pixels(right, below) for right in reach], across) for below in reach]
    return torch.where(inside[:, None], blend(rows, down).clamp(0, 255).to(torch.uint8), fill[:, None, None])


def _sources(matrices: Tensor, size: Size) -> tuple[Tensor, Tensor]:
    """Where every pixel's middle comes from: x and y, float64 (N, H, W)."""
    x = torch.arange(size[1], device=matrices.device, dtype=torch.float64) + 0.5
    y = torch.arange(size[0], device=matrices.device, dtype=torch.float64)[:, None] + 0.5
    a, b, c, d, e, f = matrices.T[..., None, None]
    return a * x + b * y + c, d * x + e * y + f


def _matrices(values: Tensor, column: int) -> Tensor:
    """The identity with `values` (N) in one of the six columns."""
    matrices = torch.tensor([[1.0, 0.0, 0.0, 0.0, 1.0, 0.0]], dtype=torch.float64).repeat(len(values), 1)
    matrices[:, column] = values
    return matrices


def _linear(values: list[Tensor], position: Tensor) -> Tensor:
    return values[0] + (values[1] - values[0]) * position


def _cubic(values: list[Tensor], position: Tensor) -> Tensor:
    """Cubic convolution with a = -1; as a polynomial equal values come out as they are, which weights that sum to 0.999 would cut off."""
    before, start, end, after = values
    slope, bend, twist = end - before, 2 * (before - start) + end - after, start - before - end + after
    return start + position * (slope + position * (bend + position * twist))


# How values at whole positions are blended, and which positions take part, counted from the one before the point.
INTERPOLATIONS: Mapping[str, tuple[Callable[[list[Tensor], Tensor], Tensor], tuple[int, ...]]] = {
    "bilinear": (_linear, (0, 1)),
    "bicubic": (_cubic, (-1, 0, 1, 2)),
}
