"""The layers of a network from the images to the loss, each recorded on a tape of what autograd keeps."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from searchspace.cost import CLIP_EMBED, CLIP_OUT, stage_sides
from searchspace.model_config import ModelConfig
from searchspace.tape import FLOAT32, Stored, Tape, added

CLIP_HEADS = 16
LABEL = 8  # bytes
Body = Callable[[Stored], Stored]


@dataclass(frozen=True, slots=True)
class Batch:
    """How many images of which side train at once, and into how many classes they are sorted."""

    size: int
    image_size: int
    num_classes: int


def stem(tape: Tape, config: ModelConfig, batch: Batch) -> Stored:
    """The trunk's first tensor."""
    half, quarter = (batch.size * (-(-batch.image_size // stride)) ** 2 for stride in (2, 4))
    c_half, c1 = config.channels // 2, config.channels
    images = Stored(3 * batch.size * batch.image_size**2, FLOAT32)  # the copy that is channels-last
    x = tape.product(images, 27 * c_half, half * c_half)
    x = tape.pointwise(tape.norm(x, c_half))
    return tape.norm(tape.product(x, 9 * c_half * c1, quarter * c1), c1)


def block(tape: Tape, x: Stored, *, config: ModelConfig, stage: int, side: int, dropped: int) -> Stored:
    """One block's output; `dropped` is the number of samples whose branches stochastic depth may drop, 0 where it is off."""
    x = _branch(tape, config, stage, x, lambda y: _dcn(tape, config, stage, y, side), dropped)
    return _branch(tape, config, stage, x, lambda y: _mlp(tape, config, stage, y), dropped)


def downsample(tape: Tape, config: ModelConfig, stage: int, x: Stored, batch: Batch) -> Stored:
    """The next stage's input."""
    channels = config.widths[stage]
    below = batch.size * stage_sides(batch.image_size)[stage + 1] ** 2
    return tape.norm(tape.product(x, 18 * channels**2, below * 2 * channels), 2 * channels)


def loss(tape: Tape, features: Stored, batch: Batch) -> None:
    """The classifier behind one vector per image, and the cross-entropy: log-probabilities, labels and a sum of weights."""
    logits = tape.product(features, features.elements // batch.size * batch.num_classes, batch.size * batch.num_classes)
    tape.keep(Stored(logits.elements, FLOAT32), Stored(batch.size, LABEL), Stored(1, FLOAT32))


def pooled(tape: Tape, config: ModelConfig, maps: list[Stored], batch: Batch) -> Stored:
    """One vector per image from the maps of the four stages."""
    if config.clip_projector:
        return _attention_pooled(tape, config, maps, batch)
    width = 12 * config.channels
    x = tape.product(maps[-1], config.widths[-1] * width, maps[-1].elements // config.widths[-1] * width)
    tape.keep(x, *(Stored(width, FLOAT32) for _ in range(2)))  # BatchNorm
    tape.keep(y := replace(x))  # GELU
    return Stored(batch.size * width, y.width)


def _attention_pooled(tape: Tape, config: ModelConfig, maps: list[Stored], batch: Batch) -> Stored:
    elements = batch.size * stage_sides(batch.image_size)[2] ** 2 * CLIP_EMBED
    tape.product(maps[2], config.widths[2] * CLIP_EMBED, elements)
    tokens = tape.product(maps[3], config.widths[3] * 4 * CLIP_EMBED, elements)
    asked = Stored(batch.size * CLIP_EMBED, tokens.width)
    q, k, v = (tape.product(tape.norm(x, CLIP_EMBED), CLIP_EMBED**2, x.elements) for x in (asked, tokens, tokens))
    answer = replace(q)
    tape.keep(q, k, v, Stored(batch.size * CLIP_HEADS, FLOAT32))
    return tape.norm(tape.product(answer, CLIP_EMBED * CLIP_OUT, batch.size * CLIP_OUT), CLIP_OUT)


def _branch(tape: Tape, config: ModelConfig, stage: int, x: Stored, body: Body, dropped: int) -> Stored:
    channels = config.widths[stage]
    y = tape.norm(body(x), channels) if config.post_norm else body(tape.norm(x, channels))
    if config.res_post_norm:
        y = tape.norm(y, channels)
    return tape.scaled_sum(x, y, channels if config.layer_scale is not None else 0, dropped)


def _mlp(tape: Tape, config: ModelConfig, stage: int, x: Stored) -> Stored:
    weights = config.widths[stage] ** 2 * config.mlp_ratio
    hidden = tape.product(x, weights, x.elements * config.mlp_ratio)
    return tape.product(tape.pointwise(hidden), weights, x.elements)


def _dcn(tape: Tape, config: ModelConfig, stage: int, x: Stored, side: int) -> Stored:
    channels, groups = config.widths[stage], config.groups[stage]
    of_masks = x.elements // channels * groups * config.points
    to_masks = channels * groups * config.points
    value = tape.product(x, channels**2, x.elements)
    looked = tape.product(_padded(tape, config, x, side), channels * config.dw_kernel_size**2, x.elements)
    query = tape.pointwise(tape.norm(looked, channels))
    offset = tape.product(query, 2 * to_masks, 2 * of_masks)
    mask = tape.product(query, to_masks, of_masks)
    if config.unshared_weights:
        mask = added(mask, tape.product(x, to_masks, of_masks))
    if config.mask_activation == "sigmoid":
        mask = tape.sigmoid(mask)
    sampled = _sampled(tape, config, value, offset, mask)
    if config.center_feature_scale:
        sampled = _blended(tape, config, stage, sampled, value, query)
    return tape.product(sampled, sampled.elements // x.elements * channels**2, x.elements)


def _padded(tape: Tape, config: ModelConfig, x: Stored, side: int) -> Stored:
    """What the depthwise convolution is given."""
    if not tape.precision.padded_maps or config.dw_kernel_size != 3 or side >= 3:
        return x
    return Stored(x.elements // side**2 * (side + 2) ** 2, x.width)


def _sampled(tape: Tape, config: ModelConfig, value: Stored, offset: Stored, mask: Stored) -> Stored:
    """The core keeps its inputs; a core that writes every point by itself, a float32 offset and normalised weights."""
    if not config.unshared_weights:
        tape.keep(value, offset, mask)
        return replace(value)
    weights = tape.softmax(mask) if config.mask_activation == "softmax" else mask
    tape.keep(value, Stored(offset.elements, FLOAT32), weights)
    return Stored(value.elements * config.points, value.width)


def _blended(tape: Tape, config: ModelConfig, stage: int, sampled: Stored, value: Stored, query: Stored) -> Stored:
    """The centre feature scale: what is sampled, the centre (divided among the points where each has weights of its own), and its share."""
    channels, groups = config.widths[stage], config.groups[stage]
    center = replace(value) if config.unshared_weights else value
    share = tape.sigmoid(tape.product(query, channels * groups, value.elements // channels * groups))
    tape.keep(sampled, center, share)
    return replace(sampled)
