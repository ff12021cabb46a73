"""Ten operations on the colours of a batch of images, bit for bit as Pillow's ImageOps and ImageEnhance do them.

Each takes uint8 images (N, 3, H, W) and one argument for each image, float64 (N), in the unit that Pillow's function takes.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

LEVELS = 256
LUMA = (19595, 38470, 7471)  # ITU-R 601-2 in 65536ths
SMOOTH_CENTRE, SMOOTH_SUM = 5, 13  # ImageFilter.SMOOTH: this weight in the middle, ones around it
SOLARIZE_ADD_BELOW = 128


def autocontrast(images: Tensor, _argument: Tensor) -> Tensor:
    """Every channel stretched to 0..255; one of a single grey level stays."""
    present = _histograms(images) > 0
    low = present.int().argmax(2, keepdim=True)
    high = LEVELS - 1 - present.flip(2).int().argmax(2, keepdim=True)
    span = (high - low).clamp(min=1).double()  # in float64: the truncation below decides whole grey levels
    scale = torch.full_like(span, LEVELS - 1) / span  # a number divided by a tensor is multiplied by its reciprocal, which is not the same
    stretched = (_grey_levels(images) * scale - low * scale).trunc()
    return _look_up(images, torch.where(high > low, stretched, _grey_levels(images)))


def equalize(images: Tensor, _argument: Tensor) -> Tensor:
    """Every channel with as flat a histogram as grey levels allow; one that has too few pixels for it stays."""
    counts = _histograms(images)
    last = counts.gather(2, LEVELS - 1 - (counts > 0).flip(2).int().argmax(2, keepdim=True))
    step = (counts.sum(2, keepdim=True) - last) // (LEVELS - 1)
    below = counts.cumsum(2) - counts
    levels = (step // 2 + below) // step.clamp(min=1)
    return _look_up(images, torch.where(step > 0, levels, _grey_levels(images)))


def invert(images: Tensor, _argument: Tensor) -> Tensor:
    """The negative."""
    return 255 - images


def posterize(images: Tensor, bits: Tensor) -> Tensor:
    """The upper `bits` of every value; none of them leaves black."""
    return images & (LEVELS - (2 ** (8 - bits))).to(torch.uint8)[:, None, None, None]


def solarize(images: Tensor, threshold: Tensor) -> Tensor:
    """Negative from `threshold` upwards."""
    return torch.where(images < threshold[:, None, None, None], images, 255 - images)


def solarize_add(images: Tensor, addition: Tensor) -> Tensor:
    """What is darker than 128 becomes lighter by `addition`."""
    lighter = (images.short() + addition.short()[:, None, None, None]).clamp(max=255).to(torch.uint8)
    return torch.where(images < SOLARIZE_ADD_BELOW, lighter, images)


def colour(images: Tensor, factor: Tensor) -> Tensor:
    """Saturation times `factor`: 0 is grey, 1 the image."""
    return _blend(_luma(images), images, factor)


def contrast(images: Tensor, factor: Tensor) -> Tensor:
    """Distance from the image's mean grey level times `factor`."""
    grey = _luma(images)
    pixels = images.shape[2] * images.shape[3]
    mean = (2 * grey.sum((1, 2, 3), dtype=torch.int64) + pixels) // (2 * pixels)  # rounded
    return _blend(mean[:, None, None, None], images, factor)


def brightness(images: Tensor, factor: Tensor) -> Tensor:
    """Every value times `factor`."""
    return _blend(torch.zeros_like(images), images, factor)


def sharpness(images: Tensor, factor: Tensor) -> Tensor:
    """Distance from the smoothed image times `factor`; the outermost pixels are not smoothed."""
    values = images.short()
    rows = values[:, :, :-2] + values[:, :, 1:-1] + values[:, :, 2:]
    around = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]
    smooth = values.clone()
    total = around + (SMOOTH_CENTRE - 1) * values[:, :, 1:-1, 1:-1]
    smooth[:, :, 1:-1, 1:-1] = (2 * total + SMOOTH_SUM) // (2 * SMOOTH_SUM)  # rounded
    return _blend(smooth, images, factor)


COLOUR_OPERATIONS: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "AutoContrast": autocontrast,
    "Equalize": equalize,
    "Invert": invert,
    "PosterizeIncreasing": posterize,
    "SolarizeIncreasing": solarize,
    "SolarizeAdd": solarize_add,
    "ColorIncreasing": colour,
    "ContrastIncreasing": contrast,
    "BrightnessIncreasing": brightness,
    "SharpnessIncreasing": sharpness,
}


def _blend(degenerate: Tensor, images: Tensor, factor: Tensor) -> Tensor:
    """Float32 as in Pillow's `blend`, cut off rather than rounded."""
    start = degenerate.float()
    return (start + factor.float()[:, None, None, None] * (images.float() - start)).clamp(0, 255).to(torch.uint8)


def _luma(images: Tensor) -> Tensor:
    red, green, blue = images.int().split(1, dim=1)
    return (LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue + 2**15) >> 16


def _histograms(images: Tensor) -> Tensor:
    """How many pixels have each grey level: int64 (N, 3, 256). Whole numbers, so that the order of summation cannot matter on a GPU."""
    values = images.flatten(2).long()
    return torch.zeros(*values.shape[:2], LEVELS, dtype=torch.int64, device=images.device).scatter_add_(2, values, torch.ones_like(values))


def _grey_levels(images: Tensor) -> Tensor:
    return torch.arange(LEVELS, device=images.device)


def _look_up(images: Tensor, levels: Tensor) -> Tensor:
    """Every value replaced by that of its channel's table (N, 3, 256), clipped to 0..255."""
    return levels.clamp(0, 255).to(torch.uint8).gather(2, images.flatten(2).long()).view_as(images)
