"""The DCNv3 layer: its names, its start as a mean filter, its gradients and its memory layout."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dcnv3 import DCNv3, dcnv3

SIZES = {"channels": 12, "groups": 3}


def images(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def disturbed(layer: DCNv3) -> DCNv3:
    """`layer` in float64 with every parameter away from its start."""
    draw = torch.Generator().manual_seed(1)
    layer = layer.double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=draw, dtype=torch.float64)
    return layer


@pytest.mark.parametrize("size", [(7, 5), (1, 1), (2, 2), (16, 16)])
def test_a_fresh_layer_is_a_zero_padded_mean_filter_between_its_projections(size: tuple[int, int]) -> None:
    layer = DCNv3(12, 3).double()
    x = images(2, *size, 12)
    mean = F.avg_pool2d(layer.input_proj(x).permute(0, 3, 1, 2), 3, stride=1, padding=1).permute(0, 2, 3, 1)
    torch.testing.assert_close(layer(x), layer.output_proj(mean))


def test_state_dict_has_the_published_names_and_shapes() -> None:
    shapes = {name: tuple(tensor.shape) for name, tensor in DCNv3(12, 3, dw_kernel_size=5, center_feature_scale=True).state_dict().items()}
    assert shapes == {
        "dw_conv.0.weight": (12, 1, 5, 5),
        "dw_conv.0.bias": (12,),
        "dw_conv.1.1.weight": (12,),
        "dw_conv.1.1.bias": (12,),
        "offset.weight": (54, 12),
        "offset.bias": (54,),
        "mask.weight": (27, 12),
        "mask.bias": (27,),
        "input_proj.weight": (12, 12),
        "input_proj.bias": (12,),
        "output_proj.weight": (12, 12),
        "output_proj.bias": (12,),
        "center_feature_scale_proj_weight": (3, 12),
        "center_feature_scale_proj_bias": (3,),
    }


def test_only_the_projections_and_the_depthwise_convolution_start_at_random() -> None:
    layer = DCNv3(64, 4, center_feature_scale=True)
    random = {"dw_conv.0.weight", "dw_conv.0.bias", "dw_conv.1.1.weight", "input_proj.weight", "output_proj.weight"}
    assert {name for name, parameter in layer.named_parameters() if parameter.any()} == random
    bound = (6 / 128) ** 0.5
    for projection in (layer.input_proj, layer.output_proj):
        assert 0.95 * bound < projection.weight.abs().max() <= bound


@pytest.mark.parametrize("remove_center", [False, True])
def test_forward_is_the_published_sequence_of_steps(remove_center: bool) -> None:
    layer = disturbed(DCNv3(**SIZES, kernel_size=5, offset_scale=2.0, center_feature_scale=True, remove_center=remove_center))
    x = images(2, 6, 5, 12)
    weights = dict(layer.named_parameters())
    looked = F.conv2d(x.permute(0, 3, 1, 2), weights["dw_conv.0.weight"], weights["dw_conv.0.bias"], padding=1, groups=12)
    query = F.layer_norm(looked.permute(0, 2, 3, 1), (12,), weights["dw_conv.1.1.weight"], weights["dw_conv.1.1.bias"], eps=1e-6)
    query = F.gelu(query)
    value = x @ weights["input_proj.weight"].T + weights["input_proj.bias"]
    offset = query @ weights["offset.weight"].T + weights["offset.bias"]
    logits = query @ weights["mask.weight"].T + weights["mask.bias"]
    core = dcnv3(value, offset, logits, kernel_size=5, groups=3, offset_scale=2.0, remove_center=remove_center)
    share = torch.sigmoid(query @ weights["center_feature_scale_proj_weight"].T + weights["center_feature_scale_proj_bias"])
    share = share[..., None].expand(2, 6, 5, 3, 4).reshape(2, 6, 5, 12)
    blended = core * (1 - share) + value * share
    torch.testing.assert_close(layer(x), blended @ weights["output_proj.weight"].T + weights["output_proj.bias"])


def test_a_sigmoid_weighs_every_point_by_itself() -> None:
    layer = disturbed(DCNv3(**SIZES, mask_activation="sigmoid"))
    x = images(2, 6, 5, 12)
    query = layer.dw_conv(x.permute(0, 3, 1, 2))
    masks = layer.mask(query).sigmoid()
    core = dcnv3(layer.input_proj(x), layer.offset(query), masks, kernel_size=3, groups=3, softmax=False)
    torch.testing.assert_close(layer(x), layer.output_proj(core))


@pytest.mark.parametrize("switches", [{}, {"remove_center": True}, {"mask_activation": "sigmoid", "kernel_size": 5, "offset_scale": 2.0}])
def test_unshared_weights_project_every_sampling_point_by_itself(switches: dict[str, Any]) -> None:
    layer = disturbed(DCNv3(**SIZES, unshared_weights=True, center_feature_scale=True, **switches))
    x = images(2, 6, 5, 12)
    query = layer.dw_conv(x.permute(0, 3, 1, 2))
    logits = (layer.mask(query) + layer.second_mask_proj(x)).unflatten(-1, (3, layer.points))
    masks = logits.sigmoid() if layer.mask_activation == "sigmoid" else logits.softmax(-1)
    value, offset = layer.input_proj(x), layer.offset(query)
    share = torch.sigmoid(query @ layer.center_feature_scale_proj_weight.T + layer.center_feature_scale_proj_bias)
    share = share.repeat_interleave(4, dim=-1)
    expected = layer.output_proj.bias.expand(2, 6, 5, 12)
    for point, weight in enumerate(layer.output_proj.weight.split(12, dim=1)):
        only = torch.zeros_like(masks)
        only[..., point] = masks[..., point]
        sizes = {"kernel_size": layer.kernel_size, "offset_scale": layer.offset_scale, "remove_center": layer.remove_center}
        sample = dcnv3(value, offset, only.flatten(-2), groups=3, softmax=False, **sizes)
        expected = expected + (sample * (1 - share) + value * share / layer.points) @ weight.T
    torch.testing.assert_close(layer(x), expected)


def test_equal_unshared_weights_are_a_shared_one() -> None:
    shared, unshared = disturbed(DCNv3(**SIZES)), DCNv3(**SIZES, unshared_weights=True).double()
    weights = shared.state_dict()
    weights["output_proj.weight"] = weights["output_proj.weight"].repeat(1, 9)
    weights["second_mask_proj.weight"] = torch.zeros_like(weights["mask.weight"])
    unshared.load_state_dict(weights)
    x = images(2, 6, 5, 12)
    torch.testing.assert_close(unshared(x), shared(x))


def test_every_parameter_learns_once_the_layer_has_left_its_start() -> None:
    layer = disturbed(DCNv3(**SIZES, center_feature_scale=True))
    layer(images(2, 5, 4, 12)).square().sum().backward()
    for name, parameter in layer.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


@pytest.mark.parametrize("switches", [{}, {"unshared_weights": True, "remove_center": True}, {"mask_activation": "sigmoid"}])
def test_gradients_agree_with_finite_differences(switches: dict[str, Any]) -> None:
    layer = disturbed(DCNv3(4, 2, center_feature_scale=True, **switches))
    assert torch.autograd.gradcheck(layer, images(1, 2, 3, 4).requires_grad_())


def test_no_step_reorders_the_channels_last_memory() -> None:
    layer = DCNv3(**SIZES)
    strides = []
    layer.dw_conv[0].register_forward_hook(lambda _, args, out: strides.extend((args[0], out)))
    layer.dw_conv[1][1].register_forward_pre_hook(lambda _, args: strides.append(args[0].permute(0, 3, 1, 2)))
    found = layer(torch.randn(2, 6, 5, 12))
    assert len(strides) == 3
    assert all(tensor.is_contiguous(memory_format=torch.channels_last) for tensor in strides)
    assert found.is_contiguous()


def test_bfloat16_autocast_stays_near_float32() -> None:
    layer, x = DCNv3(**SIZES), torch.randn(2, 6, 5, 12)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = layer(x)
        found.float().square().sum().backward()
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), layer(x), rtol=0.05, atol=0.03)


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (2, 5), (5, 2)])
def test_the_depthwise_convolution_looks_at_low_maps_in_bfloat16_as_in_float64(size: tuple[int, int]) -> None:
    layer = DCNv3(**SIZES).dw_conv[0]
    x = images(2, 12, *size).bfloat16().float().requires_grad_()
    with torch.no_grad():
        layer.weight.copy_(layer.weight.bfloat16())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = layer(x)
    gradient = images(*found.shape, seed=1).bfloat16()
    found.backward(gradient)
    exact = F.conv2d(x.double(), layer.weight.double(), layer.bias.double(), padding=1, groups=12)
    expected = (exact, *torch.autograd.grad(exact, (x, layer.weight, layer.bias), gradient.double()))
    for got, wanted in zip((found, x.grad, layer.weight.grad, layer.bias.grad), expected, strict=True):
        torch.testing.assert_close(got.double(), wanted.double(), rtol=0.01, atol=0.02)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"channels": 12, "groups": 5}, "groups must divide channels, got channels=12, groups=5"),
        ({"channels": 12, "groups": 3, "kernel_size": 4}, "kernel_size must be odd, got kernel_size=4"),
        ({"channels": 12, "groups": 3, "kernel_size": 9}, "kernel_size must be at most 7, got kernel_size=9"),
        ({"channels": 12, "groups": 3, "kernel_size": (3, 3)}, r"kernel_size must be a whole number, got kernel_size=\(3, 3\)"),
        (
            {"channels": 12, "groups": 3, "kernel_size": 1, "remove_center": True},
            "remove_center needs an odd kernel of more than one point",
        ),
        ({"channels": 12, "groups": 3, "mask_activation": "tanh"}, "mask_activation must be one of softmax, sigmoid, got 'tanh'"),
        ({"channels": 12, "groups": 3, "dw_kernel_size": 2}, "dw_kernel_size must be odd, got dw_kernel_size=2"),
    ],
)
def test_sizes_that_do_not_fit_are_refused_by_name(sizes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DCNv3(**sizes)


def test_a_layer_draws_all_its_weights_anew():
    layer = DCNv3(8, 2, center_feature_scale=True, unshared_weights=True)
    for parameter in layer.parameters():
        nn.init.constant_(parameter, torch.nan)
    layer.reset_parameters()
    assert all(parameter.isfinite().all() for parameter in layer.parameters())
    assert not layer.offset.weight.any()


@pytest.mark.parametrize(
    ("switches", "message"),
    [
        ({"offset_scale": float("nan")}, "offset_scale must be a finite number"),
        ({"offset_scale": "1"}, "offset_scale must be a finite number"),
        ({"remove_center": 1}, "remove_center must be True or False, got remove_center=1"),
        ({"center_feature_scale": "no"}, "center_feature_scale must be True or False"),
    ],
)
def test_a_layer_refuses_what_its_core_would(switches, message):
    with pytest.raises(ValueError, match=message):
        DCNv3(8, 2, **switches)
