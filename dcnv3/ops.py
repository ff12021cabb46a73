"""The checked entrance to the DCNv3 operator: every backend refuses the same inputs in the same words."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from dcnv3.backends import has_kernel, load_variant
from dcnv3.geometry import Geometry, Pair, pair
from dcnv3.registration import Arguments, arguments_of, reference, sample


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
    geometry = (kernel_size, stride, padding, dilation, groups, offset_scale, remove_center)
    return _sample("dcnv3", (value, offset, mask), geometry, softmax)


TYPES = frozenset((torch.float32, torch.float64, torch.bfloat16, torch.float16))
DENSE = torch.strided

# In the order of `dcnv3`'s own arguments.
DEFAULTS = {
    "kernel_size": None,
    "stride": 1,
    "padding": None,
    "dilation": 1,
    "groups": None,
    "offset_scale": 1.0,
    "remove_center": False,
}


def variant_operator(variant: str) -> Callable[..., Tensor]:
    """`dcnv3` on one variant of the CPU kernel, whichever is active; BuildError when it cannot be had. For tests and benchmarks."""
    load_variant(variant)
    namespace = f"dcnv3_{variant}"

    def run(value: Tensor, offset: Tensor, mask: Tensor, *, softmax: bool = True, **geometry: Any) -> Tensor:
        return _sample(namespace, (value, offset, mask), tuple({**DEFAULTS, **geometry}.values()), softmax)

    return run


def _sample(namespace: str, tensors: tuple[Tensor, Tensor, Tensor], geometry: tuple[Any, ...], softmax: bool) -> Tensor:
    _check_tensors(tensors)
    value, offset, mask = tensors
    arguments = _arguments(value.shape, offset.shape, mask.shape, softmax, *geometry)
    # A tracing compiler always sees the operator, which asks the same question when it runs.
    if not torch.compiler.is_compiling() and not has_kernel(value.device.type):
        return reference(value, offset, mask, arguments)
    return sample(value, offset, mask, arguments, namespace)


def _arguments(*shapes_and_geometry: Any) -> Arguments:
    """Checked once for every set of shapes and numbers; a tracing compiler, which would warn of the cache, checks its own."""
    if torch.compiler.is_compiling():
        return _checked_arguments(*shapes_and_geometry)
    try:
        return _known_arguments(*shapes_and_geometry)
    except TypeError:  # lists are welcome, and symbolic sizes, but not known again
        return _checked_arguments(*shapes_and_geometry)


def _checked_arguments(value: torch.Size, offset: torch.Size, mask: torch.Size, softmax: bool, *arguments: Any) -> Arguments:
    geometry = _new_geometry(*arguments)
    if type(softmax) is not bool:
        raise ValueError(f"softmax must be True or False, got softmax={softmax!r}")
    _check_shapes(value, offset, mask, geometry)
    return arguments_of(geometry, softmax)


_known_arguments = lru_cache(maxsize=1024, typed=True)(_checked_arguments)


def _new_geometry(
    kernel_size: int | Pair,
    stride: int | Pair,
    padding: int | Pair | None,
    dilation: int | Pair,
    groups: int,
    offset_scale: float,
    remove_center: bool,
) -> Geometry:
    kernel, spread = pair("kernel_size", kernel_size), pair("dilation", dilation)
    return Geometry(
        kernel_size=kernel,
        stride=pair("stride", stride),
        padding=_same_padding(kernel, spread) if padding is None else pair("padding", padding),
        dilation=spread,
        groups=groups,
        offset_scale=offset_scale,
        remove_center=remove_center,
    )


def _same_padding(kernel_size: Pair, dilation: Pair) -> Pair:
    height, width = (spread * (size - 1) // 2 for size, spread in zip(kernel_size, dilation, strict=True))
    return height, width


def _check_tensors(tensors: tuple[Tensor, Tensor, Tensor]) -> None:
    try:
        device = tensors[0].device
        for tensor in tensors:
            if tensor.dim() != 4 or tensor.dtype not in TYPES or tensor.layout is not DENSE or tensor.device != device:
                _refuse_tensor(*tensors)
    except AttributeError:
        _refuse_tensor(*tensors)
        raise


def _refuse_tensor(value: Tensor, offset: Tensor, mask: Tensor) -> None:
    for name, tensor in (("value", value), ("offset", offset), ("mask", mask)):
        if not isinstance(tensor, Tensor):
            raise ValueError(f"{name} must be a tensor, got {name} of type {type(tensor).__name__}")
        if tensor.dim() != 4:
            raise ValueError(f"{name} must have 4 dimensions (N, H, W, channels), got {name}.shape={tuple(tensor.shape)}")
        if tensor.dtype not in TYPES:
            raise ValueError(
                f"{name} must be floating-point, got {name}.dtype={tensor.dtype}; float32, float64, bfloat16 and float16 are supported"
            )
        if tensor.layout is not DENSE:
            raise ValueError(f"{name} must be dense, got {name}.layout={tensor.layout}")
        if tensor.device != value.device:
            raise ValueError(f"{name} must lie on value's device, got {name}.device={tensor.device}, value.device={value.device}")


def _check_shapes(value: torch.Size, offset: torch.Size, mask: torch.Size, geometry: Geometry) -> None:
    n, height, width, channels = value
    if channels < 1 or channels % geometry.groups:
        raise ValueError(f"groups must divide value's channels, got groups={geometry.groups}, channels={channels}")
    pixels = (n, *geometry.output_size((height, width)))
    per_pixel = geometry.groups * geometry.points
    for name, shape, last, formula in (("offset", offset, 2 * per_pixel, "G·K·2"), ("mask", mask, per_pixel, "G·K")):
        if shape != (*pixels, last):
            raise ValueError(
                f"{name} must be (N, Ho, Wo, {formula}) = {(*pixels, last)} for value.shape={tuple(value)}, got {name}.shape={tuple(shape)}"
            )
