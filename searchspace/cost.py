"""Exact parameters, FLOPs and activations of an architecture, counted layer by layer without allocating a weight.

Conventions: one FLOP per multiply-add of convolutions and linears (a convolution's bias adds its output, a linear's is free), 2 per element
of a norm, 1 per element of an average pool, 5 · K per output element of a DCNv3 core (four bilinear taps and the modulation), 0 for
activations, softmax and residual additions. Activations are the elements written by convolutions, linears and DCNv3 cores.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Self

from searchspace.model_config import STAGES, ModelConfig

CLIP_EMBED, CLIP_OUT = 1024, 768  # widths of the attention-pool head of H and G


@dataclass(frozen=True, slots=True)
class Cost:
    """Parameters, FLOPs of one image (1 per multiply-add) and activations (elements) of one image."""

    params: int = 0
    flops: int = 0
    activations: int = 0

    def __add__(self, other: Self) -> Self:
        return type(self)(self.params + other.params, self.flops + other.flops, self.activations + other.activations)

    def __mul__(self, times: int) -> Self:
        return type(self)(self.params * times, self.flops * times, self.activations * times)


COST_METRICS = ("params", "flops", "activations")


def cost(config: ModelConfig, image_size: int = 224, num_classes: int = 1000) -> Cost:
    """What one `image_size`² image costs the whole network with its classification head."""
    return reduce(add, cost_by_part(config, image_size, num_classes).values())


def cost_by_part(config: ModelConfig, image_size: int = 224, num_classes: int = 1000) -> Mapping[str, Cost]:
    """Cost of the stem, of each stage with the downsampling behind it, and of the head; ValueError for sizes that cannot be."""
    _check_sizes(config, image_size, num_classes)
    sides = stage_sides(image_size)
    parts = {"stem": _stem(config, image_size)}
    for stage in range(STAGES):
        parts[f"stage {stage + 1}"] = _stage(config, stage, sides)
    parts["head"] = _clip_head(config, sides, num_classes) if config.clip_projector else _head(config, sides, num_classes)
    return parts


def stage_sides(image_size: int) -> tuple[int, ...]:
    """Side of each stage's feature map in pixels: every stride-2 convolution gives ceil(n / 2)."""
    sides = [_half(_half(image_size))]
    while len(sides) < STAGES:
        sides.append(_half(sides[-1]))
    return tuple(sides)


def _half(side: int) -> int:
    return (side + 1) // 2


def _conv(pixels: int, c_in: int, c_out: int, kernel: int, *, bias: bool) -> Cost:
    weights = c_in * c_out * kernel**2
    return Cost(weights + c_out * bias, pixels * (weights + c_out * bias), pixels * c_out)


def _depthwise(pixels: int, channels: int, kernel: int) -> Cost:
    return _conv(pixels, 1, channels, kernel, bias=True)


def _linear(pixels: int, c_in: int, c_out: int) -> Cost:
    return Cost(c_in * c_out + c_out, pixels * c_in * c_out, pixels * c_out)


def _norm(pixels: int, channels: int) -> Cost:
    return Cost(2 * channels, 2 * pixels * channels)


def _dcn(config: ModelConfig, channels: int, groups: int, pixels: int) -> Cost:
    points = config.kernel_size**2
    projections = _linear(pixels, channels, channels) * 2
    query = _depthwise(pixels, channels, config.dw_kernel_size) + _norm(pixels, channels)
    sampling = _linear(pixels, channels, groups * points * 2) + _linear(pixels, channels, groups * points)
    core = Cost(0, 5 * pixels * points * channels, pixels * channels)
    center_scale = Cost((channels + 1) * groups if config.center_feature_scale else 0)
    return projections + query + sampling + core + center_scale


def _block(config: ModelConfig, channels: int, groups: int, pixels: int) -> Cost:
    hidden = config.mlp_ratio * channels
    mlp = _linear(pixels, channels, hidden) + _linear(pixels, hidden, channels)
    norms = _norm(pixels, channels) * (4 if config.res_post_norm else 2)
    layer_scale = Cost(0 if config.layer_scale is None else 2 * channels)
    return _dcn(config, channels, groups, pixels) + mlp + norms + layer_scale


def _stem(config: ModelConfig, image_size: int) -> Cost:
    half, quarter = _half(image_size) ** 2, _half(_half(image_size)) ** 2
    c_half, c1 = config.channels // 2, config.channels
    first = _conv(half, 3, c_half, 3, bias=True) + _norm(half, c_half)
    return first + _conv(quarter, c_half, c1, 3, bias=True) + _norm(quarter, c1)


def _stage(config: ModelConfig, stage: int, sides: tuple[int, ...]) -> Cost:
    channels, pixels = config.widths[stage], sides[stage] ** 2
    extra_norms = (len(config.level2_post_norm_block_ids) if stage == 2 else 0) + config.stage_norm
    blocks = _block(config, channels, config.groups[stage], pixels) * config.depths[stage]
    total = blocks + _norm(pixels, channels) * extra_norms
    if stage < STAGES - 1:
        below = sides[stage + 1] ** 2
        total += _conv(below, channels, 2 * channels, 3, bias=False) + _norm(below, 2 * channels)
    return total


def _head(config: ModelConfig, sides: tuple[int, ...], num_classes: int) -> Cost:
    width, pixels = 12 * config.channels, sides[-1] ** 2
    pool = Cost(0, pixels * width)
    return _conv(pixels, config.widths[-1], width, 1, bias=False) + _norm(pixels, width) + pool + _linear(1, width, num_classes)


def _clip_head(config: ModelConfig, sides: tuple[int, ...], num_classes: int) -> Cost:
    x3, x4 = sides[2] ** 2, sides[3] ** 2
    maps = _conv(x4, config.widths[3], 4 * CLIP_EMBED, 1, bias=True) + _conv(x3, config.widths[2], CLIP_EMBED, 1, bias=True)
    norms = _norm(1, CLIP_EMBED) + _norm(x3, CLIP_EMBED) * 2  # the mean token asks, all tokens answer
    qkv = Cost(3 * (CLIP_EMBED + 1) * CLIP_EMBED)
    return maps + norms + qkv + _linear(1, CLIP_EMBED, CLIP_OUT) + _norm(1, CLIP_OUT) + _linear(1, CLIP_OUT, num_classes)


def _check_sizes(config: ModelConfig, image_size: int, num_classes: int) -> None:
    if image_size < 1 or num_classes < 1:
        raise ValueError(f"image_size and num_classes must be at least 1, got {image_size=}, {num_classes=}")
    sides = stage_sides(image_size)
    if config.clip_projector and sides[2] != 2 * sides[3]:
        raise ValueError(
            f"the attention-pool head needs a stage-3 map of exactly twice stage 4, got {sides[2]} and {sides[3]} "
            f"for image_size={image_size}; multiples of 32 always fit"
        )
