"""The CUDA side of the operator: tensors in, tensors out, through kernels that NVRTC compiles at first use and the driver launches."""

import ctypes
from functools import lru_cache

import torch
from torch import Tensor

from dcnv3 import cuda_driver
from dcnv3.cuda_plan import BFLOAT16, DOUBLE, FLOAT, FLOAT16, Device, Launch, Problem, plan_backward, plan_forward
from dcnv3.geometry import Geometry

unavailable, describe = cuda_driver.unavailable, cuda_driver.describe

ELEMENTS = {torch.float32: FLOAT, torch.float64: DOUBLE, torch.bfloat16: BFLOAT16, torch.float16: FLOAT16}
# Fixed-point sums are 64-bit integers: the largest sum that a call can reach takes up to this many bits.
FIXED_BITS = 62


class Axis(ctypes.Structure):
    """`dcnv3::Axis` of sampling.cuh."""

    _fields_ = [(name, ctypes.c_int) for name in ("size", "outputs", "kernel", "stride", "dilation", "center", "origin")]


class Arguments(ctypes.Structure):
    """`dcnv3::Arguments` of sampling.cuh, the one parameter of every kernel."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("value", "offset", "mask", "grad", "output", "d_value", "d_offset", "d_mask", "fixed")),
        ("offset_scale", ctypes.c_double),
        ("pixel_groups", ctypes.c_longlong),
        ("x", Axis),
        ("y", Axis),
        *((name, ctypes.c_int) for name in ("groups", "points", "removed", "softmax")),
    ]


def forward(value: Tensor, offset: Tensor, mask: Tensor, geometry: Geometry, softmax: bool) -> Tensor:
    """(N, Ho, Wo, C) in `value`'s dtype; the mask holds logits when `softmax`, else finished weights."""
    value, (offset, mask) = _aligned(value), map(_aligned, _same_dtype(offset, mask))
    problem = problem_of(tuple(value.shape), value.dtype, offset.dtype, geometry)
    output = value.new_empty(value.shape[0], *problem.outputs, value.shape[3])
    if output.numel():
        _run(plan_forward(problem), problem, softmax, value=value, offset=offset, mask=mask, output=output)
    return output


def backward(grad: Tensor, value: Tensor, offset: Tensor, mask: Tensor, geometry: Geometry, softmax: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of value, offset and mask, each in its input's dtype; the same to the bit in every run under deterministic algorithms."""
    return backward_by(None, grad, value, offset, mask, geometry=geometry, softmax=softmax)


def backward_by(
    strategy: str | None, grad: Tensor, value: Tensor, offset: Tensor, mask: Tensor, *, geometry: Geometry, softmax: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """`backward` with the input gradient summed by "planes", "sums" or "fixed"; None leaves the choice to the sizes."""
    dtypes = offset.dtype, mask.dtype
    grad, value, (offset, mask) = _aligned(grad.to(value.dtype)), _aligned(value), map(_aligned, _same_dtype(offset, mask))
    problem = problem_of(tuple(value.shape), value.dtype, offset.dtype, geometry)
    d_offset, d_mask = offset.new_empty(offset.shape), mask.new_empty(mask.shape)
    if not grad.numel():
        return value.new_zeros(value.shape), d_offset.to(dtypes[0]), d_mask.to(dtypes[1])
    deterministic = torch.are_deterministic_algorithms_enabled()
    steps = plan_backward(problem, _device(value), deterministic=deterministic, strategy=strategy)
    tensors = {"value": value, "offset": offset, "mask": mask, "grad": grad, "d_offset": d_offset, "d_mask": d_mask}
    d_value = _SUMMED[steps[0].instance.kernel](steps, problem, softmax, tensors)
    return d_value, d_offset.to(dtypes[0]), d_mask.to(dtypes[1])


def _in_planes(steps: tuple[Launch, ...], problem: Problem, softmax: bool, tensors: dict[str, Tensor]) -> Tensor:
    d_value = tensors["value"].new_empty(tensors["value"].shape)
    for step in steps:
        _run(step, problem, softmax, **tensors, d_value=d_value)
    return d_value


def _in_sums(steps: tuple[Launch, ...], problem: Problem, softmax: bool, tensors: dict[str, Tensor]) -> Tensor:
    value = tensors["value"]
    sums = torch.zeros(value.shape, dtype=torch.promote_types(value.dtype, torch.float32), device=value.device)
    _run(steps[0], problem, softmax, **tensors, d_value=sums)
    return sums.to(value.dtype)


def _in_fixed_point(steps: tuple[Launch, ...], problem: Problem, softmax: bool, tensors: dict[str, Tensor]) -> Tensor:
    value, grad, mask = tensors["value"], tensors["grad"], tensors["mask"]
    largest = grad.abs().amax().double() * problem.outputs[0] * problem.outputs[1] * problem.geometry.points
    # Softmax of a group is undefined when its largest logit is infinite.
    weights = mask.unflatten(-1, (problem.geometry.groups, -1)).amax(-1) if softmax else mask.abs().amax()
    if not softmax:
        largest = largest * weights.double()
    # A power of two, so that the scale itself rounds nothing; within the exponents of the type that kernels sum in, so that in float32
    # gradients below about 1e-31 lose digits. All of it stays on the device.
    widest = 1022 if value.dtype == torch.float64 else 126
    exponent = (FIXED_BITS - torch.frexp(largest).exponent).clamp(-widest, widest)
    scale = torch.exp2(exponent.double())
    sums = torch.zeros(value.shape, dtype=torch.int64, device=value.device)
    _run(steps[0], problem, softmax, **tensors, d_value=sums, fixed=scale)
    # What is infinite or undefined has no fixed point: it shows as NaN everywhere instead of vanishing.
    return (sums.double() / torch.where(largest.isfinite() & weights.isfinite().all(), scale, torch.nan)).to(value.dtype)


_SUMMED = {
    "backward_plane": _in_planes,
    "backward_tile": _in_planes,
    "backward_sums": _in_sums,
    "backward_fixed": _in_fixed_point,
}


def _run(step: Launch, problem: Problem, softmax: bool, **tensors: Tensor) -> None:
    arguments = Arguments.from_buffer_copy(sizes(problem, softmax))
    for name, tensor in tensors.items():
        setattr(arguments, name, tensor.data_ptr())
    cuda_driver.launch(step, arguments, tensors["value"].device)


@lru_cache(maxsize=1024)
def sizes(problem: Problem, softmax: bool) -> bytes:
    """The record of arguments with everything but its pointers."""
    geometry = problem.geometry
    axes = [_axis(problem, axis) for axis in (0, 1)]
    removed = geometry.points // 2 if geometry.remove_center else -1
    numbers = {"groups": geometry.groups, "points": geometry.points, "removed": removed, "softmax": softmax}
    return bytes(Arguments(offset_scale=geometry.offset_scale, pixel_groups=problem.pixel_groups, y=axes[0], x=axes[1], **numbers))


def _axis(problem: Problem, axis: int) -> Axis:
    geometry = problem.geometry
    kernel, dilation = geometry.kernel_size[axis], geometry.dilation[axis]
    center = dilation * (kernel - 1) // 2
    origin = center - geometry.padding[axis]
    return Axis(problem.size[axis], problem.outputs[axis], kernel, geometry.stride[axis], dilation, center, origin)


@lru_cache(maxsize=1024)
def problem_of(shape: tuple[int, ...], value: torch.dtype, parameter: torch.dtype, geometry: Geometry) -> Problem:
    """The sizes of a call with a value of this shape; ValueError for a type that no kernel takes."""
    for name, dtype in (("value", value), ("offset and mask", parameter)):
        if dtype not in ELEMENTS:
            raise ValueError(f"{name} must be one of {[str(known) for known in ELEMENTS]} on a CUDA device, got dtype={dtype}")
    images, height, width, channels = shape
    return Problem(geometry, images, (height, width), channels, ELEMENTS[value], ELEMENTS[parameter])


def _same_dtype(offset: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Both in one dtype, float32 at least when they differ: autocast may hand over one of each kind."""
    if offset.dtype == mask.dtype:
        return offset, mask
    dtype = torch.promote_types(torch.promote_types(offset.dtype, mask.dtype), torch.float32)
    return offset.to(dtype), mask.to(dtype)


def _aligned(tensor: Tensor) -> Tensor:
    """Contiguous from an address that whole words can be read at."""
    tensor = tensor.contiguous()
    return tensor if tensor.data_ptr() % 16 == 0 else tensor.clone()


def _device(tensor: Tensor) -> Device:
    return cuda_driver.device_limits(tensor.device.index)
