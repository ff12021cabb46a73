"""The compiled CPU kernel, every variant of it, against the specification in float64."""

import math
import os
import subprocess
import sys
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from dcnv3 import dcnv3
from dcnv3.build import supported
from dcnv3.geometry import Geometry
from dcnv3.ops import variant_operator
from dcnv3.registration import arguments_of, reference
from tests.geometries import geometries, pairs

VARIANTS = supported()
EACH = pytest.mark.parametrize("variant", VARIANTS)
PLAIN: dict[str, Any] = {
    "kernel_size": (3, 3),
    "stride": (1, 1),
    "padding": (1, 1),
    "dilation": (1, 1),
    "groups": 2,
    "offset_scale": 1.0,
    "remove_center": False,
}
TOLERANCE = {torch.float64: 1e-13, torch.float32: 2e-5, torch.bfloat16: 8e-3, torch.float16: 1e-3}


def drawn(geometry: dict[str, Any], size: tuple[int, ...], *, seed: int = 0, spread: float = 1.0) -> list[Tensor]:
    """Value, offsets at least a hundredth away from whole pixels where the scale is one, and logits, in float64."""
    record = Geometry(**geometry)
    pixels = (size[0], *record.output_size((size[1], size[2])))
    per_pixel = record.groups * record.points
    draw = torch.Generator().manual_seed(seed)
    value, offset, mask = (
        torch.randn(shape, generator=draw, dtype=torch.float64) for shape in (size, (*pixels, 2 * per_pixel), (*pixels, per_pixel))
    )
    offset = offset * spread
    return [value, offset.floor() + 0.01 + 0.98 * (offset - offset.floor()), mask]


def with_gradients(function: Any, tensors: list[Tensor], grad: Tensor) -> list[Tensor]:
    inputs = [tensor.clone().requires_grad_() for tensor in tensors]
    out = function(*inputs)
    return [out.detach(), *torch.autograd.grad(out, inputs, grad.to(out.dtype))]


def compared(variant: str, geometry: dict[str, Any], tensors: list[Tensor], dtypes: list[torch.dtype], *, softmax: bool = True) -> None:
    """Output and gradients of `variant` and of the reference, which sees the same rounded numbers in float64."""
    given_tensors = [tensor.to(dtype) for tensor, dtype in zip(tensors, dtypes, strict=True)]
    arguments = arguments_of(Geometry(**geometry), softmax)
    exact = [tensor.double() for tensor in given_tensors]
    grad = torch.randn_like(reference(*exact, arguments)).to(dtypes[0])
    expected = with_gradients(lambda *each: reference(*each, arguments), exact, grad.double())
    found = with_gradients(lambda *each: variant_operator(variant)(*each, **geometry, softmax=softmax), given_tensors, grad)
    for name, mine, theirs, dtype in zip(("out", "value", "offset", "mask"), found, expected, [dtypes[0], *dtypes], strict=True):
        tolerance = max(TOLERANCE[dtype], TOLERANCE[dtypes[0]])
        assert mine.dtype == dtype
        scale = max(1.0, theirs.abs().max().item()) if theirs.numel() else 1.0
        assert ((mine.double() - theirs).abs() <= tolerance * scale).all(), name


@st.composite
def cases(draw: st.DrawFn) -> tuple[dict[str, Any], tuple[int, ...]]:
    geometry, size = draw(geometries(kernels=pairs(1, 7), padding=3, groups=5, room=6, scales=[1.0, 2.0, -1.0]))
    channels = draw(st.sampled_from([1, 2, 3, 4, 5, 8, 12, 16, 32, 33, 70]))
    return geometry, (draw(st.integers(1, 3)), *size, geometry["groups"] * channels)


@EACH
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(case=cases(), seed=st.integers(0, 2**16), spread=st.sampled_from([0.5, 4.0]), softmax=st.booleans(), double=st.booleans())
def test_every_geometry_agrees_with_the_reference(
    variant: str, case: tuple[dict[str, Any], tuple[int, ...]], seed: int, spread: float, softmax: bool, double: bool
) -> None:
    geometry, size = case
    dtype = torch.float64 if double else torch.float32
    compared(variant, geometry, drawn(geometry, size, seed=seed, spread=spread), [dtype] * 3, softmax=softmax)


@EACH
@pytest.mark.parametrize("channels", [4, 8, 16, 32])
@pytest.mark.parametrize("size", [(2, 56, 5), (2, 7, 7), (9, 1, 1), (1, 1, 70)])
def test_three_by_three_kernels_agree_at_every_width_and_plane(variant: str, channels: int, size: tuple[int, int, int]) -> None:
    geometry = {**PLAIN, "groups": 6}
    compared(variant, geometry, drawn(geometry, (*size, 6 * channels)), [torch.float32] * 3)


@EACH
@pytest.mark.parametrize(
    "dtypes",
    [
        [torch.bfloat16] * 3,
        [torch.float16] * 3,
        [torch.float16, torch.bfloat16, torch.bfloat16],
        [torch.bfloat16, torch.float32, torch.float32],
        [torch.float32, torch.bfloat16, torch.float16],
        [torch.float64, torch.float32, torch.bfloat16],
    ],
    ids=lambda dtypes: "-".join(str(dtype).removeprefix("torch.") for dtype in dtypes),
)
@pytest.mark.parametrize("channels", [16, 5])
def test_each_tensor_may_have_its_own_type(variant: str, dtypes: list[torch.dtype], channels: int) -> None:
    compared(variant, PLAIN, drawn(PLAIN, (2, 9, 8, 2 * channels)), dtypes)


@EACH
def test_one_group_of_very_many_channels(variant: str) -> None:
    geometry = {**PLAIN, "groups": 1}
    compared(variant, geometry, drawn(geometry, (1, 4, 3, 2560)), [torch.float32] * 3)


@EACH
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e30, -1e30, 9.0, -9.0])
@pytest.mark.parametrize("axis", [0, 1])
def test_a_point_off_the_plane_adds_nothing_and_has_zero_gradient(variant: str, bad: float, axis: int) -> None:
    value, offset, mask = (tensor.float() for tensor in drawn(PLAIN, (2, 4, 4, 8), spread=0.3))
    weights = mask.sigmoid()
    point = (0, 2, 2, 4)
    without = weights.clone()
    without[point] = 0
    run = variant_operator(variant)
    expected = run(value, offset, without, **PLAIN, softmax=False)
    offset[0, 2, 2, 2 * point[-1] + axis] = bad
    found, *gradients = with_gradients(lambda *each: run(*each, **PLAIN, softmax=False), [value, offset, weights], torch.ones_like(value))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert gradients[1][0, 2, 2, 2 * point[-1] : 2 * point[-1] + 2].tolist() == [0.0, 0.0]
    assert gradients[2][point] == 0


@EACH
def test_whole_pixels_take_the_right_hand_derivative_as_the_reference_does(variant: str) -> None:
    value, offset, mask = drawn(PLAIN, (2, 5, 4, 8))
    tensors = [value, offset.round(), mask]
    grad = torch.randn_like(value)
    arguments = arguments_of(Geometry(**PLAIN), True)
    expected = with_gradients(lambda *each: reference(*each, arguments), tensors, grad)
    for mine, theirs in zip(with_gradients(lambda *each: variant_operator(variant)(*each, **PLAIN), tensors, grad), expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-12)


@EACH
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_logits_far_apart_are_normalised_group_by_group(variant: str, dtype: torch.dtype) -> None:
    value, offset, mask = (tensor.to(dtype) for tensor in drawn(PLAIN, (1, 3, 3, 8)))
    logits = mask.unflatten(-1, (2, 9)).clone()
    logits[0, 0, 0, 0] += 1e4
    logits[0, 0, 1] -= 1e4
    logits[0, 0, 2, :, 3] = -math.inf
    logits[0, 1, 0] *= 300
    compared(variant, PLAIN, [value.double(), offset.double(), logits.flatten(-2).double()], [dtype] * 3)


@EACH
def test_logits_that_are_not_numbers_spoil_their_own_group_alone(variant: str) -> None:
    value, offset, mask = (tensor.float() for tensor in drawn(PLAIN, (1, 3, 3, 8)))
    run = variant_operator(variant)
    clean = run(value, offset, mask, **PLAIN)
    mask[0, 1, 1, 4], mask[0, 2, 2, 10] = math.nan, math.inf
    found = run(value, offset, mask, **PLAIN)
    spoiled = torch.zeros_like(found, dtype=torch.bool)
    spoiled[0, 1, 1, :4], spoiled[0, 2, 2, 4:] = True, True
    assert found.isnan().equal(spoiled)
    torch.testing.assert_close(found[~spoiled], clean[~spoiled])


@EACH
def test_a_pixel_groups_result_does_not_depend_on_its_company(variant: str) -> None:
    geometry = {**PLAIN, "groups": 8}
    value, offset, mask = (tensor.float() for tensor in drawn(geometry, (1, 5, 5, 32)))
    run = variant_operator(variant)
    alone = run(value, offset, mask, **geometry)
    mask.unflatten(-1, (8, 9))[0, 2, 2, 3] += torch.linspace(-200, 200, 9)
    among = run(value, offset, mask, **geometry)
    changed = (alone != among).nonzero()
    assert len(changed)
    assert all(place[:3] == [0, 2, 2] and place[3] // 4 == 3 for place in changed.tolist())


@EACH
def test_strides_of_the_inputs_do_not_matter(variant: str) -> None:
    tensors = [tensor.float() for tensor in drawn(PLAIN, (2, 4, 5, 8))]
    scattered = [tensor.permute(3, 1, 0, 2).contiguous().permute(2, 1, 3, 0) for tensor in tensors]
    assert not any(tensor.is_contiguous() for tensor in scattered)
    grad = torch.randn(8, 2, 4, 5).permute(1, 2, 3, 0)
    run = variant_operator(variant)
    expected = with_gradients(lambda *each: run(*each, **PLAIN), tensors, grad.contiguous())
    for mine, theirs in zip(with_gradients(lambda *each: run(*each, **PLAIN), scattered, grad), expected, strict=True):
        assert torch.equal(mine, theirs)


@EACH
def test_an_empty_batch_stays_empty(variant: str) -> None:
    found = with_gradients(lambda *each: variant_operator(variant)(*each, **PLAIN), drawn(PLAIN, (0, 4, 5, 8)), torch.empty(0, 4, 5, 8))
    assert [tensor.shape[0] for tensor in found] == [0, 0, 0, 0]


@EACH
def test_a_plane_without_rows_gives_zeros_and_zero_gradients(variant: str) -> None:
    geometry = {**PLAIN, "padding": (3, 3)}
    offset, mask = torch.randn(1, 4, 9, 36), torch.randn(1, 4, 9, 18)
    run = variant_operator(variant)
    found = with_gradients(lambda *each: run(*each, **geometry), [torch.empty(1, 0, 5, 8), offset, mask], torch.ones(1, 4, 9, 8))
    assert found[1].shape == (1, 0, 5, 8)
    assert not any(found[index].any() for index in (0, 2, 3))


@EACH
def test_many_groups_on_large_planes_with_one_output_pixel_agree(variant: str) -> None:
    geometry = {**PLAIN, "groups": 16, "stride": (300, 300), "padding": (0, 0)}
    compared(variant, geometry, drawn(geometry, (1, 300, 300, 16)), [torch.float32] * 3)


@EACH
@pytest.mark.parametrize("channels", [16, 32, 64])
@pytest.mark.parametrize("scale", [2.0, 1.12])
def test_results_do_not_depend_on_the_number_of_threads(variant: str, channels: int, scale: float) -> None:
    geometry = {**PLAIN, "groups": 4, "offset_scale": scale}
    tensors = [tensor.float() for tensor in drawn(geometry, (6, 14, 28, channels), spread=2.0)]
    grad = torch.randn(6, 14, 28, channels)
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 3, 2):
            torch.set_num_threads(threads)
            results.append(with_gradients(lambda *each: variant_operator(variant)(*each, **geometry), tensors, grad))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(mine, first) for result in results[1:] for mine, first in zip(result, results[0], strict=True))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"offset": torch.zeros(1, 4, 4, 35)}, "offset must be"),
        ({"mask": torch.zeros(1, 4, 3, 18)}, "mask must be"),
        ({"value": torch.zeros(1, 4, 4, 7)}, "groups must divide"),
        ({"kernel_size": (13, 13)}, "kernel_size is too large"),
    ],
)
def test_the_bare_operator_refuses_what_would_read_beyond_its_inputs(changes: dict[str, Any], message: str) -> None:
    tensors = {"value": torch.zeros(1, 4, 4, 8), "offset": torch.zeros(1, 4, 4, 36), "mask": torch.zeros(1, 4, 4, 18)}
    arguments = {**PLAIN, "softmax": True, **tensors, **changes}
    dcnv3(*tensors.values(), **PLAIN)
    with pytest.raises(RuntimeError, match=message):
        torch.ops.dcnv3.forward(**arguments)


def test_the_bare_backward_operator_refuses_them_too_and_survives_empty_outputs() -> None:
    tensors = [torch.zeros(1, 4, 4, 8), torch.zeros(1, 4, 4, 36), torch.zeros(1, 4, 4, 18)]
    arguments = arguments_of(Geometry(**PLAIN), True)
    for wrong, message in ((torch.zeros(1, 4, 3, 8), "grad must be"), (torch.zeros(1, 4, 4, 7), "grad must be")):
        with pytest.raises(RuntimeError, match=message):
            torch.ops.dcnv3.backward(wrong, *tensors, *arguments)
    found = torch.ops.dcnv3.backward(
        torch.zeros(1, 0, 4, 8), torch.ones(1, 4, 4, 8), *(tensor[:, :0] for tensor in tensors[1:]), *arguments
    )
    assert torch.equal(found[0], torch.zeros(1, 4, 4, 8))


def test_the_fastest_variant_is_active_and_says_where_it_lies() -> None:
    code = "import dcnv3; b = dcnv3.backend(); print(b.name, b.reason)"
    environment = {name: value for name, value in os.environ.items() if name != "DCNV3_CPU"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment, timeout=120)
    assert done.stdout.split()[0] == VARIANTS[0]
    assert "native kernel" in done.stdout
