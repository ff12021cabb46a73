"""RandAugment (Cubuk et al., arXiv:1909.13719) over whole batches: two drawn operations an image, each applied half of the time.

The policy is the one that image classifiers are trained with under names like `rand-m9-mstd0.5-inc1`: fifteen operations, all of them
stronger with the magnitude (0 to 10). Images are grouped by what was drawn for them; between operations they are 8-bit, as in Pillow.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from trainer.augmentation.affine import AFFINE_OPERATIONS, Size, transform
from trainer.augmentation.colour_ops import COLOUR_OPERATIONS

LAYERS = 2  # operations an image
PROBABILITY = 0.5  # of each being applied
MAX_MAGNITUDE = 10.0
_SPELLING = re.compile(r"rand-m(?P<magnitude>\d+(?:\.\d+)?)(?:-mstd(?P<deviation>\d+(?:\.\d+)?))?-inc1")


@dataclass(frozen=True, slots=True)
class Policy:
    """The magnitude of every operation and the deviation of its normal distribution; both on a scale to 10."""

    magnitude: float
    deviation: float


def parse_policy(text: str) -> Policy:
    """The policy that `text` names; ValueError for an unknown spelling and for a magnitude above 10."""
    match = _SPELLING.fullmatch(text)
    if match is None:
        raise ValueError(f"rand_augment must read like rand-m9-mstd0.5-inc1 (magnitude, its deviation, increasing), got {text!r}")
    policy = Policy(float(match["magnitude"]), float(match["deviation"] or 0))
    if policy.magnitude > MAX_MAGNITUDE:
        raise ValueError(f"rand_augment's magnitude must be at most {MAX_MAGNITUDE:g}, got {text!r}")
    return policy


def _factor(level: Tensor, sign: Tensor) -> Tensor:
    return (1 + sign * (0.9 * level)).clamp(min=0.1)


def _none(level: Tensor, _sign: Tensor) -> Tensor:
    return level


# What an operation's argument is at level 0..1 (the magnitude over 10) and with a drawn sign.
ARGUMENTS: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "AutoContrast": _none,
    "Equalize": _none,
    "Invert": _none,
    "PosterizeIncreasing": lambda level, _: 4 - (level * 4).trunc(),  # bits that stay
    "SolarizeIncreasing": lambda level, _: 256 - (level * 256).trunc(),
    "SolarizeAdd": lambda level, _: (level * 110).trunc(),
    "ColorIncreasing": _factor,
    "ContrastIncreasing": _factor,
    "BrightnessIncreasing": _factor,
    "SharpnessIncreasing": _factor,
    "Rotate": lambda level, sign: sign * (30 * level),  # degrees
    "ShearX": lambda level, sign: sign * (0.3 * level),
    "ShearY": lambda level, sign: sign * (0.3 * level),
    "TranslateXRel": lambda level, sign: sign * (0.45 * level),
    "TranslateYRel": lambda level, sign: sign * (0.45 * level),
}
OPERATIONS = (*COLOUR_OPERATIONS, *AFFINE_OPERATIONS)  # affine ones last: they are one group
assert set(OPERATIONS) == set(ARGUMENTS)


@dataclass(frozen=True, slots=True)
class Drawn:
    """For every layer and image (LAYERS, N): the index of the operation in `OPERATIONS`, their number for none, and its argument."""

    operations: Tensor
    arguments: Tensor


def draw(policy: Policy, count: int, generator: torch.Generator) -> Drawn:
    """What is done to `count` images, on the CPU."""
    shape = (LAYERS, count)
    operations = torch.randint(len(OPERATIONS), shape, generator=generator)
    applied = torch.rand(shape, generator=generator) < PROBABILITY
    noise = torch.randn(shape, generator=generator, dtype=torch.float64)
    level = (policy.magnitude + policy.deviation * noise).clamp(0, MAX_MAGNITUDE) / MAX_MAGNITUDE
    sign = torch.randint(2, shape, generator=generator).double() * 2 - 1
    arguments = torch.stack([ARGUMENTS[name](level, sign) for name in OPERATIONS]).gather(0, operations[None])[0]
    return Drawn(operations.where(applied, torch.tensor(len(OPERATIONS))), arguments)


def apply(images: Tensor, drawn: Drawn, *, fill: Tensor, interpolation: str) -> Tensor:
    """Uint8 images (N, 3, H, W) after what was drawn for them; `fill` (3) is uint8 and stands where an image has been moved away from."""
    for operations, arguments in zip(drawn.operations, drawn.arguments, strict=True):
        images = _layer(images, operations, arguments, fill=fill, interpolation=interpolation)
    return images


def _layer(images: Tensor, operations: Tensor, arguments: Tensor, *, fill: Tensor, interpolation: str) -> Tensor:
    # What depends on the draws is worked out on the CPU: a device that were asked for the size of a group would hold up whoever asks.
    order = operations.argsort(stable=True)
    sizes = operations.bincount(minlength=len(OPERATIONS) + 1).tolist()
    arguments = arguments[order]
    indices, values = (tensor.to(images.device, non_blocking=True).split(sizes) for tensor in (order, arguments))
    done = images.clone()
    for operation, index, value in zip(COLOUR_OPERATIONS.values(), indices, values, strict=False):
        if len(index):
            done.index_copy_(0, index, operation(images[index], value))
    moved = torch.cat(indices[len(COLOUR_OPERATIONS) : len(OPERATIONS)])
    if len(moved):
        matrices = _matrices(arguments.split(sizes), (images.shape[2], images.shape[3])).to(images.device, non_blocking=True)
        done.index_copy_(0, moved, transform(images[moved], matrices, fill=fill, interpolation=interpolation))
    return done


def _matrices(arguments: tuple[Tensor, ...], size: Size) -> Tensor:
    return torch.cat([make(arguments[OPERATIONS.index(name)], size) for name, make in AFFINE_OPERATIONS.items()])
