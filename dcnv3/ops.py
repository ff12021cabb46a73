"""The checked entrance to the DCNv3 core, thin for now: no compiled kernel exists yet, so every call runs the PyTorch reference."""

from dataclasses import dataclass

import torch
from torch import Tensor

from dcnv3.geometry import Geometry, Pair, pair
from dcnv3.reference import dcnv3_reference


@dataclass(frozen=True, slots=True)
class Backend:
    """Which implementation `dcnv3` runs, and why."""

    name: str
    reason: str


def backend() -> Backend:
    """The implementation that `dcnv3` runs in this process."""
    return Backend(name="reference", reason="plain PyTorch is the only implementation so far")


def dcnv3(
    value: Tensor,
    offset: Tensor,
    mask: Tensor,
    *,
    kernel_size: int | Pair,
    stride: int | Pair = 1,
    padding: int | Pair | None = None,
    dilation: int | Pair = 1,
    groups: int,
    offset_scale: float = 1.0,
    remove_center: bool = False,
    softmax: bool = True,
) -> Tensor:
    """(N, Ho, Wo, C) from value (N, H, W, C), offset (N, Ho, Wo, G·K·2) as x, y in pixels, and mask (N, Ho, Wo, G·K).

    The mask holds logits, normalised here over each group's K points, or finished weights with `softmax=False`. Pairs are (height, width);
    padding None keeps the size at stride 1 and an odd kernel. ValueError names the argument that does not fit.
    """
    kernel, spread = pair("kernel_size", kernel_size), pair("dilation", dilation)
    geometry = Geometry(
        kernel_size=kernel,
        stride=pair("stride", stride),
        padding=_same_padding(kernel, spread) if padding is None else pair("padding", padding),
        dilation=spread,
        groups=groups,
        offset_scale=offset_scale,
        remove_center=remove_center,
    )
    _check_tensors(value, offset, mask)
    _check_shapes(value, offset, mask, geometry)
    return dcnv3_reference(
        value,
        offset,
        _normalised(mask, groups) if softmax else mask,
        kernel_size=geometry.kernel_size,
        stride=geometry.stride,
        padding=geometry.padding,
        dilation=geometry.dilation,
        groups=groups,
        offset_scale=offset_scale,
        remove_center=remove_center,
    )


def _normalised(logits: Tensor, groups: int) -> Tensor:
    dtype = torch.promote_types(logits.dtype, torch.float32)
    return logits.unflatten(-1, (groups, -1)).softmax(-1, dtype=dtype).flatten(-2)


def _same_padding(kernel_size: Pair, dilation: Pair) -> Pair:
    height, width = (spread * (size - 1) // 2 for size, spread in zip(kernel_size, dilation, strict=True))
    return height, width


def _check_tensors(value: Tensor, offset: Tensor, mask: Tensor) -> None:
    for name, tensor in (("value", value), ("offset", offset), ("mask", mask)):
        if tensor.dim() != 4:
            raise ValueError(f"{name} must have 4 dimensions (N, H, W, channels), got {name}.shape={tuple(tensor.shape)}")
        if not tensor.is_floating_point():
            raise ValueError(f"{name} must be floating-point, got {name}.dtype={tensor.dtype}")
        if tensor.device != value.device:
            raise ValueError(f"{name} must lie on value's device, got {name}.device={tensor.device}, value.device={value.device}")


def _check_shapes(value: Tensor, offset: Tensor, mask: Tensor, geometry: Geometry) -> None:
    n, height, width, channels = value.shape
    if channels < 1 or channels % geometry.groups:
        raise ValueError(f"groups must divide value's channels, got groups={geometry.groups}, channels={channels}")
    pixels = (n, *geometry.output_size((height, width)))
    per_pixel = geometry.groups * geometry.points
    for name, tensor, last, formula in (("offset", offset, 2 * per_pixel, "G·K·2"), ("mask", mask, per_pixel, "G·K")):
        if tensor.shape != (*pixels, last):
            raise ValueError(
                f"{name} must be (N, Ho, Wo, {formula}) = {(*pixels, last)} for value.shape={tuple(value.shape)}, "
                f"got {name}.shape={tuple(tensor.shape)}"
            )
