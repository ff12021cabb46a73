"""The exact cost against the published figures, the paper's closed form and built networks."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from math import prod
from random import Random
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from dcnv3.layer import DCNv3
from searchspace.cost import COST_METRICS, cost, cost_by_part, stage_sides
from searchspace.depth import CostOfDepth, Stack, deepest_within, nearest_depth
from searchspace.model_config import ModelConfig
from searchspace.presets import PRESETS
from searchspace.stacking import stack
from searchspace.styles import STYLES, styled
from tests.architectures import drawn_architecture, fitting_image_size
from trainer.internimage import InternImage

PUBLISHED = {  # parameters, of which backbone, FLOPs in G at the preset's image size
    "T": (29_918_424, 28_754_672, 4.904),
    "S": (50_079_880, 48_502_560, 8.329),
    "B": (97_461_832, 94_909_920, 16.215),
    "L": (223_334_810, 218_952_370, 107.949),
    "XL": (334_819_780, 328_971_228, 163.125),
    "H": (1_089_636_760, 1_073_122_480, 182.179),
    "G": (3_076_373_352, 3_052_781_184, 2702.499),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_variants_have_their_published_cost(name: str) -> None:
    preset = PRESETS[name]
    parts = cost_by_part(preset.config, preset.image_size)
    total = cost(preset.config, preset.image_size)
    params, backbone, flops = PUBLISHED[name]
    assert total.params == params
    assert total.params - parts["head"].params == backbone
    assert total.flops / 1e9 == pytest.approx(flops, abs=6e-4)


def closed_form_params(c1: int, group: int, l1: int, l3: int, style: str) -> float:
    """Section 3 of the paper worked out: quadratic and linear part in C1 (T- and S-style)."""
    a, b = {"t": (23, 12100), "s": (25, 12070)}[style]
    quadratic = (10 + 27 / group) * (69 * l1 + 16 * l3) + 478.5
    return c1**2 * quadratic + c1 * ((a + 27 / group) * (11 * l1 + 4 * l3) + b) + 1000


def closed_form_flops(c1: int, group: int, l1: int, l3: int, style: str, image_size: int) -> float:
    pixels = (image_size / 4) ** 2
    pre = 1 if style == "t" else 0
    quadratic = (10 + 27 / group) * (3 * l1 + l3) + 19.5
    linear = 61 * (13 / 8 * l1 + l3 / 4) + 65.3125 + 3.75 * pre
    return pixels * (c1**2 * quadratic + c1 * linear) + 12000 * c1


stacks = st.tuples(
    st.integers(1, 12).map(lambda n: 16 * n), st.sampled_from([4, 8, 16]), st.integers(1, 8), st.integers(0, 40), st.sampled_from("ts")
)


@given(stacks, st.integers(1, 20).map(lambda n: 32 * n))
def test_the_count_equals_the_closed_form_to_the_unit(drawn: tuple[int, int, int, int, str], image_size: int) -> None:
    c1, group, l1, more, style = drawn
    size = cost(stack(c1, group, l1, l1 + more, style=style), image_size)
    assert size.params == closed_form_params(c1, group, l1, l1 + more, style)
    assert size.flops == closed_form_flops(c1, group, l1, l1 + more, style, image_size)


configs = st.builds(
    lambda group, n, depths, style: styled(channels=2 * group * n, group_channels=group, depths=depths, style=style),
    st.sampled_from([1, 2, 3, 4, 8]),
    st.integers(1, 3),
    st.tuples(st.integers(1, 2), st.integers(1, 2), st.integers(1, 8), st.integers(1, 2)),
    st.sampled_from(sorted(STYLES)),
)


@given(configs, st.sampled_from([32, 64, 96]), st.integers(1, 20))
@settings(max_examples=25, deadline=None)
def test_the_count_equals_the_built_network_to_the_unit(config: ModelConfig, image_size: int, num_classes: int) -> None:
    params, flops, activations = measured(config, image_size, num_classes)
    size = cost(config, image_size, num_classes)
    assert (size.params, size.flops, size.activations) == (params, flops, activations)


@given(st.integers(33, 200))
@settings(max_examples=10, deadline=None)
def test_sizes_that_are_no_multiple_of_32_are_rounded_up_stage_by_stage(image_size: int) -> None:
    config = styled(channels=4, group_channels=2, depths=(1, 1, 1, 1))
    params, flops, activations = measured(config, image_size, 7)
    size = cost(config, image_size, 7)
    assert (size.params, size.flops, size.activations) == (params, flops, activations)


@pytest.mark.parametrize("seed", range(4))
def test_no_switch_leads_the_count_astray(seed: int) -> None:
    random, wrong = Random(seed), []
    for _ in range(125):
        config = drawn_architecture(random)
        image_size, num_classes = fitting_image_size(random, config, 200), random.randint(1, 50)
        size = cost(config, image_size, num_classes)
        if (size.params, size.flops, size.activations) != measured(config, image_size, num_classes):
            wrong.append((config, image_size, num_classes))
    assert wrong == []


@pytest.mark.parametrize(
    ("switches", "params"),
    [
        ({"kernel_size": 3, "dw_kernel_size": 3}, 29_918_424),
        ({"kernel_size": 5, "dw_kernel_size": 5}, 36_989_912),
        ({"kernel_size": 7, "dw_kernel_size": 7}, 47_597_144),
        ({"one_group": True, "group_channels": 64}, 26_208_786),
        ({"unshared_weights": True}, 29_918_424 + 19_780_608),
        ({"mask_activation": "sigmoid"}, 29_918_424),
    ],
)
def test_the_ablations_of_t_have_their_published_size(switches: dict[str, Any], params: int) -> None:
    assert cost(replace(PRESETS["T"].config, **switches)).params == params
    assert f"{19_780_608 / 29_918_424:.1%}" == "66.1%"


def test_h_without_its_switches_has_the_size_that_the_paper_s_weight_sharing_figure_fits() -> None:
    assert cost(stack(320, 32, 6, 32)).params == 1_082_582_020


def test_a_core_with_unshared_weights_writes_every_point() -> None:
    shared = cost(ModelConfig(channels=4, group_channels=4, depths=(1, 1, 1, 1)), 32)
    unshared = cost(ModelConfig(channels=4, group_channels=4, depths=(1, 1, 1, 1), unshared_weights=True), 32)
    pixels = [side**2 for side in stage_sides(32)]
    core = sum((9 - 1) * 4 * 2**stage * n for stage, n in enumerate(pixels))
    second_masks = sum(9 * 2**stage * n for stage, n in enumerate(pixels))
    assert (unshared - shared).activations == core + second_masks


def measured(config: ModelConfig, image_size: int, num_classes: int) -> tuple[int, int, int]:
    """Parameters of the built network, and FLOPs and activations that hooks count while it runs on the meta device."""
    counts = {"flops": 0, "activations": 0}

    def count(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        flops, activations = flops_of(module, inputs[0], output)
        counts["flops"] += flops
        counts["activations"] += activations

    with shapes_only(), torch.device("meta"):
        model = InternImage(config, num_classes=num_classes).eval()
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear | nn.LayerNorm | nn.BatchNorm2d | DCNv3):
            module.register_forward_hook(count)
    with shapes_only(), torch.no_grad():
        model(torch.empty(1, 3, image_size, image_size, device="meta"))
    if not config.clip_projector:
        counts["flops"] += 12 * config.channels * stage_sides(image_size)[-1] ** 2  # the average pool is a method call
    return sum(p.numel() for p in model.parameters()), counts["flops"], counts["activations"]


@contextmanager
def shapes_only() -> Iterator[None]:
    """Norms, GELU and initial values leave a shape as it is, which the meta device takes milliseconds to find out."""
    with ExitStack() as patches:
        for layer in (nn.LayerNorm, nn.BatchNorm2d, nn.GELU):
            patches.enter_context(mock.patch.object(layer, "forward", lambda _, x: x))
        for name in ("kaiming_uniform_", "trunc_normal_", "uniform_", "xavier_uniform_", "zeros_", "ones_"):
            patches.enter_context(mock.patch.object(nn.init, name, lambda values, *_, **__: values))
        yield


def flops_of(module: nn.Module, x: torch.Tensor, y: torch.Tensor) -> tuple[int, int]:
    if isinstance(module, nn.Conv2d):
        return y.numel() * (prod(module.weight.shape[1:]) + (module.bias is not None)), y.numel()
    if isinstance(module, nn.Linear):
        return y.numel() * module.in_features, y.numel()
    if isinstance(module, DCNv3):  # its layers are counted by their own hooks, the core here
        written = y.numel() // module.channels * module.output_proj.in_features
        return 5 * y.numel() * module.points, written
    return 2 * x.numel(), 0


@given(stacks, st.floats(0.2, 5))
@settings(deadline=None)
def test_the_solved_depth_is_the_nearest_of_all(drawn: tuple[int, int, int, int, str], factor: float) -> None:
    c1, group, l1, l3, style = drawn
    cost_at = Stack(channels=c1, group_channels=group, l1=l1, style=style).cost_of_depth("params")
    target = round(cost_at(l3 + 1) * factor)
    solved = nearest_depth(cost_at, target)
    assert abs(cost_at(solved) - target) == min(abs(cost_at(l3) - target) for l3 in range(max(1, solved - 4), solved + 5))
    deepest = deepest_within(cost_at, target)
    assert deepest == 0 or cost_at(deepest) <= target < cost_at(deepest + 1)
    assert deepest > 0 or cost_at(1) > target


def test_depth_is_solved_in_the_styles_that_add_a_norm_to_every_sixth_block() -> None:
    cost_at = Stack(channels=320, group_channels=32, l1=6, style="h").cost_of_depth("params")
    assert nearest_depth(cost_at, cost_at(32)) == deepest_within(cost_at, cost_at(32)) == 32


@given(stacks, st.floats(0.01, 20), st.sampled_from("tslhg"), st.sampled_from(COST_METRICS))
def test_the_solved_depth_is_the_nearest_in_every_style_and_metric(
    drawn: tuple[int, int, int, int, str], factor: float, style: str, metric: str
) -> None:
    c1, group, l1, l3, _ = drawn
    cost_at = Stack(channels=c1, group_channels=group, l1=l1, style=style).cost_of_depth(metric)
    config = styled(channels=c1, group_channels=group, depths=(l1, l1, l3 + 1, l1), style=style)
    assert cost_at(l3 + 1) == getattr(cost(config), metric)
    target = cost_at(l3 + 1) * factor
    solved, deepest = nearest_depth(cost_at, target), deepest_within(cost_at, target)
    nearby = range(max(1, solved - 13), solved + 14)  # costs rise from each depth to the next, so the nearest of these is that of all
    assert solved == min(nearby, key=lambda depth: abs(cost_at(depth) - target))
    assert cost_at(deepest) <= target < cost_at(deepest + 1) if deepest else target < cost_at(1)


def test_a_solution_evaluates_the_cost_of_two_depths() -> None:
    seen: list[int] = []

    class Counted(CostOfDepth):
        def __call__(self, l3: int) -> int:
            seen.append(l3)
            return super().__call__(l3)

    cost_at = Stack(channels=64, group_channels=16, l1=4).cost_of_depth("params")
    assert nearest_depth(Counted(cost_at.rest, cost_at.block), 30_000_000) == 18
    assert sorted(seen) == [18, 19]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"channels": 48, "group_channels": 32}, "multiple of group_channels"),
        ({"channels": 3, "group_channels": 1}, "even"),
        ({"channels": 0, "group_channels": 1}, "at least 1"),
        ({"l1": 0}, "L1 must be at least 1"),
        ({"style": "q"}, "unknown style"),
        ({"style": "h", "image_size": 100}, "exactly twice stage 4"),
        ({"style": ModelConfig(channels=4, group_channels=4, depths=(1, 1, 1, 1), one_group=True)}, "one_group"),
        ({"style": ModelConfig(channels=4, group_channels=4, depths=(1, 1, 3, 1), level2_post_norm_block_ids=(0,))}, "level2_post_norm"),
    ],
)
def test_a_stack_that_cannot_be_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Stack(**{"channels": 64, "group_channels": 16, "l1": 4, **given}).cost_of_depth("params")


def test_an_image_that_the_attention_pool_cannot_serve_is_refused() -> None:
    with pytest.raises(ValueError, match="exactly twice stage 4"):
        cost(PRESETS["H"].config, 100)


def test_sizes_are_whole_numbers_of_any_kind_but_no_truth_values() -> None:
    tiny = PRESETS["T"].config
    assert cost(tiny, np.int32(224), np.int16(1000)) == cost(tiny)  # type: ignore[arg-type]
    for sizes in ((1.5, 1000), (True, 1000), (224, 1.5), ("224", 1000)):
        with pytest.raises(ValueError, match=r"(image_size|num_classes) must be whole, got"):
            cost(tiny, *sizes)  # type: ignore[arg-type]
