"""Rotations, shears and shifts against Pillow's: the same bytes for any angle, factor and share."""

from collections.abc import Callable, Mapping

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.pictures import as_pixels, as_tensor, assert_same, drawn_pictures, pictures
from trainer.augmentation.affine import AFFINE_OPERATIONS, transform

FILL = (124, 116, 104)
INTERPOLATIONS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
Operation = Callable[[Image.Image, float, Image.Resampling], Image.Image]


def by_matrix(make: Callable[[float, Image.Image], tuple[float, ...]]) -> Operation:
    def operation(image: Image.Image, argument: float, interpolation: Image.Resampling) -> Image.Image:
        return image.transform(image.size, Image.Transform.AFFINE, make(argument, image), resample=interpolation, fillcolor=FILL)

    return operation


# The largest argument that the policy gives, and the operation.
PILLOW: Mapping[str, tuple[float, Operation]] = {
    "Rotate": (30, lambda image, degrees, interpolation: image.rotate(degrees, interpolation, fillcolor=FILL)),
    "ShearX": (0.3, by_matrix(lambda factor, _: (1, factor, 0, 0, 1, 0))),
    "ShearY": (0.3, by_matrix(lambda factor, _: (1, 0, 0, factor, 1, 0))),
    "TranslateXRel": (0.45, by_matrix(lambda share, image: (1, 0, share * image.width, 0, 1, 0))),
    "TranslateYRel": (0.45, by_matrix(lambda share, image: (1, 0, 0, 0, 1, share * image.height))),
}


def both(name: str, pixels, arguments: list[float], interpolation: str) -> tuple[torch.Tensor, torch.Tensor]:
    images = as_tensor(pixels)
    matrices = AFFINE_OPERATIONS[name](torch.tensor(arguments, dtype=torch.float64), images.shape[2:])
    ours = transform(images, matrices, fill=torch.tensor(FILL, dtype=torch.uint8), interpolation=interpolation)
    operation = PILLOW[name][1]
    theirs = [operation(Image.fromarray(one), value, INTERPOLATIONS[interpolation]) for one, value in zip(pixels, arguments, strict=True)]
    return ours, as_pixels(theirs)


def test_every_operation_is_compared():
    assert list(PILLOW) == list(AFFINE_OPERATIONS)


@pytest.mark.parametrize("interpolation", sorted(INTERPOLATIONS))
@pytest.mark.parametrize("name", sorted(PILLOW))
@given(data=st.data(), pixels=pictures(most=50))
@settings(max_examples=15)
def test_every_pixel_is_pillow_s(name, interpolation, data, pixels):
    most = PILLOW[name][0]
    arguments = data.draw(st.lists(st.floats(-most, most), min_size=len(pixels), max_size=len(pixels)))
    ours, theirs = both(name, pixels, arguments, interpolation)
    assert_same(ours, theirs)


@pytest.mark.parametrize("interpolation", sorted(INTERPOLATIONS))
@pytest.mark.parametrize("name", sorted(PILLOW))
def test_nothing_to_do_leaves_every_pixel(name, interpolation):
    pixels = drawn_pictures(4, (20, 30), 2)
    assert torch.equal(both(name, pixels, [0.0] * 4, interpolation)[0], as_tensor(pixels))
