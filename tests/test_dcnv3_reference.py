"""The DCNv3 specification against its own formulas, spelled naively, and against an independent runtime."""

import math
from itertools import product
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dcnv3 import dcnv3_reference, reference
from dcnv3.geometry import Geometry
from tests.geometries import geometries, pairs

SQUARE: dict[str, Any] = {"kernel_size": (3, 3), "stride": (1, 1), "padding": (1, 1), "dilation": (1, 1)}
PLAIN: dict[str, Any] = {**SQUARE, "groups": 2, "offset_scale": 1.0, "remove_center": False}
BY_GATHER, BY_MATRIX = 0, 10**9
BOTH_WAYS = pytest.mark.parametrize("limit", [BY_GATHER, BY_MATRIX], ids=["gather", "matrix"])


def mixed_by(limit: int) -> Any:
    return patch.object(reference, "MATRIX_CELLS_PER_CHANNEL", limit)


def tensors(geometry: dict[str, Any], size: tuple[int, ...], *, seed: int = 0, spread: float = 1.0) -> tuple[Tensor, Tensor, Tensor]:
    """Value (N, H, W, C), offsets and masks in float64 for the value's `size`."""
    record = Geometry(**geometry)
    n, height, width, _ = size
    pixels = (n, *record.output_size((height, width)))
    draw = torch.Generator().manual_seed(seed)
    value = torch.randn(size, generator=draw, dtype=torch.float64)
    offset = torch.randn((*pixels, record.groups * record.points * 2), generator=draw, dtype=torch.float64) * spread
    mask = torch.rand((*pixels, record.groups * record.points), generator=draw, dtype=torch.float64)
    return value, offset, mask


def naive(value: Tensor, offset: Tensor, mask: Tensor, geometry: dict[str, Any]) -> np.ndarray:
    (kernel_h, kernel_w), groups, s = geometry["kernel_size"], geometry["groups"], geometry["offset_scale"]
    (stride_h, stride_w), (pad_h, pad_w), (dil_h, dil_w) = geometry["stride"], geometry["padding"], geometry["dilation"]
    image, points = value.numpy(), mask.shape[-1] // groups
    per_group = value.shape[-1] // groups
    ctr_h, ctr_w = dil_h * (kernel_h - 1) // 2, dil_w * (kernel_w - 1) // 2
    out = np.zeros((*mask.shape[:3], value.shape[-1]))
    for b, oy, ox, g in product(*map(range, mask.shape[:3]), range(groups)):
        channels = slice(g * per_group, (g + 1) * per_group)
        q = 0
        for i, j in product(range(kernel_w), range(kernel_h)):
            if geometry["remove_center"] and (i, j) == (kernel_w // 2, kernel_h // 2):
                continue
            off_x, off_y = offset[b, oy, ox, (g * points + q) * 2 : (g * points + q) * 2 + 2].tolist()
            loc_x = ctr_w - pad_w + ox * stride_w - ctr_w * s + (i * dil_w + off_x) * s
            loc_y = ctr_h - pad_h + oy * stride_h - ctr_h * s + (j * dil_h + off_y) * s
            out[b, oy, ox, channels] += mask[b, oy, ox, g * points + q].item() * bilinear(image[b, :, :, channels], loc_y, loc_x)
            q += 1
    return out


def bilinear(plane: np.ndarray, y: float, x: float) -> np.ndarray:
    total = np.zeros(plane.shape[-1])
    for row, column in product((math.floor(y), math.floor(y) + 1), (math.floor(x), math.floor(x) + 1)):
        if 0 <= row < plane.shape[0] and 0 <= column < plane.shape[1]:
            total += (1 - abs(y - row)) * (1 - abs(x - column)) * plane[row, column]
    return total


@st.composite
def cases(draw: st.DrawFn) -> tuple[dict[str, Any], tuple[int, ...]]:
    geometry, size = draw(geometries(kernels=pairs(1, 4), padding=2, groups=3, room=3, scales=[0.5, 1.0, 1.3, 2.0]))
    return geometry, (draw(st.integers(1, 2)), *size, geometry["groups"] * draw(st.integers(1, 3)))


@settings(max_examples=60, deadline=None)
@given(case=cases(), limit=st.sampled_from([BY_GATHER, BY_MATRIX]), seed=st.integers(0, 2**16), spread=st.sampled_from([0.0, 0.7, 4.0]))
def test_reference_equals_the_formulas_pixel_by_pixel(
    case: tuple[dict[str, Any], tuple[int, ...]], limit: int, seed: int, spread: float
) -> None:
    geometry, size = case
    value, offset, mask = tensors(geometry, size, seed=seed, spread=spread)
    with mixed_by(limit):
        found = dcnv3_reference(value, offset, mask, **geometry)
    assert found.dtype == torch.float64
    np.testing.assert_allclose(found.numpy(), naive(value, offset, mask, geometry), rtol=0, atol=1e-12)


def test_the_plane_size_chooses_the_spelling_and_not_the_result() -> None:
    value, offset, mask = tensors(PLAIN, (1, 12, 11, 4))
    with patch.object(reference, "_mix_by_matrix", side_effect=AssertionError):
        large = dcnv3_reference(value, offset, mask, **PLAIN)
    with mixed_by(BY_MATRIX), patch.object(reference, "_mix_by_gather", side_effect=AssertionError):
        torch.testing.assert_close(dcnv3_reference(value, offset, mask, **PLAIN), large, rtol=0, atol=1e-13)


@BOTH_WAYS
@pytest.mark.parametrize(
    "changes",
    [{}, {"offset_scale": 2.0, "remove_center": True}, {"kernel_size": (2, 3), "stride": (2, 1), "dilation": (1, 2), "padding": (0, 2)}],
)
def test_gradients_agree_with_finite_differences_away_from_whole_pixels(changes: dict[str, Any], limit: int) -> None:
    geometry = {**PLAIN, **changes}
    value, offset, mask = tensors(geometry, (1, 3, 4, 2))
    offset = offset.round() + 0.1 + 0.3 * torch.rand(offset.shape, dtype=offset.dtype)
    inputs = [tensor.requires_grad_() for tensor in (value, offset, mask)]
    with mixed_by(limit):
        assert torch.autograd.gradcheck(lambda *each: dcnv3_reference(*each, **geometry), inputs)


@BOTH_WAYS
def test_at_whole_pixels_the_gradient_is_the_right_hand_derivative_and_zero_on_the_rim(limit: int) -> None:
    geometry = {**PLAIN, "groups": 1}
    value, offset, mask = tensors(geometry, (1, 3, 3, 2), spread=0.0)
    step = 1e-6
    with mixed_by(limit):
        found = torch.autograd.grad(dcnv3_reference(value, offset.requires_grad_(), mask, **geometry).sum(), offset)[0]
        start = dcnv3_reference(value, offset, mask, **geometry).sum()
        ahead = torch.zeros_like(offset)
        for index in np.ndindex(*offset.shape):
            moved = offset.detach().clone()
            moved[index] += step
            ahead[index] = (dcnv3_reference(value, moved, mask, **geometry).sum() - start) / step
    location = torch.stack(reference.sampling_locations(offset, Geometry(**geometry)), -1).flatten(3).detach()
    rim = location == -1
    assert rim.any()
    assert (ahead[rim] != 0).any()
    assert (found[rim] == 0).all()
    torch.testing.assert_close(found[~rim], ahead[~rim], rtol=0, atol=1e-8)


@BOTH_WAYS
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e30, -1e30, 9.0, -9.0])
@pytest.mark.parametrize("axis", [0, 1])
def test_a_point_off_the_plane_adds_nothing_and_has_zero_gradient(bad: float, axis: int, limit: int) -> None:
    value, offset, mask = (tensor.float() for tensor in tensors(PLAIN, (2, 4, 4, 4), spread=0.3))
    point = (0, 2, 2, 4)
    without = mask.clone()
    without[point] = 0
    with mixed_by(limit):
        expected = dcnv3_reference(value, offset, without, **PLAIN)
        offset[0, 2, 2, 2 * point[-1] + axis] = bad
        inputs = [tensor.requires_grad_() for tensor in (value, offset, mask)]
        found = dcnv3_reference(*inputs, **PLAIN)
        gradients = torch.autograd.grad(found.square().sum(), inputs)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert gradients[1][0, 2, 2, 2 * point[-1] : 2 * point[-1] + 2].tolist() == [0.0, 0.0]
    assert gradients[2][point] == 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_offsets_still_give_float32_coordinates(dtype: torch.dtype) -> None:
    geometry = {**PLAIN, "groups": 1, "kernel_size": (1, 1), "padding": (0, 0)}
    ramp = torch.arange(64.0).reshape(1, 1, 64, 1)
    offset = torch.zeros(1, 1, 64, 2, dtype=dtype)
    offset[..., 0] = 0.0625
    found = dcnv3_reference(ramp, offset, torch.ones(1, 1, 64, 1, dtype=dtype), **geometry)
    torch.testing.assert_close(found[0, 0, :63, 0], torch.arange(63.0) + 0.0625, rtol=0, atol=0)


@BOTH_WAYS
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_values_lose_only_the_last_rounding(dtype: torch.dtype, limit: int) -> None:
    value, offset, mask = (tensor.to(dtype) for tensor in tensors(PLAIN, (2, 4, 5, 4)))
    with mixed_by(limit):
        found = dcnv3_reference(value, offset, mask, **PLAIN)
        exact = dcnv3_reference(value.double(), offset.double(), mask.double(), **PLAIN)
    assert found.dtype == dtype
    torch.testing.assert_close(found.double(), exact, rtol=torch.finfo(dtype).eps, atol=1e-5)


@BOTH_WAYS
def test_autocast_does_not_round_the_sums(limit: int) -> None:
    value, offset, mask = (tensor.float() for tensor in tensors(PLAIN, (2, 4, 5, 4)))
    with mixed_by(limit):
        expected = dcnv3_reference(value, offset, mask, **PLAIN)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = dcnv3_reference(value, offset, mask, **PLAIN)
    assert torch.equal(found, expected)


@BOTH_WAYS
def test_strides_of_the_inputs_do_not_matter(limit: int) -> None:
    inputs = tensors(PLAIN, (2, 4, 5, 4))
    scattered = [tensor.permute(3, 1, 0, 2).contiguous().permute(2, 1, 3, 0) for tensor in inputs]
    assert not any(tensor.is_contiguous() for tensor in scattered)
    with mixed_by(limit):
        assert torch.equal(dcnv3_reference(*scattered, **PLAIN), dcnv3_reference(*inputs, **PLAIN))


@BOTH_WAYS
def test_an_empty_batch_stays_empty(limit: int) -> None:
    inputs = [tensor.requires_grad_() for tensor in tensors(PLAIN, (0, 4, 5, 4))]
    with mixed_by(limit):
        found = dcnv3_reference(*inputs, **PLAIN)
    assert found.shape == (0, 4, 5, 4)
    found.sum().backward()


@BOTH_WAYS
def test_one_pixel_sees_only_itself(limit: int) -> None:
    value, offset, mask = tensors(PLAIN, (1, 1, 1, 4), spread=0.0)
    with mixed_by(limit):
        found = dcnv3_reference(value, offset, mask, **PLAIN)
    middle = mask.reshape(2, 9)[:, 4].repeat_interleave(2)
    torch.testing.assert_close(found.flatten(), value.flatten() * middle)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"offset_scale": 2.0},
        {"kernel_size": (3, 2), "stride": (2, 1), "dilation": (1, 2), "padding": (1, 2)},
        {"kernel_size": (5, 3), "padding": (2, 0), "offset_scale": 0.5, "groups": 4},
    ],
)
def test_onnxruntime_deform_conv_computes_the_same(changes: dict[str, Any]) -> None:
    geometry = {**PLAIN, **changes}
    value, offset, mask = (tensor.float() for tensor in tensors(geometry, (2, 7, 6, 8)))
    found = dcnv3_reference(value, offset, mask, **geometry)
    np.testing.assert_allclose(found.permute(0, 3, 1, 2).numpy(), onnx_deform_conv(value, offset, mask, geometry), rtol=0, atol=2e-5)


def onnx_deform_conv(value: Tensor, offset: Tensor, mask: Tensor, geometry: dict[str, Any]) -> np.ndarray:
    """ONNX samples row-major with (y, x) pairs and knows no offset scale, so the scaled grid goes into its offsets."""
    (kernel_h, kernel_w), groups, s = geometry["kernel_size"], geometry["groups"], geometry["offset_scale"]
    channels, (dil_h, dil_w) = value.shape[-1], geometry["dilation"]
    stretch = [
        torch.arange(kernel) * dilation * (s - 1) + dilation * (kernel - 1) // 2 * (1 - s)
        for kernel, dilation in ((kernel_h, dil_h), (kernel_w, dil_w))
    ]
    grid = offset.unflatten(-1, (groups, kernel_w, kernel_h, 2)) * s
    y, x = grid[..., 1] + stretch[0], grid[..., 0] + stretch[1][:, None]
    pairs = torch.stack((y, x), -1).transpose(-2, -3).flatten(3)  # (N, Ho, Wo, G·kernel_h·kernel_w·2)
    weights = mask.unflatten(-1, (groups, kernel_w, kernel_h)).transpose(-1, -2).flatten(3)
    feeds = {
        "X": value.permute(0, 3, 1, 2),
        "W": torch.ones(channels, 1, kernel_h, kernel_w),
        "offset": pairs.permute(0, 3, 1, 2),
        "B": torch.zeros(channels),
        "mask": weights.permute(0, 3, 1, 2),
    }
    padding = geometry["padding"] * 2
    return run_onnx(feeds, pads=padding, strides=geometry["stride"], dilations=geometry["dilation"], group=channels, offset_group=groups)


def run_onnx(feeds: dict[str, Tensor], **attributes: Any) -> np.ndarray:
    onnx = pytest.importorskip("onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    floats = onnx.TensorProto.FLOAT
    inputs = [onnx.helper.make_tensor_value_info(name, floats, list(tensor.shape)) for name, tensor in feeds.items()]
    output = onnx.helper.make_tensor_value_info("Y", floats, None)
    node = onnx.helper.make_node("DeformConv", list(feeds), ["Y"], **attributes)
    graph = onnx.helper.make_graph([node], "deform", inputs, [output])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 19)], ir_version=9)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found: np.ndarray = session.run(None, {name: tensor.contiguous().numpy() for name, tensor in feeds.items()})[0]
    return found
