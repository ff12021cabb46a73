"""Operations on colours against Pillow's: the same bytes for pictures, noise and flat surfaces."""

from collections.abc import Callable, Mapping

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance, ImageOps

from tests.pictures import as_pixels, as_tensor, assert_same, drawn_pictures, pictures
from trainer.augmentation.colour_ops import COLOUR_OPERATIONS, autocontrast, posterize

FACTORS = st.floats(0.1, 1.9)
NONE = st.just(0.0)


def lighten_dark(image: Image.Image, addition: float) -> Image.Image:
    return image.point([min(255, value + int(addition)) if value < 128 else value for value in range(256)] * 3)


PILLOW: Mapping[str, tuple[st.SearchStrategy, Callable[[Image.Image, float], Image.Image]]] = {
    "AutoContrast": (NONE, lambda image, _: ImageOps.autocontrast(image)),
    "Equalize": (NONE, lambda image, _: ImageOps.equalize(image)),
    "Invert": (NONE, lambda image, _: ImageOps.invert(image)),
    "PosterizeIncreasing": (st.integers(1, 8), lambda image, bits: ImageOps.posterize(image, int(bits))),
    "SolarizeIncreasing": (st.integers(0, 256), lambda image, threshold: ImageOps.solarize(image, int(threshold))),
    "SolarizeAdd": (st.integers(0, 128), lighten_dark),
    "ColorIncreasing": (FACTORS, lambda image, factor: ImageEnhance.Color(image).enhance(factor)),
    "ContrastIncreasing": (FACTORS, lambda image, factor: ImageEnhance.Contrast(image).enhance(factor)),
    "BrightnessIncreasing": (FACTORS, lambda image, factor: ImageEnhance.Brightness(image).enhance(factor)),
    "SharpnessIncreasing": (FACTORS, lambda image, factor: ImageEnhance.Sharpness(image).enhance(factor)),
}


def test_every_operation_is_compared():
    assert list(PILLOW) == list(COLOUR_OPERATIONS)


@pytest.mark.parametrize("name", sorted(PILLOW))
@given(data=st.data(), pixels=pictures(most=50))
@settings(max_examples=25)
def test_every_pixel_is_pillow_s(name, data, pixels):
    drawn, operation = PILLOW[name]
    arguments = data.draw(st.lists(drawn, min_size=len(pixels), max_size=len(pixels)))
    ours = COLOUR_OPERATIONS[name](as_tensor(pixels), torch.tensor(arguments, dtype=torch.float64))
    theirs = [operation(Image.fromarray(picture), value) for picture, value in zip(pixels, arguments, strict=True)]
    assert_same(ours, as_pixels(theirs))


def test_ranges_of_every_width_are_stretched_as_pillow_does():
    pairs = [(low, high) for low in range(0, 256, 15) for high in range(low, 256, 2)]
    images = torch.stack([torch.arange(256, dtype=torch.uint8).clamp(low, high).expand(3, 1, 256) for low, high in pairs])
    theirs = as_pixels([ImageOps.autocontrast(Image.fromarray(image.permute(1, 2, 0).numpy())) for image in images])
    assert torch.equal(autocontrast(images, torch.zeros(len(pairs))), theirs)


def test_no_bits_leave_black():
    images = as_tensor(drawn_pictures(4, (8, 8), 0))
    assert posterize(images, torch.zeros(4, dtype=torch.float64)).max() == 0
