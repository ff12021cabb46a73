"""Sampling points and effective receptive fields against what the geometry of a network says they must be."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dcnv3 import dcnv3
from searchspace.model_config import ModelConfig
from trainer.inspect import STRIDES, map_pixel, mass_radius, receptive_fields, sampling_points
from trainer.internimage import InternImage

SIDE = 64


def network(seed: int = 0, **switches: object) -> InternImage:
    torch.manual_seed(seed)
    return InternImage(ModelConfig(**{"channels": 16, "group_channels": 8, "depths": (1, 2, 1, 1), **switches}), num_classes=3)


def images(count: int = 1, seed: int = 0) -> Tensor:
    return torch.randn(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))


def regular(side: int, kernel: int, scale: float) -> tuple[Tensor, Tensor]:
    """x and y (H, W, K) of the fixed grid times the offset scale around every pixel; points count down the columns, left to right."""
    steps = (torch.arange(kernel) - kernel // 2) * scale
    pixels = torch.arange(side, dtype=torch.float32)
    x = pixels[None, :, None] + steps.repeat_interleave(kernel)
    y = pixels[:, None, None] + steps.repeat(kernel)
    return x.expand(side, side, -1), y.expand(side, side, -1)


@pytest.mark.parametrize("scale", [1.0, 2.0, 0.75])
@pytest.mark.parametrize("kernel", [3, 5])
def test_a_fresh_network_samples_the_regular_grid_times_the_offset_scale_with_equal_modulation(kernel: int, scale: float) -> None:
    model = network(offset_scale=scale, kernel_size=kernel)
    found = sampling_points(model, images(2))
    assert [(sampling.stage, sampling.block) for sampling in found] == [(0, 0), (1, 0), (1, 1), (2, 0), (3, 0)]
    for sampling in found:
        side, groups = SIDE // STRIDES[sampling.stage], model.config.groups[sampling.stage]
        x, y = regular(side, kernel, scale)
        shape = (2, side, side, groups, kernel**2)
        assert torch.equal(sampling.x, x[:, :, None].expand(shape))
        assert torch.equal(sampling.y, y[:, :, None].expand(shape))
        assert torch.allclose(sampling.modulation, torch.full(shape, 1 / kernel**2))
        across, down = sampling.in_input_pixels()
        assert torch.equal(across, sampling.x * sampling.stride)
        assert torch.equal(down, sampling.y * sampling.stride)


def test_known_offsets_move_their_own_point_by_x_then_y_times_the_scale() -> None:
    model = network(offset_scale=2.0)
    layer, group, point = model.levels[1].blocks[1].dcn, 3, 5
    plain = sampling_points(model, images())[2]
    with torch.no_grad():
        layer.offset.bias[(group * layer.points + point) * 2] = 0.25
        layer.offset.bias[(group * layer.points + point) * 2 + 1] = -1.5
    moved = sampling_points(model, images())[2]
    expected_x, expected_y = plain.x.clone(), plain.y.clone()
    expected_x[..., group, point] += 0.5
    expected_y[..., group, point] -= 3.0
    assert torch.equal(moved.x, expected_x)
    assert torch.equal(moved.y, expected_y)


@pytest.mark.parametrize("switches", [{}, {"remove_center": True}, {"mask_activation": "sigmoid"}, {"unshared_weights": True}])
def test_the_points_found_are_those_that_the_layer_s_output_is_made_of(switches: dict[str, object]) -> None:
    """Summing bilinear samples at these points with these modulations gives what the operator gives."""
    model = network(**switches)
    layer = model.levels[0].blocks[0].dcn
    for part in (layer.offset, layer.mask, getattr(layer, "second_mask_proj", layer.mask)):
        torch.nn.init.normal_(part.weight, std=0.3)
    inputs: list[Tensor] = []
    layer.register_forward_pre_hook(lambda _, arguments: inputs.append(arguments[0]))
    (sampling,) = sampling_points(model, images(), stages=[0])
    value = layer.input_proj(inputs[0])
    offset = layer.offset(layer.dw_conv(inputs[0].permute(0, 3, 1, 2)))
    options = {"kernel_size": 3, "groups": layer.groups, "remove_center": layer.remove_center, "softmax": False}
    expected = dcnv3(value, offset, sampling.modulation.flatten(3), **options)
    assert torch.allclose(summed(value, sampling.x, sampling.y, sampling.modulation), expected, atol=1e-5)
    if not switches:  # the operator's own softmax weighs them so
        logits = layer.mask(layer.dw_conv(inputs[0].permute(0, 3, 1, 2)))
        assert torch.allclose(dcnv3(value, offset, logits, **{**options, "softmax": True}), expected, atol=1e-5)


def summed(value: Tensor, x: Tensor, y: Tensor, modulation: Tensor) -> Tensor:
    """Σ modulation · bilinear(value) with zeros outside, by triangular weights of every pixel."""
    height, width = value.shape[1:3]
    weight_x = (1 - (x[..., None] - torch.arange(width)).abs()).clamp(min=0)
    weight_y = (1 - (y[..., None] - torch.arange(height)).abs()).clamp(min=0)
    grouped = value.unflatten(-1, (x.shape[3], -1))
    return torch.einsum("nhwgk,nhwgky,nhwgkx,nyxgc->nhwgc", modulation, weight_y, weight_x, grouped).flatten(3)


def test_looking_leaves_the_network_as_it_was() -> None:
    model = network()
    model.train()
    model.levels[1].eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    sampling_points(model, images())
    receptive_fields(model, images(), draws=1)
    assert [part.training for part in (model, model.levels[0], model.levels[1])] == [True, True, False]
    assert not any(module._forward_hooks for module in model.modules())
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize(("stage", "radius"), [(0, 3 + 4), (1, 3 + 4 + 4 + 2 * 8)])
def test_a_fresh_network_sees_exactly_the_square_that_its_layers_reach(stage: int, radius: int) -> None:
    """The stem reaches 3 pixels, each block one pixel of its map, each downsampling one of the map before it."""
    field = receptive_fields(network(), images(), at=(32, 32))[stage]
    away = torch.maximum((torch.arange(SIDE) - 32).abs()[None], (torch.arange(SIDE) - 32).abs()[:, None])
    assert torch.equal(field > 0, away <= radius)


def test_a_receptive_field_is_the_mean_absolute_gradient_of_signed_sums_of_the_pixel_s_channels() -> None:
    model, seen = network().eval(), images(2)
    found = receptive_fields(model, seen, at=(40, 8), draws=3, seed=5)
    generator = torch.Generator().manual_seed(5)
    expected = torch.zeros_like(found)
    for image in seen:
        for stage in range(4):
            column, row = map_pixel((40, 8), stage, (SIDE, SIDE))
            jacobian = torch.autograd.functional.jacobian(
                lambda x, s=stage, r=row, c=column: model.forward_features(x)[s][0, :, r, c], image[None]
            )
            for _ in range(3):
                signs = torch.randint(0, 2, (len(jacobian),), generator=generator) * 2.0 - 1
                expected[stage] += torch.einsum("c,cixy->ixy", signs, jacobian[:, 0]).abs().mean(0) / 6
    assert torch.allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_a_wider_offset_scale_sees_further() -> None:
    radii = [mass_radius(receptive_fields(network(offset_scale=scale), images(), at=(32, 32))[1], (32, 32), 0.9) for scale in (1.0, 2.0)]
    assert radii[0] < radii[1]


def test_the_middle_is_the_pixel_of_each_map_nearest_to_the_image_s() -> None:
    assert [map_pixel(None, stage, (224, 224)) for stage in range(4)] == [(28, 28), (14, 14), (7, 7), (3, 3)]
    assert map_pixel((63, 0), 0, (64, 64)) == (15, 0)  # 63 lies beyond the last pixel of the map
    assert map_pixel((9, 11), 0, (64, 64)) == (2, 3)
    for at in ((64, 0), (0, -1)):
        with pytest.raises(ValueError, match="at must lie in the image of 64 × 64 pixels"):
            map_pixel(at, 0, (64, 64))


@settings(max_examples=30)
@given(st.integers(1, 9), st.integers(0, 15), st.integers(0, 15), st.floats(0.01, 1.0))
def test_the_radius_holds_the_share_and_no_smaller_one_does(seed: int, x: int, y: int, share: float) -> None:
    field = torch.from_numpy(np.random.default_rng(seed).random((16, 16)))
    radius = mass_radius(field, (x, y), share)
    distance = torch.hypot(torch.arange(16)[None] - x, (torch.arange(16)[:, None] - y).double())
    total = float(field.sum())
    assert float(field[distance <= radius].sum()) >= share * total * (1 - 1e-9)
    assert float(field[distance < radius - 1e-9].sum()) < share * total * (1 + 1e-9)


def test_an_empty_field_has_no_radius_and_a_single_pixel_one_of_its_distance() -> None:
    field = torch.zeros(8, 8)
    assert math.isnan(mass_radius(field, (4, 4), 0.5))
    field[1, 4] = 2.0
    assert mass_radius(field, (4, 4), 0.5) == 3.0
