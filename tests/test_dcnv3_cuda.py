"""The CUDA operator without a device: its kernels on the processor against the specification, its plans, and what NVRTC makes of it."""

import ctypes
import math
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dcnv3 import cuda
from dcnv3.cuda_plan import Device, Problem, choose_strategy, plan_backward, plan_forward
from tests.cuda_cases import BRAIN, DOUBLE, HALF, SINGLE, TOLERANCE, Call, drawn, error, lattices, square
from tests.cuda_emulation import COMPILED, WIDE, Emulator, build, counting_in_64_bits, device_for, elements, tiles

A100, RTX_4090, H200 = Device((8, 0), 166912, 108), Device((8, 9), 101376, 128), Device((9, 0), 232448, 132)
ONLY_FOR_SEARCHES = ["sqlalchemy", "alembic", "optuna", "ray", "pydantic", "moocore", "streamlit", "plotly"]
T_STAGES = [(56, 64), (28, 128), (14, 256), (7, 512)]  # pixels along a side, channels; 16 channels a group


@pytest.fixture(scope="session")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Emulator:
    base = tmp_path_factory.getbasetemp()
    return build(base.parent if "popen-gw" in base.name else base)


def compare(emulator: Emulator, call: Call, *, strategy: str | None, device: Device, order: int = 0) -> None:
    """Output and gradients on the emulator against the specification."""
    with emulator.instead_of_a_device(device, order):
        output = cuda.forward(call.value, call.offset, call.mask, call.geometry, call.softmax)
        gradients = cuda.backward_by(strategy, *call.tensors, geometry=call.geometry, softmax=call.softmax)
    call.check(output, gradients)


@settings(max_examples=150)
@given(
    case=lattices(),
    channels=st.sampled_from([1, 3, 4, 8, 16, 32]),
    images=st.integers(0, 2),
    seed=st.integers(0, 2**16),
    spread=st.sampled_from([0.0, 0.7, 4.0]),
    odd=st.sampled_from([0.0, 0.1]),
    softmax=st.booleans(),
    strategy=st.sampled_from(["sums", "planes", "fixed"]),
    order=st.sampled_from([0, 1]),
    data=st.data(),
)
def test_kernels_compute_what_is_specified(
    emulator: Emulator,
    case: Any,
    channels: int,
    images: int,
    seed: int,
    spread: float,
    odd: float,
    softmax: bool,
    strategy: str,
    order: int,
    data: Any,
) -> None:
    geometry, size = case
    shape = (images, *size, channels * geometry.groups)
    problem = Problem(geometry, images, size, shape[-1], *elements(SINGLE, SINGLE))
    device = device_for(problem, data.draw(st.sampled_from(tiles(channels)), label="tile"))
    call = drawn(geometry, shape, seed=seed, spread=spread, odd=odd, softmax=softmax).to(SINGLE, SINGLE)
    compare(emulator, call, strategy=strategy, device=device, order=order)


@pytest.mark.parametrize("softmax", [True, False])
@pytest.mark.parametrize("strategy", ["sums", "planes", "fixed"])
@pytest.mark.parametrize(("value", "parameter", "channels"), [row for row in COMPILED if row[:2] != (SINGLE, SINGLE)])
def test_every_mixture_of_types_loses_only_its_own_rounding(
    emulator: Emulator, value: torch.dtype, parameter: torch.dtype, channels: int, strategy: str, softmax: bool
) -> None:
    for kernel in (3, 1):
        geometry = square(kernel, groups=2)
        call = drawn(geometry, (2, 5, 4, 2 * channels), seed=kernel, softmax=softmax).to(value, parameter)
        problem = Problem(geometry, 2, (5, 4), 2 * channels, *elements(value, parameter))
        for tile in tiles(channels):
            compare(emulator, call, strategy=strategy, device=device_for(problem, tile))


@pytest.mark.parametrize("order", [0, 1])
def test_blocks_walk_over_planes_with_more_pixels_than_they_have_threads(emulator: Emulator, order: int) -> None:
    call = drawn(square(3), (1, 30, 21, 8)).to(SINGLE, SINGLE)
    compare(emulator, call, strategy="planes", device=H200, order=order)
    assert emulator.launched[-1].threads == 512


@pytest.mark.parametrize("kernel", [(1, 7), (7, 1), (7, 7), (4, 2)])
@pytest.mark.parametrize("size", [(1, 1), (1, 6), (9, 8)])
@pytest.mark.parametrize("strategy", ["sums", "planes", "fixed"])
def test_long_kernels_and_planes_of_one_pixel_are_served(
    emulator: Emulator, kernel: tuple[int, int], size: tuple[int, int], strategy: str
) -> None:
    geometry = replace(square(1, groups=2), kernel_size=kernel, padding=(3, 3))
    compare(emulator, drawn(geometry, (2, *size, 16)).to(SINGLE, SINGLE), strategy=strategy, device=H200)


def test_an_offset_and_a_mask_of_different_types_meet_in_float32(emulator: Emulator) -> None:
    call = drawn(square(3), (1, 4, 4, 16)).to(BRAIN, HALF)
    compare(emulator, replace(call, mask=call.mask.float()), strategy=None, device=H200)
    assert all("dcnv3::bfloat16, float" in step.instance.setup for step in emulator.launched)


def test_strides_and_odd_addresses_do_not_matter(emulator: Emulator) -> None:
    call = drawn(square(3), (2, 4, 4, 4)).to(SINGLE, SINGLE)
    scattered = [tensor.permute(3, 1, 0, 2).contiguous().permute(2, 1, 3, 0) for tensor in call.tensors]
    shifted = [torch.cat((torch.zeros(1), tensor.flatten()))[1:].view(tensor.shape) for tensor in call.tensors]
    assert all(tensor.data_ptr() % 16 for tensor in shifted)
    for versions in (scattered, shifted):
        compare(emulator, Call(*versions, call.geometry, call.softmax), strategy="sums", device=H200)


@pytest.mark.parametrize("strategy", ["sums", "fixed"])
def test_many_threads_are_counted_in_64_bits(emulator: Emulator, strategy: str) -> None:
    value, parameter, channels = WIDE
    call = drawn(square(3, groups=3), (2, 4, 5, 3 * channels)).to(value, parameter)
    with counting_in_64_bits():
        compare(emulator, call, strategy=strategy, device=H200)
    assert all("unsigned long long" in step.instance.setup for step in emulator.launched)


def test_deterministic_algorithms_sum_in_integers_whose_order_does_not_matter(emulator: Emulator) -> None:
    call = drawn(square(3, groups=2), (2, 6, 5, 32), spread=4.0).to(SINGLE, SINGLE)
    found = []
    torch.use_deterministic_algorithms(True)
    try:
        for order in (0, 1):
            with emulator.instead_of_a_device(H200, order):
                found.append(cuda.backward(*call.tensors, call.geometry, call.softmax))
    finally:
        torch.use_deterministic_algorithms(False)
    assert emulator.launched[0].instance.kernel == "backward_fixed"
    assert all(torch.equal(once, again) for once, again in zip(*found, strict=True))


@pytest.mark.parametrize(
    ("dtype", "channels", "size"),
    [*((SINGLE, 16, size) for size in (1e-30, 1e-6, 1e6, 1e30)), *((DOUBLE, 4, size) for size in (1e-280, 1e-60, 1e-30, 1e60, 1e280))],
)
def test_integer_sums_keep_their_precision_at_every_size_of_gradient(
    emulator: Emulator, dtype: torch.dtype, channels: int, size: float
) -> None:
    call = drawn(square(3), (1, 5, 5, channels)).to(dtype, dtype)
    call = replace(call, grad=call.grad * size)
    with emulator.instead_of_a_device(H200):
        found = cuda.backward_by("fixed", *call.tensors, geometry=call.geometry, softmax=True)[0]
    assert error(found.double() / size, call.specified()[1] / size) <= TOLERANCE[dtype]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("name", ["grad", "mask"])
def test_what_is_not_finite_shows_in_integer_sums_too(emulator: Emulator, name: str, bad: float) -> None:
    call = drawn(square(3), (1, 3, 3, 4)).to(SINGLE, SINGLE)
    getattr(call, name)[0, 1, 1, 2] = bad
    with emulator.instead_of_a_device(H200):
        assert cuda.backward_by("fixed", *call.tensors, geometry=call.geometry, softmax=True)[0].isnan().all()


def test_a_group_whose_logits_are_all_minus_infinity_shows_in_integer_sums_too(emulator: Emulator) -> None:
    call = drawn(square(3, groups=2), (1, 3, 3, 8)).to(SINGLE, SINGLE)
    call.mask[0, 1, 1, 1:9] = -torch.inf
    with emulator.instead_of_a_device(H200):
        assert cuda.backward_by("fixed", *call.tensors, geometry=call.geometry, softmax=True)[0].isfinite().all()
        call.mask[0, 1, 1, 0] = -torch.inf
        assert cuda.backward_by("fixed", *call.tensors, geometry=call.geometry, softmax=True)[0].isnan().all()


def test_the_kernels_and_python_agree_on_the_record_of_arguments(emulator: Emulator) -> None:
    assert emulator.library.arguments_size() == ctypes.sizeof(cuda.Arguments)


def stage(side: int, channels: int, *, images: int = 64, value: torch.dtype = BRAIN) -> Problem:
    return Problem(square(3, groups=channels // 16), images, (side, side), channels, *elements(value, value))


@pytest.mark.parametrize(
    ("device", "expected"),
    [
        (A100, ["backward_tile 4", "backward_plane 16", "backward_plane 16", "backward_plane 16"]),
        (RTX_4090, ["backward_tile 2", "backward_tile 8", "backward_plane 16", "backward_plane 16"]),
        (H200, ["backward_sums 16", "backward_plane 16", "backward_plane 16", "backward_plane 16"]),
    ],
    ids=["sm_80", "sm_89", "sm_90"],
)
def test_planes_are_tiled_to_the_shared_memory_of_the_device(device: Device, expected: list[str]) -> None:
    chosen = []
    for side, channels in T_STAGES:
        first, *rest = plan_backward(stage(side, channels), device)
        tile = re.findall(r"\d+", first.instance.setup.split("bfloat16,")[-1])[1]
        chosen.append(f"{first.instance.kernel} {tile}")
        assert 2 * (first.shared + 1024) <= device.shared_optin + 1024
        assert [step.instance.kernel for step in rest] == ["backward_parameters"] * (first.instance.kernel == "backward_tile")
    assert chosen == expected


def test_few_planes_and_large_ones_are_summed_in_global_memory() -> None:
    assert choose_strategy(stage(14, 256, images=1), H200) == "sums"
    assert choose_strategy(stage(14, 256), H200) == "planes"
    assert choose_strategy(stage(512, 64), RTX_4090) == "sums"
    assert choose_strategy(stage(14, 256, value=DOUBLE), H200) == "sums"
    assert choose_strategy(stage(14, 256), H200, deterministic=True) == "fixed"


@pytest.mark.parametrize("device", [A100, RTX_4090, H200], ids=["sm_80", "sm_89", "sm_90"])
@pytest.mark.parametrize("channels", [1, 3, 4, 8, 12, 16, 24, 32, 48, 64, 320])
def test_every_launch_covers_its_work_within_the_limits_of_the_device(device: Device, channels: int) -> None:
    for kernel, dtype, images in [(3, BRAIN, 64), (7, SINGLE, 3), (7, DOUBLE, 1)]:
        problem = Problem(square(kernel, groups=2), images, (9, 7), 2 * channels, *elements(dtype, dtype))
        for step in (
            plan_forward(problem),
            *(each for way in ("sums", "fixed", "planes") for each in plan_backward(problem, device, strategy=way)),
        ):
            count, tile, vector, lanes = map(int, re.findall(r" (\d+),", step.instance.setup)[:4])
            assert count == channels
            assert channels % tile == 0
            assert tile % vector == 0
            assert vector * problem.value.size <= 16
            assert lanes in (1, 2, 4, 8, 16, 32)
            assert step.threads % 32 == 0
            assert step.threads <= step.instance.threads
            assert step.shared <= device.shared_optin
            if "plane" in step.instance.kernel or "tile" in step.instance.kernel:
                assert step.blocks * tile == images * 2 * channels
            else:
                assert (step.blocks - 1) * step.threads < problem.pixel_groups * lanes <= step.blocks * step.threads


def test_sizes_beyond_the_kernels_reach_are_refused() -> None:
    with pytest.raises(ValueError, match="2147483648"):
        Problem(replace(square(1), groups=1), 1, (1, 2**31), 1, *elements(SINGLE, SINGLE))
    with pytest.raises(ValueError, match="kernel_size must be at most 7"):
        square(8)
    with pytest.raises(ValueError, match="float8"):
        cuda.problem_of((1, 2, 2, 1), torch.float8_e5m2, SINGLE, square(1))


def test_the_tests_for_a_device_are_found_without_what_only_searches_need() -> None:
    files = ["tests/test_dcnv3_gpu.py", "tests/test_trainer_gpu.py"]
    options = ["--collect-only", "-q", "-m", "gpu", "-W", "default", "-p", "no:cacheprovider", *files]
    program = f"import sys, pytest; sys.modules.update(dict.fromkeys({ONLY_FOR_SEARCHES})); sys.exit(pytest.main({options}))"
    done = subprocess.run([sys.executable, "-c", program], cwd=Path(__file__).parent.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
