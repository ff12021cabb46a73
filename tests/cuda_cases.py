"""Calls of the operator, drawn and chosen, and what the specification says of them in float64."""

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from dcnv3 import dcnv3_reference
from dcnv3.geometry import Geometry
from tests.geometries import geometries, pairs

SINGLE, DOUBLE, BRAIN, HALF = torch.float32, torch.float64, torch.bfloat16, torch.float16
ODD_NUMBERS = [math.nan, math.inf, -math.inf, 1e30, -1e30, 2.0**31, -(2.0**40), 0.0, 1.0, -1.0, 5.0]
# Of the largest number: two roundings of the type, and of float32 what sums of some hundred products lose.
TOLERANCE = {SINGLE: 2e-6, DOUBLE: 1e-13, BRAIN: 2.0**-8, HALF: 2.0**-11}
Gradients = tuple[Tensor, Tensor, Tensor, Tensor]
NAMES = ("output", "d_value", "d_offset", "d_mask")


def square(kernel: int, groups: int = 1) -> Geometry:
    """A lattice that keeps the size of its input."""
    pairs: dict[str, Any] = {"kernel_size": (kernel, kernel), "stride": (1, 1), "padding": (kernel // 2,) * 2, "dilation": (1, 1)}
    return Geometry(**pairs, groups=groups, offset_scale=1.0, remove_center=False)


@st.composite
def lattices(draw: st.DrawFn) -> tuple[Geometry, tuple[int, int]]:
    """A lattice, every second time of the unrolled kernel, and an input size that it fits; its scales keep every coordinate exact."""
    kernels = st.just((3, 3)) | pairs(1, 5)
    fields, size = draw(geometries(kernels=kernels, padding=2, groups=3, room=4, scales=[1.0, 1.25, 2.0]))
    return Geometry(**fields), size


@dataclass(frozen=True)
class Call:
    """One call of the operator with the gradient of its output."""

    grad: Tensor
    value: Tensor
    offset: Tensor
    mask: Tensor
    geometry: Geometry
    softmax: bool

    @property
    def tensors(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return self.grad, self.value, self.offset, self.mask

    def to(self, value: torch.dtype, parameter: torch.dtype, device: str = "cpu") -> "Call":
        """The same call in other types, on another device."""
        grad, plane = (tensor.to(device, value) for tensor in (self.grad, self.value))
        offset, mask = (tensor.to(device, parameter) for tensor in (self.offset, self.mask))
        return replace(self, grad=grad, value=plane, offset=offset, mask=mask)

    def specified(self) -> Gradients:
        """Output and gradients by the reference in float64, for numbers as the kernels get them."""
        exact = [tensor.detach().double().requires_grad_() for tensor in (self.value, self.offset, self.mask)]
        weights = exact[2].unflatten(-1, (self.geometry.groups, -1)).softmax(-1).flatten(-2) if self.softmax else exact[2]
        fields = {name: getattr(self.geometry, name) for name in Geometry.__dataclass_fields__}
        output = dcnv3_reference(exact[0], exact[1], weights, **fields)
        return output.detach(), *torch.autograd.grad(output, exact, self.grad.double())

    def check(self, output: Tensor, gradients: tuple[Tensor, Tensor, Tensor]) -> None:
        """AssertionError unless each is in its own type and within that type's rounding of the specification."""
        own = self.value, self.value, self.offset, self.mask
        for name, found, expected, like in zip(NAMES, (output, *gradients), self.specified(), own, strict=True):
            assert found.dtype == like.dtype, name
            worst = max(TOLERANCE[like.dtype], TOLERANCE[torch.promote_types(self.value.dtype, torch.float32)])
            assert error(found, expected) <= worst, name


def drawn(
    geometry: Geometry, shape: tuple[int, ...], *, seed: int = 0, spread: float = 0.7, odd: float = 0.0, softmax: bool = True
) -> Call:
    """A call in float64 whose numbers are exact in bfloat16, but for offsets in steps of 1/256; a share `odd` of these is out of reach."""
    draw = torch.Generator().manual_seed(seed)
    pixels = (shape[0], *geometry.output_size((shape[1], shape[2])))

    def normal(*size: int) -> Tensor:
        return torch.randn(size, generator=draw).bfloat16().double()

    offset = (normal(*pixels, geometry.groups * geometry.points * 2) * spread * 256).round() / 256
    if odd:
        picked = torch.rand(offset.shape, generator=draw) < odd
        numbers = torch.tensor(ODD_NUMBERS, dtype=DOUBLE)[torch.randint(len(ODD_NUMBERS), offset.shape, generator=draw)]
        offset = torch.where(picked, numbers, offset)
    mask = normal(*pixels, geometry.groups * geometry.points)
    return Call(normal(*pixels, shape[-1]), normal(*shape), offset, mask, geometry, softmax)


def error(found: Tensor, expected: Tensor) -> float:
    """The largest difference, as a part of the largest number or of 1 where all are smaller."""
    assert found.shape == expected.shape
    if not expected.numel():
        return 0.0
    difference = (found.double() - expected).abs().max()
    return float(difference.nan_to_num(nan=torch.inf)) / max(1.0, float(expected.abs().max()))
