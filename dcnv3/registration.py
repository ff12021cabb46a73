"""The operator as PyTorch knows it: `dcnv3::forward` and `dcnv3::backward`, their shapes, gradients, FLOPs and fallback."""

from collections.abc import Sequence
from dataclasses import fields
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.utils.flop_counter import register_flop_formula

from dcnv3.backends import has_kernel
from dcnv3.geometry import Geometry, Pair
from dcnv3.reference import dcnv3_reference, without_autocast

GEOMETRY = (
    "int[2] kernel_size, int[2] stride, int[2] padding, int[2] dilation, int groups, float offset_scale, bool remove_center, bool softmax"
)
NAMES = tuple(field.name for field in fields(Geometry))
Arguments = tuple[Pair, Pair, Pair, Pair, int, float, bool, bool]  # as in GEOMETRY

torch.library.define("dcnv3::forward", f"(Tensor value, Tensor offset, Tensor mask, {GEOMETRY}) -> Tensor")
torch.library.define("dcnv3::backward", f"(Tensor grad, Tensor value, Tensor offset, Tensor mask, {GEOMETRY}) -> (Tensor, Tensor, Tensor)")


def arguments_of(geometry: Geometry, softmax: bool) -> Arguments:
    """What follows the tensors in a call of the operator."""
    g = geometry
    return g.kernel_size, g.stride, g.padding, g.dilation, g.groups, float(g.offset_scale), g.remove_center, softmax


def geometry_of(arguments: Sequence[Any]) -> Geometry:
    """The record from what follows the tensors."""
    return Geometry(**_named(arguments))


def _named(arguments: Sequence[Any]) -> dict[str, Any]:
    """What follows the tensors, but for softmax, by name; pairs come from the dispatcher as lists."""
    return {name: tuple(each) if isinstance(each, list) else each for name, each in zip(NAMES, arguments, strict=False)}


class Sample(torch.autograd.Function):
    """The operator with its gradient, outside the dispatcher: cheaper on the host than a registered formula."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, offset: Tensor, mask: Tensor, arguments: Arguments, namespace: str) -> Tensor:
        """`namespace` is "dcnv3", or a variant's own; nothing but the inputs is needed to go back."""
        ctx.save_for_backward(value, offset, mask)
        ctx.arguments, ctx.namespace = arguments, namespace
        return _forward(value, offset, mask, arguments, namespace)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of value, offset and mask."""
        value, offset, mask = ctx.saved_tensors
        run = Gradients.apply if torch.is_grad_enabled() else _gradients
        return *run(grad, value, offset, mask, ctx.arguments, ctx.namespace), None, None


class TransformedSample(torch.autograd.Function):
    """`Sample` in the form that torch.func's transforms ask for; its call takes four times as long."""

    @staticmethod
    def forward(value: Tensor, offset: Tensor, mask: Tensor, arguments: Arguments, namespace: str) -> Tensor:
        """As `Sample`."""
        return _forward(value, offset, mask, arguments, namespace)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """As `Sample`."""
        value, offset, mask, ctx.arguments, ctx.namespace = inputs
        ctx.save_for_backward(value, offset, mask)

    backward = Sample.backward

    @staticmethod
    def jvp(*_: Any) -> None:
        """Refused, where `sample` cannot see the tangents: under another transform."""
        _refuse_jvp()

    @staticmethod
    def vmap(*_: Any) -> None:
        """Refused: the batch dimension is there for that."""
        _refuse_vmap()


def sample(value: Tensor, offset: Tensor, mask: Tensor, arguments: Arguments, namespace: str = "dcnv3") -> Tensor:
    """The operator of `namespace`, differentiable once, backward."""
    if forward_ad._current_level >= 0:
        _refuse_tangents(value, offset, mask)
    if torch._C._are_functorch_transforms_active():
        return TransformedSample.apply(value, offset, mask, arguments, namespace)  # type: ignore[no-untyped-call]
    if torch.is_grad_enabled() and (value.requires_grad or offset.requires_grad or mask.requires_grad):
        return Sample.apply(value, offset, mask, arguments, namespace)  # type: ignore[no-untyped-call]
    return _forward(value, offset, mask, arguments, namespace)


def _forward(value: Tensor, offset: Tensor, mask: Tensor, arguments: Arguments, namespace: str) -> Tensor:
    if torch.compiler.is_compiling():
        return getattr(torch.ops, namespace).forward(value, offset, mask, *arguments)
    with torch._C._AutoDispatchBelowAutograd():  # past the gradient that is registered for callers of the bare operator
        return _overload(namespace, "forward")(value, offset, mask, *arguments)


def _gradients(grad: Tensor, value: Tensor, offset: Tensor, mask: Tensor, arguments: Arguments, namespace: str) -> tuple[Tensor, ...]:
    if torch.compiler.is_compiling():
        return getattr(torch.ops, namespace).backward(grad, value, offset, mask, *arguments)
    return _overload(namespace, "backward")(grad, value, offset, mask, *arguments)


@cache
def _overload(namespace: str, way: str) -> Any:
    """An operator, found once; a tracing compiler would warn of the cache."""
    return getattr(getattr(torch.ops, namespace), way).default


class Gradients(torch.autograd.Function):
    """The backward pass, which says so when someone differentiates it once more."""

    @staticmethod
    def forward(grad: Tensor, value: Tensor, offset: Tensor, mask: Tensor, arguments: Arguments, namespace: str) -> tuple[Tensor, ...]:
        """Gradients of value, offset and mask."""
        return _gradients(grad, value, offset, mask, arguments, namespace)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        """Nothing to keep."""

    @staticmethod
    def backward(ctx: Any, *_: Tensor) -> None:
        """Refused, so that no term of a second derivative is lost in silence."""
        raise NotImplementedError("dcnv3 can be differentiated once: its gradients have no gradients")

    @staticmethod
    def jvp(*_: Any) -> None:
        """Refused, as the forward pass is."""
        _refuse_jvp()

    @staticmethod
    def vmap(*_: Any) -> None:
        """Refused, as the forward pass is."""
        _refuse_vmap()


def _refuse_tangents(*tensors: Tensor) -> None:
    if any(forward_ad.unpack_dual(tensor).tangent is not None for tensor in tensors):
        _refuse_jvp()


def _refuse_jvp() -> None:
    raise NotImplementedError("dcnv3 has no forward-mode derivative: use backward, torch.func.grad or torch.func.vjp")


def _refuse_vmap(*_: Any) -> None:
    raise NotImplementedError(
        "dcnv3 cannot be mapped by vmap: fold the mapped dimension into the batch dimension N of value, offset and mask"
    )


def reference(value: Tensor, offset: Tensor, mask: Tensor, arguments: Sequence[Any]) -> Tensor:
    """The operator in plain PyTorch, differentiable as such; `arguments` as in GEOMETRY."""
    named = _named(arguments)
    return dcnv3_reference(value, offset, _normalised(mask, named["groups"]) if arguments[-1] else mask, **named).contiguous()


def _normalised(logits: Tensor, groups: int) -> Tensor:
    """Softmax over the points of each group, in float32 or wider."""
    dtype = torch.promote_types(logits.dtype, torch.float32)
    return logits.unflatten(-1, (groups, -1)).softmax(-1, dtype=dtype).flatten(-2)


def _forward_anywhere(value: Tensor, offset: Tensor, mask: Tensor, *arguments: Any) -> Tensor:
    if _is_for_cpu_kernel(value):
        return torch.ops.dcnv3.forward(value, offset, mask, *arguments)
    return reference(value, offset, mask, arguments)


def _backward_anywhere(grad: Tensor, value: Tensor, offset: Tensor, mask: Tensor, *arguments: Any) -> tuple[Tensor, ...]:
    if _is_for_cpu_kernel(value):
        return torch.ops.dcnv3.backward(grad, value, offset, mask, *arguments)
    # Leaving inference mode turns differentiation on even where operators of a mode that watches them run without it.
    with torch.inference_mode(False), without_autocast(value.device.type):
        value, offset, mask = (_leaf(tensor) for tensor in (value, offset, mask))
        gradients = torch.autograd.grad(reference(value, offset, mask, arguments), (value, offset, mask), grad)
    return tuple(gradient.contiguous() for gradient in gradients)


def _leaf(tensor: Tensor) -> Tensor:
    """The same numbers, to be differentiated with respect to."""
    return (tensor.clone() if tensor.is_inference() else tensor.detach()).requires_grad_()


def _is_for_cpu_kernel(value: Tensor) -> bool:
    """Sparse tensors come here too, and would for ever."""
    return value.device.type == "cpu" and value.layout is torch.strided and has_kernel("cpu")


def _forward_cuda(value: Tensor, offset: Tensor, mask: Tensor, *arguments: Any) -> Tensor:
    if not has_kernel("cuda"):
        return reference(value, offset, mask, arguments)
    from dcnv3 import cuda

    return cuda.forward(value, offset, mask, geometry_of(arguments), arguments[-1])


def _backward_cuda(grad: Tensor, value: Tensor, offset: Tensor, mask: Tensor, *arguments: Any) -> tuple[Tensor, ...]:
    if not has_kernel("cuda"):
        return _backward_anywhere(grad, value, offset, mask, *arguments)
    from dcnv3 import cuda

    return cuda.backward(grad, value, offset, mask, geometry_of(arguments), arguments[-1])


def _keep_inputs(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:3])
    ctx.arguments = inputs[3:]


def _bare_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    value, offset, mask = ctx.saved_tensors
    run = Gradients.apply if torch.is_grad_enabled() else _gradients
    return *run(grad, value, offset, mask, ctx.arguments, "dcnv3"), *(None for _ in ctx.arguments)


# Whoever calls the operator itself, an exported program for one, loads the CPU library by its first call: from then on the library's own
# registration goes before these. Devices without a kernel stay with the reference.
torch.library.impl("dcnv3::forward", "CompositeExplicitAutograd", _forward_anywhere)
torch.library.impl("dcnv3::backward", "CompositeExplicitAutograd", _backward_anywhere)
torch.library.impl("dcnv3::forward", "CUDA", _forward_cuda)
torch.library.impl("dcnv3::backward", "CUDA", _backward_cuda)
torch.library.register_vmap("dcnv3::forward", _refuse_vmap)
torch.library.register_autograd("dcnv3::forward", _bare_backward, setup_context=_keep_inputs)
torch.library.register_vmap("dcnv3::backward", _refuse_vmap)


@torch.library.register_fake("dcnv3::forward")  # type: ignore[untyped-decorator]
def _forward_shape(value: Tensor, offset: Tensor, mask: Tensor, *_: Any) -> Tensor:
    return value.new_empty(*offset.shape[:3], value.shape[3])


@torch.library.register_fake("dcnv3::backward")  # type: ignore[untyped-decorator]
def _backward_shapes(grad: Tensor, value: Tensor, offset: Tensor, mask: Tensor, *_: Any) -> tuple[Tensor, ...]:
    return tuple(torch.empty_like(tensor, memory_format=torch.contiguous_format) for tensor in (value, offset, mask))


@register_flop_formula(torch.ops.dcnv3.forward)
def forward_flops(value_shape: Any, offset_shape: Any, mask_shape: Any, *arguments: Any, **_: Any) -> int:
    """10·n·K·C, two for each of four bilinear and one modulating multiply-add; n output pixels."""
    n, height, width, per_pixel = mask_shape
    return 10 * n * height * width * (per_pixel // arguments[4]) * value_shape[-1]


@register_flop_formula(torch.ops.dcnv3.backward)
def backward_flops(grad_shape: Any, *shapes_and_arguments: Any, **_: Any) -> int:
    """Twice the forward's, as PyTorch counts convolutions."""
    return 2 * forward_flops(*shapes_and_arguments)
