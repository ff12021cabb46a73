"""The checked entrance to the operator: what it fills in, what it refuses, and what importing it costs."""

import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import Tensor

import dcnv3 as package
from dcnv3 import Backend, backend, dcnv3, dcnv3_reference
from dcnv3.build import VARIANTS

SQUARE: dict[str, Any] = {"kernel_size": (3, 3), "stride": (1, 1), "padding": (1, 1), "dilation": (1, 1)}


def inputs(*, n: int = 2, size: tuple[int, int] = (5, 4), out: tuple[int, int] | None = None, points: int = 9) -> list[Tensor]:
    """Value with 6 channels, offsets and logits for 3 groups."""
    draw = torch.Generator().manual_seed(0)
    pixels = (n, *(out or size))
    shapes = ((n, *size, 6), (*pixels, 3 * points * 2), (*pixels, 3 * points))
    return [torch.randn(shape, generator=draw, dtype=torch.float64) for shape in shapes]


def test_logits_are_normalised_over_the_points_of_each_group() -> None:
    value, offset, logits = inputs()
    finished = logits.reshape(2, 5, 4, 3, 9).exp()
    finished = (finished / finished.sum(-1, keepdim=True)).reshape(logits.shape)
    expected = dcnv3_reference(value, offset, finished, **SQUARE, groups=3, offset_scale=1.0, remove_center=False)
    torch.testing.assert_close(dcnv3(value, offset, logits, kernel_size=3, groups=3), expected)
    torch.testing.assert_close(dcnv3(value, offset, finished, kernel_size=3, groups=3, softmax=False), expected)


def test_constant_value_passes_through_where_no_point_leaves_the_plane() -> None:
    _, offset, logits = inputs(size=(7, 7))
    found = dcnv3(torch.ones(2, 7, 7, 6, dtype=torch.float64), offset.tanh() * 0.9, logits, kernel_size=3, groups=3)
    torch.testing.assert_close(found[:, 2:5, 2:5], torch.ones(2, 3, 3, 6, dtype=torch.float64))
    assert (found[:, 0] < 1).all()


def test_one_number_means_both_directions() -> None:
    value, offset, logits = inputs(size=(9, 8), out=(4, 3))
    options: dict[str, Any] = {"groups": 3, "offset_scale": 2.0}
    single = dcnv3(value, offset, logits, kernel_size=3, stride=2, padding=1, dilation=2, **options)
    double = dcnv3(value, offset, logits, kernel_size=(3, 3), stride=(2, 2), padding=(1, 1), dilation=(2, 2), **options)
    assert torch.equal(single, double)
    listed: dict[str, Any] = {"kernel_size": [3, 3], "stride": [2, 2], "padding": [1, 1], "dilation": [2, 2]}
    assert torch.equal(single, dcnv3(value, offset, logits, **listed, **options))


@pytest.mark.parametrize(("kernel", "dilation"), [(1, 1), (3, 1), (5, 1), (3, 2), ((3, 5), (2, 1))])
def test_default_padding_keeps_the_size(kernel: Any, dilation: Any) -> None:
    height, width = (kernel, kernel) if isinstance(kernel, int) else kernel
    found = dcnv3(*inputs(points=height * width), kernel_size=kernel, dilation=dilation, groups=3)
    assert found.shape == (2, 5, 4, 6)


def test_remove_center_leaves_eight_points_of_nine() -> None:
    value, offset, logits = inputs(points=8)
    found = dcnv3(value, offset, logits, kernel_size=3, groups=3, remove_center=True)
    nine = torch.full((2, 5, 4, 3, 9), -torch.inf, dtype=torch.float64)
    shifts = torch.zeros(2, 5, 4, 3, 9, 2, dtype=torch.float64)
    rest = [0, 1, 2, 3, 5, 6, 7, 8]
    nine[..., rest], shifts[..., rest, :] = logits.reshape(2, 5, 4, 3, 8), offset.reshape(2, 5, 4, 3, 8, 2)
    torch.testing.assert_close(found, dcnv3(value, shifts.flatten(3), nine.flatten(3), kernel_size=3, groups=3))


def test_float_types_may_differ_and_the_result_has_the_values() -> None:
    value, offset, logits = inputs()
    found = dcnv3(value.half(), offset.bfloat16(), logits.float(), kernel_size=3, groups=3)
    assert found.dtype == torch.float16
    expected = dcnv3(value.half().double(), offset.bfloat16().double(), logits.float().double(), kernel_size=3, groups=3)
    torch.testing.assert_close(found.double(), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"groups": 4}, r"groups must divide value's channels, got groups=4, channels=6"),
        ({"groups": 0}, r"groups must be whole and at least 1, got groups=0"),
        ({"kernel_size": 0}, r"kernel_size must be whole and at least 1 .* got kernel_size=\(0, 0\)"),
        ({"kernel_size": (3, 8)}, r"kernel_size must be at most 7 in both directions, got kernel_size=\(3, 8\)"),
        ({"kernel_size": (3, 3.0)}, r"kernel_size must be a whole number or a \(height, width\) pair, got kernel_size=\(3, 3.0\)"),
        ({"remove_center": 1}, r"remove_center must be True or False, got remove_center=1"),
        ({"kernel_size": 3.0}, r"kernel_size must be a whole number or a \(height, width\) pair, got kernel_size=3.0"),
        ({"kernel_size": (3, 3, 3)}, r"kernel_size must be a whole number or"),
        ({"stride": 0}, r"stride must be whole and at least 1 .* got stride=\(0, 0\)"),
        ({"padding": -1}, r"padding must be whole and at least 0 .* got padding=\(-1, -1\)"),
        ({"dilation": (1, 0)}, r"dilation must be whole and at least 1 .* got dilation=\(1, 0\)"),
        ({"dilation": 2**62}, r"dilation must be at most 16777216 in both directions, got dilation=\(4611686018427387904, "),
        ({"offset_scale": 1e300}, r"offset_scale must be a finite number, got offset_scale=1e\+300; float32 ends at 3.4e38"),
        ({"softmax": "no"}, r"softmax must be True or False, got softmax='no'"),
        ({"offset_scale": float("nan")}, r"offset_scale must be a finite number, got offset_scale=nan"),
        ({"kernel_size": 2, "remove_center": True}, r"remove_center needs an odd kernel .* got kernel_size=\(2, 2\)"),
        (
            {"kernel_size": 7, "padding": 0},
            r"output size must be at least one, got \(-1, -2\) for input size \(5, 4\), kernel_size=\(7, 7\)",
        ),
        ({"kernel_size": 5}, r"offset must be \(N, Ho, Wo, G·K·2\) = \(2, 5, 4, 150\) .* got offset.shape=\(2, 5, 4, 54\)"),
        ({"stride": 2}, r"offset must be .* = \(2, 3, 2, 54\)"),
    ],
)
def test_a_geometry_that_does_not_fit_is_refused_by_name(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dcnv3(*inputs(), **{"kernel_size": 3, "groups": 3, **changes})


def test_a_tensor_that_does_not_fit_is_refused_by_name() -> None:
    value, offset, mask = inputs()
    for wrong, message in (
        ((value[0], offset, mask), r"value must have 4 dimensions .* got value.shape=\(5, 4, 6\)"),
        ((value, offset.long(), mask), r"offset must be floating-point, got offset.dtype=torch.int64"),
        ((value, offset, mask.to("meta")), r"mask must lie on value's device, got mask.device=meta, value.device=cpu"),
        ((value, offset, mask[..., :-1]), r"mask must be \(N, Ho, Wo, G·K\) = \(2, 5, 4, 27\) .* got mask.shape=\(2, 5, 4, 26\)"),
        ((value.to(torch.float8_e5m2), offset, mask), r"value must be floating-point, got value.dtype=torch.float8_e5m2; float32, float64"),
        ((value.to_sparse(), offset, mask), r"value must be dense, got value.layout=torch.sparse_coo"),
        (([1.0], offset, mask), r"value must be a tensor, got value of type list"),
        ((value, None, mask), r"offset must be a tensor, got offset of type NoneType"),
        ((value, offset, mask.numpy()), r"mask must be a tensor, got mask of type ndarray"),
        ((value[:1], offset, mask), r"offset must be .* got offset.shape=\(2, 5, 4, 54\)"),
        ((value[..., :0], offset, mask), r"groups must divide value's channels, got groups=3, channels=0"),
    ):
        with pytest.raises(ValueError, match=message):
            dcnv3(*wrong, kernel_size=3, groups=3)


def test_shapes_come_out_on_the_meta_device() -> None:
    value, offset, mask = (tensor.to("meta") for tensor in inputs())
    assert dcnv3(value, offset, mask, kernel_size=3, groups=3).shape == value.shape


def test_the_backend_says_which_implementation_runs_and_why() -> None:
    assert backend().name in VARIANTS
    assert backend().reason
    assert backend() == backend("cpu") == Backend(name=backend().name, reason=backend().reason)
    assert backend("mps") == Backend("reference", "there is no kernel for mps devices")


def test_importing_the_package_does_not_import_torch() -> None:
    code = "import sys, dcnv3; assert 'torch' not in sys.modules; assert set(dcnv3.__all__) <= set(dir(dcnv3)); dcnv3.DCNv3"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_every_public_name_can_be_reached_and_no_other() -> None:
    assert sorted(package.__all__) == ["Backend", "DCNv3", "backend", "dcnv3", "dcnv3_reference"]
    assert all(getattr(package, name).__name__ == name for name in package.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = package.nothing
