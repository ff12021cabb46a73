"""Exact parameters, FLOPs and activations of an architecture, counted layer by layer without allocating a weight.

Conventions: one FLOP per multiply-add of convolutions and linears (a convolution's bias adds its output, a linear's is free), 2 per element
of a norm, 1 per element of an average pool, 5 · K · C per output pixel of a DCNv3 core (four bilinear taps and the modulation), 0 for
activations, softmax, residual additions and products of functions such as the centre feature scale and attention. Activations are the
elements written by convolutions, linears and DCNv3 cores; with unshared weights the core writes every point by itself, K · C per pixel.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from operator import add, index
from typing import Self, SupportsIndex

from searchspace.model_config import STAGES, ModelConfig
from searchspace.polynomial import Number

CLIP_EMBED, CLIP_OUT = 1024, 768  # widths of the attention-pool head of H and G


@dataclass(frozen=True, slots=True)
class Count:
    """A cost in numbers, or in symbols for a closed form."""

    params: Number = 0
    flops: Number = 0
    activations: Number = 0

    def __add__(self, other: "Count") -> Self:
        return type(self)(self.params + other.params, self.flops + other.flops, self.activations + other.activations)

    def __mul__(self, times: Number) -> Self:
        return type(self)(self.params * times, self.flops * times, self.activations * times)


@dataclass(frozen=True, slots=True)
class Cost(Count):
    """Parameters, FLOPs of one image (1 per multiply-add) and activations (elements) of one image."""

    params: int = 0
    flops: int = 0
    activations: int = 0

    def __sub__(self, other: "Cost") -> "Cost":
        return self + other * -1


@dataclass(frozen=True, slots=True)
class Shape:
    """What costs grow with: `half` is C1 / 2, the width of the stem's first layer, and `post_norms` are stage 3's extra norms."""

    half: Number
    groups: tuple[Number, ...]
    depths: tuple[Number, ...]
    post_norms: Number

    @property
    def widths(self) -> tuple[Number, ...]:
        """Channels of the four stages."""
        return tuple(self.half * 2 ** (stage + 1) for stage in range(STAGES))


COST_METRICS = ("params", "flops", "activations")


def cost(config: ModelConfig, image_size: int = 224, num_classes: int = 1000) -> Cost:
    """What one `image_size`² image costs the whole network with its classification head."""
    return reduce(add, cost_by_part(config, image_size, num_classes).values())


def cost_by_part(config: ModelConfig, image_size: int = 224, num_classes: int = 1000) -> Mapping[str, Cost]:
    """Cost of the stem, of each stage with the downsampling behind it, and of the head; ValueError for sizes that cannot be."""
    shape = Shape(config.channels // 2, config.groups, config.depths, len(config.level2_post_norm_block_ids))
    return {part: Cost() + count for part, count in count_by_part(config, shape, image_size, num_classes).items()}


def count_by_part(switches: ModelConfig, shape: Shape, image_size: int, num_classes: int) -> Mapping[str, Count]:
    """`cost_by_part` of a network with the switches of one architecture and the shape of another, in the shape's numbers or symbols."""
    image_size, num_classes = whole("image_size", image_size), whole("num_classes", num_classes)
    _check_sizes(switches, image_size, num_classes)
    sides = stage_sides(image_size)
    parts = {"stem": _stem(shape, image_size)}
    for stage in range(STAGES):
        parts[f"stage {stage + 1}"] = _stage(switches, shape, stage, sides)
    parts["head"] = _clip_head(shape, sides, num_classes) if switches.clip_projector else _head(shape, sides, num_classes)
    return parts


def whole(name: str, value: SupportsIndex) -> int:
    """A size as Python's unbounded number, NumPy's taken over; ValueError for one that is not whole."""
    try:
        if not isinstance(value, bool):
            return index(value)
    except TypeError:
        pass
    raise ValueError(f"{name} must be whole, got {value!r}")


def stage_sides(image_size: int) -> tuple[int, ...]:
    """Side of each stage's feature map in pixels: every stride-2 convolution gives ceil(n / 2)."""
    sides = [_half(_half(image_size))]
    while len(sides) < STAGES:
        sides.append(_half(sides[-1]))
    return tuple(sides)


def _half(side: int) -> int:
    return (side + 1) // 2


def _conv(pixels: int, c_in: Number, c_out: Number, kernel: int, *, bias: bool) -> Count:
    weights = c_in * c_out * kernel**2 + c_out * bias
    return Count(weights, weights * pixels, c_out * pixels)


def _depthwise(pixels: int, channels: Number, kernel: int) -> Count:
    return _conv(pixels, 1, channels, kernel, bias=True)


def _linear(pixels: int, c_in: Number, c_out: Number, *, bias: bool = True) -> Count:
    weights = c_in * c_out
    return Count(weights + c_out * bias, weights * pixels, c_out * pixels)


def _norm(pixels: int, channels: Number) -> Count:
    return Count(channels * 2, channels * (2 * pixels))


def _dcn(switches: ModelConfig, channels: Number, groups: Number, pixels: int) -> Count:
    points = switches.points
    written = channels * (points if switches.unshared_weights else 1)
    projections = _linear(pixels, channels, channels) + _linear(pixels, written, channels)
    query = _depthwise(pixels, channels, switches.dw_kernel_size) + _norm(pixels, channels)
    sampling = _linear(pixels, channels, groups * (points * 2)) + _masks(switches, channels, groups, pixels)
    core = Count(0, channels * (5 * pixels * points), written * pixels)
    center_scale = Count((channels + 1) * groups if switches.center_feature_scale else 0)
    return projections + query + sampling + core + center_scale


def _masks(switches: ModelConfig, channels: Number, groups: Number, pixels: int) -> Count:
    of_query = _linear(pixels, channels, groups * switches.points)
    of_input = _linear(pixels, channels, groups * switches.points, bias=False)
    return of_query + of_input if switches.unshared_weights else of_query


def _block(switches: ModelConfig, channels: Number, groups: Number, pixels: int) -> Count:
    hidden = channels * switches.mlp_ratio
    mlp = _linear(pixels, channels, hidden) + _linear(pixels, hidden, channels)
    norms = _norm(pixels, channels) * (4 if switches.res_post_norm else 2)
    layer_scale = Count(0 if switches.layer_scale is None else channels * 2)
    return _dcn(switches, channels, groups, pixels) + mlp + norms + layer_scale


def _stem(shape: Shape, image_size: int) -> Count:
    half, quarter = _half(image_size) ** 2, _half(_half(image_size)) ** 2
    c1 = shape.widths[0]
    first = _conv(half, 3, shape.half, 3, bias=True) + _norm(half, shape.half)
    return first + _conv(quarter, shape.half, c1, 3, bias=True) + _norm(quarter, c1)


def _stage(switches: ModelConfig, shape: Shape, stage: int, sides: tuple[int, ...]) -> Count:
    channels, pixels = shape.widths[stage], sides[stage] ** 2
    extra_norms = (shape.post_norms if stage == 2 else 0) + int(switches.stage_norm)
    blocks = _block(switches, channels, shape.groups[stage], pixels) * shape.depths[stage]
    total = blocks + _norm(pixels, channels) * extra_norms
    if stage < STAGES - 1:
        below = sides[stage + 1] ** 2
        total += _conv(below, channels, channels * 2, 3, bias=False) + _norm(below, channels * 2)
    return total


def _head(shape: Shape, sides: tuple[int, ...], num_classes: int) -> Count:
    width, pixels = shape.half * 24, sides[-1] ** 2
    pool = Count(0, width * pixels)
    return _conv(pixels, shape.widths[-1], width, 1, bias=False) + _norm(pixels, width) + pool + _linear(1, width, num_classes)


def _clip_head(shape: Shape, sides: tuple[int, ...], num_classes: int) -> Count:
    x3, x4 = sides[2] ** 2, sides[3] ** 2
    maps = _conv(x4, shape.widths[3], 4 * CLIP_EMBED, 1, bias=True) + _conv(x3, shape.widths[2], CLIP_EMBED, 1, bias=True)
    norms = _norm(1, CLIP_EMBED) + _norm(x3, CLIP_EMBED) * 2  # the mean token asks, all tokens answer
    qkv = Count(3 * (CLIP_EMBED + 1) * CLIP_EMBED)
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
