"""The InternImage network against the published family: sizes, names, structure and gradients."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from searchspace.model_config import ModelConfig
from searchspace.presets import preset
from searchspace.styles import STYLES, styled
from trainer.internimage import InternImage
from trainer.internimage_blocks import Block
from trainer.internimage_head import BiasedAttention
from trainer.stochastic_depth import StochasticDepth, linear_rates

# name: parameters with 1000 classes, parameters of the backbone, tensors in the state dict
PUBLISHED = {
    "T": (29_918_424, 28_754_672, 633),
    "S": (50_079_880, 48_502_560, 751),
    "B": (97_461_832, 94_909_920, 751),
    "L": (223_334_810, 218_952_370, 839),
    "XL": (334_819_780, 328_971_228, 883),
    "H": (1_089_636_760, 1_073_122_480, 1357),
    "G": (3_076_373_352, 3_052_781_184, 1295),
}


def small(style: str, **changes: Any) -> ModelConfig:
    sizes: dict[str, Any] = {"channels": 16, "group_channels": 4, "depths": (1, 1, 7, 1), **changes}
    return styled(**sizes, style=style)


def network(style: str, **options: Any) -> InternImage:
    torch.manual_seed(0)
    return InternImage(small(style), num_classes=10, **options)


def on_meta(name: str) -> InternImage:
    with torch.device("meta"):
        return InternImage(preset(name).config)


def shapes_of(name: str) -> dict[str, tuple[int, ...]]:
    return {key: tuple(tensor.shape) for key, tensor in on_meta(name).state_dict().items()}


def disturb(module: nn.Module) -> None:
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=draw)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_variants_have_their_exact_sizes(name: str) -> None:
    model = on_meta(name)
    backbone = sum(parameter.numel() for part in (model.patch_embed, model.levels) for parameter in part.parameters())
    total = sum(parameter.numel() for parameter in model.parameters())
    assert (total, backbone, len(model.state_dict())) == PUBLISHED[name]


def test_the_tiny_variant_has_the_published_names_and_shapes() -> None:
    shapes = shapes_of("T")
    expected = {
        "patch_embed.conv1.weight": (32, 3, 3, 3),
        "patch_embed.norm1.1.bias": (32,),
        "patch_embed.conv2.bias": (64,),
        "patch_embed.norm2.1.weight": (64,),
        "levels.0.blocks.3.norm1.0.weight": (64,),
        "levels.1.blocks.0.dcn.dw_conv.0.weight": (128, 1, 3, 3),
        "levels.1.blocks.0.dcn.dw_conv.1.1.bias": (128,),
        "levels.2.blocks.17.dcn.offset.weight": (16 * 9 * 2, 256),
        "levels.2.blocks.17.dcn.mask.bias": (16 * 9,),
        "levels.3.blocks.0.dcn.input_proj.weight": (512, 512),
        "levels.3.blocks.0.dcn.output_proj.bias": (512,),
        "levels.3.blocks.0.mlp.fc1.weight": (2048, 512),
        "levels.3.blocks.0.mlp.fc2.weight": (512, 2048),
        "levels.3.norm.0.weight": (512,),
        "levels.0.downsample.conv.weight": (128, 64, 3, 3),
        "levels.2.downsample.norm.1.bias": (512,),
        "conv_head.0.weight": (768, 512, 1, 1),
        "conv_head.1.0.running_var": (768,),
        "conv_head.1.0.num_batches_tracked": (),
        "head.weight": (1000, 768),
    }
    assert {name: shapes.get(name) for name in expected} == expected
    assert not [name for name in shapes if "gamma" in name or "post_norm" in name or "center" in name or "levels.3.downsample" in name]


def test_layer_scale_and_missing_stage_norms_show_in_the_names_of_post_norm_variants() -> None:
    shapes = shapes_of("S")
    assert shapes["levels.2.blocks.20.gamma1"] == shapes["levels.2.blocks.20.gamma2"] == (320,)
    assert not [name for name in shapes if ".norm.0." in name]


def test_the_huge_variants_have_the_published_names_and_shapes() -> None:
    huge, giant = shapes_of("H"), shapes_of("G")
    expected = {
        "levels.0.blocks.0.res_post_norm1.0.weight": (320,),
        "levels.3.blocks.5.res_post_norm2.0.bias": (2560,),
        "levels.0.blocks.0.dcn.dw_conv.0.weight": (320, 1, 5, 5),
        "levels.0.blocks.0.dcn.center_feature_scale_proj_weight": (10, 320),
        "levels.3.blocks.0.dcn.center_feature_scale_proj_bias": (80,),
        "levels.2.post_norms.4.0.weight": (1280,),
        "levels.1.norm.0.weight": (640,),
        "dcnv3_head_x4.0.weight": (4096, 2560, 1, 1),
        "dcnv3_head_x3.bias": (1024,),
        "clip_projector.norm1_q.0.weight": (1024,),
        "clip_projector.norm1_v.0.bias": (1024,),
        "clip_projector.cross_dcn.k.weight": (1024, 1024),
        "clip_projector.cross_dcn.q_bias": (1024,),
        "clip_projector.cross_dcn.proj.weight": (768, 1024),
        "clip_projector.cross_dcn.proj.bias": (768,),
        "fc_norm.0.weight": (768,),
        "head.weight": (1000, 768),
    }
    assert {name: huge.get(name) for name in expected} == expected
    assert "levels.2.post_norms.7.0.bias" in giant
    assert "levels.2.post_norms.8.0.bias" not in giant
    assert not [name for name in giant if "res_post_norm" in name or "conv_head" in name or "gamma" in name]


@pytest.mark.parametrize("style", STYLES)
def test_every_style_maps_images_to_logits_and_gives_every_parameter_a_gradient(style: str) -> None:
    model = network(style)
    disturb(model)
    logits = model(torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(2)))
    assert logits.shape == (2, 10)
    nn.functional.cross_entropy(logits, torch.tensor([1, 2])).backward()
    # A constant added to every key leaves the softmax over the tokens as it is.
    without_effect = {"clip_projector.norm1_k.0.bias", "clip_projector.cross_dcn.k_bias"}
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any() or name in without_effect, name


@pytest.mark.parametrize("style", STYLES)
def test_a_fresh_network_has_finite_gradients_everywhere(style: str) -> None:
    model = network(style)
    model(torch.randn(2, 3, 64, 64)).square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


@pytest.mark.parametrize(("side", "sizes"), [(64, (16, 8, 4, 2)), (65, (17, 9, 5, 3)), (97, (25, 13, 7, 4)), (33, (9, 5, 3, 2))])
def test_stage_maps_are_nchw_and_odd_sizes_round_up(side: int, sizes: tuple[int, ...]) -> None:
    maps = network("s").eval().forward_features(torch.randn(1, 3, side, 64))
    assert [tuple(stage.shape) for stage in maps] == [
        (1, 16 * 2**i, height, width) for i, (height, width) in enumerate(zip(sizes, (16, 8, 4, 2), strict=True))
    ]


def test_the_attention_head_refuses_maps_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match=r"stage-3 map of exactly twice stage 4's size, got \(5, 4\) and \(3, 2\)"):
        network("h").eval()(torch.randn(1, 3, 65, 64))


@pytest.mark.parametrize("style", STYLES)
def test_blocks_normalise_where_their_style_says(style: str) -> None:
    block = Block(small(style), 0, 0.0)
    disturb(block)
    x = torch.randn(2, 5, 4, 16)

    def after(norm: nn.Module, y: Tensor) -> Tensor:
        return norm(y)

    if style == "t":
        middle = x + block.dcn(block.norm1(x))
        expected = middle + block.mlp(block.norm2(middle))
    elif style in {"s", "l"}:
        middle = x + block.gamma1 * block.norm1(block.dcn(x))
        expected = middle + block.gamma2 * block.norm2(block.mlp(middle))
    elif style == "h":
        middle = x + block.res_post_norm1(block.dcn(block.norm1(x)))
        expected = middle + block.res_post_norm2(block.mlp(block.norm2(middle)))
    else:
        middle = x + block.norm1(block.dcn(x))
        expected = middle + block.norm2(block.mlp(middle))
    torch.testing.assert_close(block(x), expected)


@pytest.mark.parametrize(("style", "normalised"), [("t", True), ("s", False), ("l", False), ("h", True), ("g", True)])
def test_stage_maps_are_taken_after_the_stage_norm(style: str, normalised: bool) -> None:
    model = network(style).eval()
    for block in model.levels.modules():
        if isinstance(block, Block) and block.gamma1 is not None:
            nn.init.ones_(block.gamma1)
    maps = model.forward_features(torch.randn(1, 3, 64, 64))
    spread = maps[2].std(1, correction=0)
    assert torch.allclose(spread, torch.ones_like(spread), atol=1e-3) == normalised


def test_the_extra_norm_of_the_huge_variants_follows_the_sixth_block_of_stage_three() -> None:
    model = network("h").eval()
    nn.init.zeros_(model.levels[2].post_norms[0][0].weight)
    seen: dict[int, Tensor] = {}
    for index, block in enumerate(model.levels[2].blocks):
        block.register_forward_pre_hook(lambda _, args, index=index: seen.update({index: args[0]}))
    model(torch.randn(1, 3, 64, 64))
    assert [bool(seen[index].any()) for index in range(7)] == [True] * 6 + [False]


@pytest.mark.parametrize("style", ["t", "g"])
def test_the_trunk_stays_channels_last_in_memory(style: str) -> None:
    model = network(style).eval()
    inputs: list[Tensor] = []
    for block in model.levels.modules():
        if isinstance(block, Block):
            block.register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
    model(torch.randn(2, 3, 64, 64))
    assert len(inputs) == 10
    assert all(x.is_contiguous() for x in inputs)


@pytest.mark.parametrize("style", STYLES)
def test_a_block_copies_no_activation_for_its_layout_forward_or_backward(style: str) -> None:
    block, x = Block(small(style), 0, 0.1), torch.randn(2, 16, 16, 16, requires_grad=True)
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as record:
        block(x).backward(torch.randn(2, 16, 16, 16))
    copies = [
        event for event in record.events() if event.name in {"aten::clone", "aten::copy_"} and math.prod(event.input_shapes[0]) >= 512
    ]
    assert {copy.cpu_parent.name for copy in copies} == {"aten::addmm"}  # a bias spread over the result that the product is added to
    assert len(copies) == 6 + (style in {"h", "g"})  # linears


@pytest.mark.parametrize("stages", [(0,), (2, 3), (0, 1, 2, 3)])
def test_checkpointed_stages_keep_less_and_give_the_same_gradients(stages: tuple[int, ...]) -> None:
    images = torch.randn(2, 3, 64, 64)

    def gradients(**options: Any) -> tuple[dict[str, Tensor], int]:
        model, kept = network("s", drop_path_rate=0.5, **options), []
        disturb(model)
        torch.manual_seed(3)
        with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor.numel()) or tensor, lambda tensor: tensor):
            loss = model(images).square().mean()
        loss.backward()
        return {name: parameter.grad for name, parameter in model.named_parameters()}, sum(kept)

    (plain, all_kept), (found, kept) = gradients(), gradients(checkpointed_stages=stages)
    assert kept < all_kept
    for name, gradient in plain.items():
        torch.testing.assert_close(found[name], gradient, msg=name)


def test_stages_that_do_not_exist_cannot_be_checkpointed() -> None:
    with pytest.raises(ValueError, match=r"checkpointed_stages holds stages from 0 to 3, got \[4\]"):
        network("t", checkpointed_stages=(4,))


ABLATIONS = {
    "kernel 5": ({"kernel_size": 5, "dw_kernel_size": 5}, 36_989_912),
    "kernel 7": ({"kernel_size": 7, "dw_kernel_size": 7}, 47_597_144),
    "one group": ({"one_group": True, "group_channels": 64}, 26_208_786),
    "sigmoid": ({"mask_activation": "sigmoid"}, 29_918_424),
    "unshared weights": ({"unshared_weights": True}, 29_918_424 + 19_780_608),
    "no centre": (
        {"remove_center": True},
        29_918_424 - sum(3 * (w + 1) * w // 16 * d for w, d in zip((64, 128, 256, 512), (4, 4, 18, 4), strict=True)),
    ),
}


@pytest.mark.parametrize("name", ABLATIONS)
def test_ablations_of_the_tiny_variant_have_their_exact_sizes(name: str) -> None:
    changes, params = ABLATIONS[name]
    with torch.device("meta"):
        model = InternImage(replace(preset("T").config, **changes))
    assert sum(parameter.numel() for parameter in model.parameters()) == params


@pytest.mark.parametrize("name", ABLATIONS)
def test_every_parameter_of_an_ablated_network_learns(name: str) -> None:
    torch.manual_seed(0)
    config = replace(small("t"), **ABLATIONS[name][0] | ({"group_channels": 16} if name == "one group" else {}))
    model = InternImage(config, num_classes=10)
    disturb(model)
    model(torch.randn(2, 3, 64, 64)).square().sum().backward()
    for parameter_name, parameter in model.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.isfinite().all(), parameter_name
        assert parameter.grad.any(), parameter_name


def test_every_norm_but_the_heads_batch_norm_has_epsilon_1e_6() -> None:
    epsilons = {(type(module).__name__, module.eps) for module in network("t").modules() if hasattr(module, "eps")}
    assert epsilons == {("LayerNorm", 1e-6), ("BatchNorm2d", 1e-5)}


def test_the_attention_pool_is_multi_head_attention() -> None:
    torch.manual_seed(0)
    found, known = BiasedAttention(64, 16, 24), nn.MultiheadAttention(64, 16, batch_first=True)
    disturb(found)
    with torch.no_grad():
        known.in_proj_weight.copy_(torch.cat([found.q.weight, found.k.weight, found.v.weight]))
        known.in_proj_bias.copy_(torch.cat([found.q_bias, found.k_bias, found.v_bias]))
        known.out_proj.weight[:24], known.out_proj.bias[:24] = found.proj.weight, found.proj.bias
    query, key, value = torch.randn(2, 1, 64), torch.randn(2, 9, 64), torch.randn(2, 9, 64)
    torch.testing.assert_close(found(query, key, value), known(query, key, value)[0][..., :24])


def test_the_same_seed_gives_the_same_network() -> None:
    first, second = network("s").state_dict(), network("s").state_dict()
    torch.manual_seed(1)
    other = InternImage(small("s"), num_classes=10).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["head.weight"], other["head.weight"])


def test_initial_weights_follow_the_published_rules() -> None:
    model = network("s")
    block = model.levels[3].blocks[0]
    assert 0.017 < model.head.weight.std() < 0.023
    assert not model.head.bias.any()
    assert 0.017 < block.mlp.fc1.weight.std() < 0.023
    assert not block.dcn.offset.weight.any()
    assert not block.dcn.mask.weight.any()
    bound = (6 / (2 * 128)) ** 0.5
    assert 0.95 * bound < block.dcn.input_proj.weight.abs().max() <= bound
    assert (block.gamma1 == 1e-5).all()


def test_building_and_running_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    network("g").eval()(torch.randn(1, 3, 32, 32))
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("classes", [0, 1.5, True])
def test_a_number_of_classes_that_makes_no_sense_is_refused(classes: Any) -> None:
    with pytest.raises(ValueError, match="num_classes must be whole and at least 1, got num_classes="):
        InternImage(small("t"), num_classes=classes)


def test_drop_path_rates_grow_linearly_over_all_blocks() -> None:
    model = network("t", drop_path_rate=0.9)
    rates = [module.rate for module in model.modules() if isinstance(module, StochasticDepth)]
    assert rates == pytest.approx([0.1 * block for block in range(10)])
    assert linear_rates(0.3, 1) == [0.0]


@pytest.mark.parametrize("training", [True, False])
def test_stochastic_depth_of_rate_zero_is_the_identity(training: bool) -> None:
    x = torch.randn(4, 3, 3, 2)
    assert StochasticDepth(0.0).train(training)(x) is x


def test_stochastic_depth_is_the_identity_in_evaluation() -> None:
    x = torch.randn(4, 3, 3, 2)
    assert StochasticDepth(0.7).eval()(x) is x


def test_stochastic_depth_drops_whole_samples_and_keeps_the_expectation() -> None:
    torch.manual_seed(0)
    found = StochasticDepth(0.25).train()(torch.ones(40_000, 2, 2, 1))
    per_sample = found.flatten(1)
    assert (per_sample == per_sample[:, :1]).all()
    assert sorted(set(per_sample[:, 0].tolist())) == pytest.approx([0.0, 1 / 0.75])
    assert per_sample.mean() == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize("rate", [-0.1, 1.0, float("nan")])
def test_a_stochastic_depth_rate_outside_its_range_is_refused(rate: float) -> None:
    with pytest.raises(ValueError, match=f"drop_path_rate must be at least 0 and below 1, got drop_path_rate={rate}"):
        InternImage(small("t"), drop_path_rate=rate)
