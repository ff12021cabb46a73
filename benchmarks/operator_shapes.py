"""The shapes that the operator is timed at, with the work and the memory traffic that each of them needs at least."""

from dataclasses import dataclass

import torch
from torch import Tensor

POINTS = 9  # a 3x3 kernel
NEIGHBOURS = 4 * POINTS  # pixels read for each output pixel and group
FLOAT_BYTES = 4


@dataclass(frozen=True, slots=True)
class Shape:
    """One call: `images` maps of `side`² pixels and `channels` in `groups`; `family` names what trains on it."""

    family: str
    images: int
    side: int
    channels: int
    groups: int

    def __str__(self) -> str:
        return f"{self.images}x{self.side}x{self.side}x{self.channels}/{self.groups}"

    @property
    def group_channels(self) -> int:
        """C', what one row of memory holds."""
        return self.channels // self.groups

    @property
    def pixels(self) -> int:
        """n, those of the output: as many as the input's."""
        return self.images * self.side**2

    @property
    def rows(self) -> int:
        """Rows of C' values that the four neighbours of all points are."""
        return self.pixels * self.groups * NEIGHBOURS

    @property
    def forward_flops(self) -> int:
        """10·n·K·C; forward and backward together take three times as many."""
        return 10 * self.pixels * POINTS * self.channels

    @property
    def forward_bytes(self) -> int:
        """Value, offset, logits and output, each moved once."""
        return FLOAT_BYTES * self.pixels * (2 * self.channels + 3 * self.groups * POINTS)

    @property
    def backward_bytes(self) -> int:
        """The output's gradient and the three inputs in, three gradients out."""
        return FLOAT_BYTES * self.pixels * (3 * self.channels + 6 * self.groups * POINTS)

    def row_bytes(self, vector_bytes: int) -> int:
        """Width of the loads that read a row on this vector unit."""
        return min(FLOAT_BYTES * self.group_channels, vector_bytes)

    def vectors(self, vector_bytes: int) -> int:
        """Loads, or read-modify-writes, that all rows take."""
        return self.rows * -(-FLOAT_BYTES * self.group_channels // vector_bytes)


@dataclass(frozen=True, slots=True)
class Inputs:
    """Random operands of one shape, inputs with gradients on."""

    value: Tensor
    offset: Tensor
    logits: Tensor
    grad: Tensor

    @property
    def tensors(self) -> tuple[Tensor, Tensor, Tensor]:
        """In the operator's order."""
        return self.value, self.offset, self.logits


def draw(shape: Shape, seed: int = 0) -> Inputs:
    """Normal values everywhere; offsets of about a pixel, so that points fall between pixels and some of them beyond the border."""
    generator = torch.Generator().manual_seed(seed)
    per_pixel = shape.groups * POINTS
    value, offset, logits, grad = (
        torch.randn(shape.images, shape.side, shape.side, width, generator=generator)
        for width in (shape.channels, 2 * per_pixel, per_pixel, shape.channels)
    )
    # The slope in an offset jumps at whole pixels, where a rounding decides the side: results could not be compared.
    offset = offset.floor() + offset.frac().abs().clamp(0.01, 0.99)
    return Inputs(value.requires_grad_(), offset.requires_grad_(), logits.requires_grad_(), grad)


def pyramid(family: str, images: int, side: int, channels: int) -> list[Shape]:
    """Four stages in 4, 8, 16 and 32 groups, each half the size and twice the width of the one before."""
    return [Shape(family, images, side >> stage, channels << stage, 4 << stage) for stage in range(4)]


SHAPES = (
    *pyramid("T at 224²", images=8, side=56, channels=64),
    *pyramid("T at 32²", images=64, side=8, channels=64),
    *pyramid("T at 64²", images=32, side=16, channels=64),
    *pyramid("proxy, C' = 4", images=32, side=8, channels=16),
    *pyramid("proxy, C' = 8", images=32, side=8, channels=32),
)
