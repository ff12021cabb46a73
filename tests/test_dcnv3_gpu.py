"""The CUDA operator on a real device: every path against the specification, streams, graphs, determinism and size."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from benchmarks import operator_cuda
from dcnv3 import cuda, cuda_driver
from dcnv3.cuda_plan import Launch, plan_backward
from dcnv3.geometry import Geometry
from tests.cuda_cases import BRAIN, DOUBLE, HALF, SINGLE, Call, drawn, error, lattices, square
from tests.cuda_emulation import COMPILED, counting_in_64_bits

pytestmark = pytest.mark.gpu
STRATEGIES = [None, "sums", "planes", "fixed"]


@pytest.fixture(scope="session", autouse=True)
def device() -> str:
    """The device that is tested; a machine with one on which the kernels cannot run is a failure, not a skip."""
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    assert cuda.unavailable() is None
    return "cuda"


@pytest.fixture
def deterministic() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


class Operator(torch.autograd.Function):
    """The two passes as one differentiable function."""

    @staticmethod
    def forward(context: Any, value: Tensor, offset: Tensor, mask: Tensor, geometry: Geometry, softmax: bool) -> Tensor:
        context.save_for_backward(value, offset, mask)
        context.call = geometry, softmax
        return cuda.forward(value, offset, mask, geometry, softmax)

    @staticmethod
    def backward(context: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return *cuda.backward(grad, *context.saved_tensors, *context.call), None, None


def run(call: Call, strategy: str | None = None) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
    output = cuda.forward(call.value, call.offset, call.mask, call.geometry, call.softmax)
    return output, cuda.backward_by(strategy, *call.tensors, geometry=call.geometry, softmax=call.softmax)


def planned(call: Call, strategy: str) -> tuple[Launch, ...]:
    """The launches of the backward pass on this device."""
    problem = cuda.problem_of(tuple(call.value.shape), call.value.dtype, call.offset.dtype, call.geometry)
    return plan_backward(problem, cuda_driver.device_limits(torch.cuda.current_device()), strategy=strategy)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    case=lattices(),
    channels=st.sampled_from([1, 3, 4, 8, 16, 32]),
    images=st.integers(0, 3),
    seed=st.integers(0, 2**16),
    spread=st.sampled_from([0.0, 0.7, 4.0]),
    odd=st.sampled_from([0.0, 0.1]),
    softmax=st.booleans(),
    strategy=st.sampled_from(STRATEGIES),
)
def test_kernels_compute_what_is_specified(
    case: Any, channels: int, images: int, seed: int, spread: float, odd: float, softmax: bool, strategy: str | None
) -> None:
    geometry, size = case
    shape = (images, *size, channels * geometry.groups)
    call = drawn(geometry, shape, seed=seed, spread=spread, odd=odd, softmax=softmax).to(SINGLE, SINGLE, "cuda")
    call.check(*run(call, strategy))


@pytest.mark.parametrize("softmax", [True, False])
@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize(("value", "parameter", "channels"), COMPILED)
def test_every_mixture_of_types_loses_only_its_own_rounding(
    value: torch.dtype, parameter: torch.dtype, channels: int, strategy: str | None, softmax: bool
) -> None:
    for kernel in (3, 5):
        call = drawn(square(kernel, groups=4), (3, 29, 17, 4 * channels), softmax=softmax).to(value, parameter, "cuda")
        call.check(*run(call, strategy))


@pytest.mark.parametrize(("side", "channels"), [(56, 64), (28, 128), (14, 256), (7, 512)])
@pytest.mark.parametrize("dtype", [SINGLE, BRAIN, HALF], ids=str)
def test_the_stages_of_a_network_are_served_by_the_strategy_that_sizes_choose(side: int, channels: int, dtype: torch.dtype) -> None:
    call = drawn(square(3, groups=channels // 16), (16, side, side, channels)).to(dtype, dtype, "cuda")
    call.check(*run(call))


@pytest.mark.parametrize("dtype", [SINGLE, BRAIN], ids=str)
def test_planes_too_large_for_a_block_are_summed_in_tiles(dtype: torch.dtype) -> None:
    call = drawn(square(3, groups=4), (2, 56, 56, 64)).to(dtype, dtype, "cuda")
    assert [step.instance.kernel for step in planned(call, "planes")] == ["backward_tile", "backward_parameters"]
    call.check(*run(call, "planes"))


@pytest.mark.parametrize("strategy", ["sums", "planes", "fixed"])
@pytest.mark.parametrize("dtype", [SINGLE, BRAIN], ids=str)
def test_many_threads_are_counted_in_64_bits(dtype: torch.dtype, strategy: str) -> None:
    call = drawn(square(3, groups=4), (2, 56, 56, 64)).to(dtype, dtype, "cuda")
    with counting_in_64_bits():
        assert "unsigned long long" in planned(call, strategy)[-1].instance.setup  # planes themselves are always counted in 32 bits
        call.check(*run(call, strategy))


@pytest.mark.parametrize("softmax", [True, False])
def test_gradients_agree_with_finite_differences_away_from_whole_pixels(softmax: bool) -> None:
    call = drawn(square(3, groups=2), (2, 4, 3, 8), softmax=softmax).to(DOUBLE, DOUBLE, "cuda")
    offset = call.offset.round() + 0.1 + 0.3 * torch.rand_like(call.offset)
    inputs = [tensor.requires_grad_() for tensor in (call.value, offset, call.mask)]
    assert torch.autograd.gradcheck(lambda *each: Operator.apply(*each, call.geometry, softmax), inputs, nondet_tol=1e-12)


@pytest.mark.usefixtures("deterministic")
@pytest.mark.parametrize("dtype", [SINGLE, BRAIN, HALF, DOUBLE], ids=str)
def test_deterministic_runs_agree_to_the_bit(dtype: torch.dtype) -> None:
    call = drawn(square(3, groups=4), (8, 28, 28, 64), spread=4.0).to(dtype, dtype, "cuda")
    first = cuda.backward(*call.tensors, call.geometry, call.softmax)
    for _ in range(10):
        again = cuda.backward(*call.tensors, call.geometry, call.softmax)
        assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))


def test_another_stream_is_used_and_waited_for() -> None:
    call = drawn(square(3, groups=4), (8, 28, 28, 64)).to(SINGLE, SINGLE, "cuda")
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        # The value arrives late on this stream: a launch on any other would read what was there before.
        late = torch.zeros_like(call.value)
        torch.cuda._sleep(50_000_000)
        late.copy_(call.value)
        found = run(replace(call, value=late))
    torch.cuda.current_stream().wait_stream(stream)
    call.check(*found)


def test_a_captured_graph_computes_anew_at_every_replay() -> None:
    call = drawn(square(3, groups=4), (4, 14, 14, 64)).to(BRAIN, BRAIN, "cuda")
    run(call)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        found = run(call)
    other = drawn(square(3, groups=4), (4, 14, 14, 64), seed=1).to(BRAIN, BRAIN, "cuda")
    for mine, theirs in zip(call.tensors, other.tensors, strict=True):
        mine.copy_(theirs)
    graph.replay()
    other.check(*found)


def test_the_second_device_is_served_without_being_current() -> None:
    if torch.cuda.device_count() < 2:
        pytest.skip("one CUDA device only")
    call = drawn(square(3, groups=2), (2, 9, 9, 32)).to(SINGLE, SINGLE, "cuda:1")
    call.check(*run(call))
    assert torch.cuda.current_device() == 0


def test_tensors_of_more_than_2_to_the_31_elements_are_indexed() -> None:
    images, side, channels = 43, 1000, 64  # 2.75e9 elements
    if torch.cuda.mem_get_info()[0] < 60 * 2**30:
        pytest.skip("needs 60 GiB of device memory")
    geometry = replace(square(1), groups=channels // 16)
    value = torch.zeros(images, side, side, channels, dtype=BRAIN, device="cuda")
    value[-1].normal_()
    offset = torch.full((images, side, side, 2 * geometry.groups), 0.5, dtype=BRAIN, device="cuda")
    mask = torch.zeros(images, side, side, geometry.groups, dtype=BRAIN, device="cuda")
    whole = cuda.forward(value, offset, mask, geometry, True)
    alone = cuda.forward(value[-1:], offset[-1:], mask[-1:], geometry, True)
    assert torch.equal(whole[-1:], alone)
    assert not whole[:-1].any()
    del whole
    gradients = cuda.backward(value, value, offset, mask, geometry, True)
    of_last = cuda.backward(value[-1:], value[-1:], offset[-1:], mask[-1:], geometry, True)
    assert error(gradients[0][-1:], of_last[0].double()) < 2.0**-7
    assert torch.equal(gradients[1][-1:], of_last[1])


def test_the_plain_kernels_of_the_benchmark_compute_the_same() -> None:
    one = operator_cuda.inputs(14, 64, 2)
    call = Call(one.grad, one.value, one.offset, one.mask, one.geometry, True)
    output, *gradients = call.specified()
    plain = operator_cuda.plain_forward(one), *operator_cuda.plain_backward(one)
    # Weights and their gradients pass through bfloat16 between the softmax and these kernels.
    assert all(error(found, expected) < 2.0**-6 for found, expected in zip(plain, (output, *gradients), strict=True))


@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_torchvision_computes_the_same(scale: float) -> None:
    operators = pytest.importorskip("torchvision.ops")
    geometry = Geometry(
        kernel_size=(3, 5), stride=(2, 1), padding=(1, 2), dilation=(1, 2), groups=4, offset_scale=scale, remove_center=False
    )
    call = drawn(geometry, (2, 19, 23, 32), softmax=False).to(SINGLE, SINGLE, "cuda")
    output = cuda.forward(call.value, call.offset, call.mask, geometry, False)
    expected = operators.deform_conv2d(
        call.value.permute(0, 3, 1, 2),
        _pairs(call.offset, geometry),
        torch.ones(32, 1, 3, 5, device="cuda"),
        stride=geometry.stride,
        padding=geometry.padding,
        dilation=geometry.dilation,
        mask=call.mask.unflatten(-1, (4, 5, 3)).transpose(-1, -2).flatten(3).permute(0, 3, 1, 2),
    )
    assert error(output, expected.permute(0, 2, 3, 1).double()) < 1e-5


def _pairs(offset: Tensor, geometry: Geometry) -> Tensor:
    """Row-major offsets (y, x) with the scaled grid in them: torchvision knows no offset scale."""
    (kernel_h, kernel_w), (dilation_h, dilation_w), s = geometry.kernel_size, geometry.dilation, geometry.offset_scale
    stretch = [
        (torch.arange(kernel, device=offset.device) * dilation - dilation * (kernel - 1) // 2) * (s - 1)
        for kernel, dilation in ((kernel_h, dilation_h), (kernel_w, dilation_w))
    ]
    grid = offset.unflatten(-1, (geometry.groups, kernel_w, kernel_h, 2)) * s
    y, x = grid[..., 1] + stretch[0], grid[..., 0] + stretch[1][:, None]
    return torch.stack((y, x), -1).transpose(-2, -3).flatten(3).permute(0, 3, 1, 2).contiguous()
