"""What is timed at a shape: `F.grid_sample`, this project's reference in PyTorch, and the variants of the CPU kernel."""

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor

from benchmarks.grid_sample import SPELLINGS
from benchmarks.operator_shapes import Inputs, Shape
from benchmarks.timing import Run
from dcnv3.backends import backend
from dcnv3.build import supported
from dcnv3.geometry import Geometry
from dcnv3.ops import variant_operator
from dcnv3.registration import arguments_of, reference

TOLERANCE = 1e-4  # of norms; coordinates in [-1, 1] are some 4e-6 of a map off
REFERENCE = "reference"
Operator = Callable[[Tensor, Tensor, Tensor], Tensor]


def kernel_variants() -> tuple[str, ...]:
    """The active variant of the CPU kernel and those below it; SystemExit with the reason when there is no kernel to measure."""
    active = backend()
    if active.name == REFERENCE:
        raise SystemExit(f"there is no CPU kernel to measure: {active.reason}")
    return supported()[supported().index(active.name) :]


def contenders(shape: Shape, variants: tuple[str, ...]) -> dict[str, Operator]:
    """All of them by name, each from value, offset and logits to the output."""
    return {**baselines(shape.groups), **{variant: native(variant, shape.groups) for variant in variants}}


def baselines(groups: int) -> dict[str, Operator]:
    """Those without a compiled kernel; the slow reference is the one that the others are checked against."""
    spelled = {name: _spelled(name, groups) for name in SPELLINGS}
    return {**spelled, REFERENCE: lambda value, offset, logits: reference(value, offset, logits, arguments_of(_geometry(groups), True))}


def native(variant: str, groups: int) -> Operator:
    """One variant of the CPU kernel, softmax within."""
    return partial(variant_operator(variant), kernel_size=3, groups=groups)


def backward(shape: Shape, inputs: Inputs, variant: str) -> Run:
    """The registered backward operator of a variant alone."""
    operator = getattr(torch.ops, f"dcnv3_{variant}").backward
    detached = [tensor.detach() for tensor in inputs.tensors]
    return partial(operator, inputs.grad, *detached, *arguments_of(_geometry(shape.groups), True))


@torch.no_grad()
def forward(operator: Operator, inputs: Inputs) -> Tensor:
    """The output, nothing kept for gradients."""
    return operator(*inputs.tensors)


def forward_backward(operator: Operator, inputs: Inputs) -> tuple[Tensor, ...]:
    """All three gradients."""
    return torch.autograd.grad(operator(*inputs.tensors), inputs.tensors, inputs.grad)


def check(inputs: Inputs, operators: Mapping[str, Operator]) -> None:
    """AssertionError names a contender whose output or gradients are not the reference's."""
    wanted = _results(operators[REFERENCE], inputs)
    for name, operator in operators.items():
        for got, expected in zip(_results(operator, inputs), wanted, strict=True):
            error = float((got - expected).norm() / expected.norm())
            assert error < TOLERANCE, f"{name} is off by {error:.1e} of the norm at value {tuple(inputs.value.shape)}"


def _results(operator: Operator, inputs: Inputs) -> tuple[Tensor, ...]:
    return forward(operator, inputs), *forward_backward(operator, inputs)


def _spelled(name: str, groups: int) -> Operator:
    return lambda value, offset, logits: SPELLINGS[name](value, offset, logits, groups)


def _geometry(groups: int) -> Geometry:
    return Geometry(
        kernel_size=(3, 3), stride=(1, 1), padding=(1, 1), dilation=(1, 1), groups=groups, offset_scale=1.0, remove_center=False
    )
