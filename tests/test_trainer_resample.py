"""Resizing against Pillow: the same bytes for any box, any size and both filters."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.pictures import Pixels, as_pixels, as_tensor, drawn_pictures, pictures
from trainer.augmentation.resample import CHUNK, resize

PILLOW = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
SIDES = st.integers(1, 90)


def pillow_resize(pixels: Pixels, box: list[float], size: tuple[int, int], interpolation: str) -> Image.Image:
    """Columns, then rows, in two calls: one call takes the order that is cheaper, from Pillow 13 on."""
    left, top, right, bottom = box
    narrowed = Image.fromarray(pixels).resize((size[1], len(pixels)), PILLOW[interpolation], box=(left, 0, right, len(pixels)))
    return narrowed.resize((size[1], size[0]), PILLOW[interpolation], box=(0, top, size[1], bottom))


@st.composite
def boxes(draw: st.DrawFn, pixels: Pixels) -> torch.Tensor:
    """One for every picture, at quarters of a pixel."""
    rows = []
    for _ in pixels:
        sides = [sorted(draw(st.lists(st.integers(0, 4 * side), min_size=2, max_size=2, unique=True))) for side in pixels.shape[2:0:-1]]
        rows.append([sides[0][0] / 4, sides[1][0] / 4, sides[0][1] / 4, sides[1][1] / 4])
    return torch.tensor(rows)


@given(data=st.data(), pixels=pictures(), height=SIDES, width=SIDES, interpolation=st.sampled_from(sorted(PILLOW)))
@settings(max_examples=60)
def test_every_pixel_is_pillow_s(data, pixels, height, width, interpolation):
    drawn = data.draw(boxes(pixels))
    ours = resize(as_tensor(pixels), drawn, (height, width), interpolation=interpolation)
    theirs = [pillow_resize(*pair, (height, width), interpolation) for pair in zip(pixels, drawn.tolist(), strict=True)]
    assert torch.equal(ours, as_pixels(theirs))


@pytest.mark.parametrize("interpolation", sorted(PILLOW))
def test_one_call_of_pillow_gives_the_same_where_the_width_shrinks_more(interpolation):
    pixels = drawn_pictures(4, (60, 200), 0)
    box = [10, 3, 190, 55]
    ours = resize(as_tensor(pixels), torch.tensor([box] * 4), (50, 40), interpolation=interpolation)
    assert torch.equal(ours, as_pixels([Image.fromarray(picture).resize((40, 50), PILLOW[interpolation], box=box) for picture in pixels]))


@given(pixels=pictures(), size=st.tuples(SIDES, SIDES))
@settings(max_examples=20)
def test_a_mirrored_result_is_the_other_way_round(pixels, size):
    images = as_tensor(pixels)
    whole = torch.tensor([[0, 0, images.shape[3], images.shape[2]]]).expand(len(images), 4)
    mirrored = torch.arange(len(images)) % 2 == 0
    plain = resize(images, whole, size, interpolation="bicubic")
    some = resize(images, whole, size, interpolation="bicubic", mirrored=mirrored)
    assert torch.equal(some, torch.where(mirrored[:, None, None, None], plain.flip(3), plain))


def test_many_images_are_resized_as_one_by_one():
    images = torch.randint(256, (CHUNK + 3, 1, 9, 7), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    whole = torch.tensor([[0, 0, 7, 9]])
    together = resize(images, whole.expand(len(images), 4), (5, 6), interpolation="bicubic")
    assert torch.equal(together, torch.cat([resize(image[None], whole, (5, 6), interpolation="bicubic") for image in images]))


def test_lower_precision_around_it_changes_nothing():
    images, box = as_tensor(drawn_pictures(4, (40, 30), 0)), torch.tensor([[0, 0, 30, 40]] * 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        lowered = resize(images, box, (16, 16), interpolation="bicubic")
    assert torch.equal(lowered, resize(images, box, (16, 16), interpolation="bicubic"))


def test_an_unknown_filter_is_named_with_the_known_ones():
    with pytest.raises(ValueError, match="unknown interpolation 'lanczos'; known: bilinear, bicubic"):
        resize(torch.zeros(1, 3, 4, 4, dtype=torch.uint8), torch.tensor([[0, 0, 4, 4]]), (2, 2), interpolation="lanczos")
