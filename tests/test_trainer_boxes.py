"""Drawn boxes: inside the image, of the drawn areas and ratios, everywhere with the same chance."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.augmentation.boxes import central_box, draw_boxes

SIDES = st.integers(1, 200)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@given(height=SIDES, width=SIDES, low=st.floats(0.001, 1), high=st.floats(0.001, 1), ratio=st.floats(1, 5), seed=st.integers(0, 2**32))
@settings(max_examples=60)
def test_boxes_lie_in_the_image_and_missing_ones_are_empty(height, width, low, high, ratio, seed):
    area = (min(low, high), max(low, high))
    boxes, found = draw_boxes(20, (height, width), area=area, ratio=(1 / ratio, ratio), generator=generator(seed))
    left, top, right, bottom = boxes.T
    assert ((left >= 0) & (right <= width) & (top >= 0) & (bottom <= height)).all()
    assert torch.equal((right > left) & (bottom > top), found)
    assert boxes[~found].abs().sum() == 0


def test_areas_ratios_and_places_are_those_asked_for():
    size, count = (1000, 1000), 20_000
    boxes, found = draw_boxes(count, size, area=(0.08, 0.3), ratio=(3 / 4, 4 / 3), generator=generator(0))
    assert found.all()
    left, top, right, bottom = boxes.double().T
    width, height = right - left, bottom - top
    areas, ratios = width * height / 1e6, (width / height).log()
    assert 0.079 < areas.min() < 0.083
    assert 0.297 < areas.max() < 0.301
    assert areas.mean() == pytest.approx(0.19, abs=0.002)  # five standard errors
    assert ratios.abs().max() == pytest.approx(math.log(4 / 3), abs=0.01)
    assert ratios.mean() == pytest.approx(0, abs=0.006)
    assert ratios.std() == pytest.approx(math.log(16 / 9) / math.sqrt(12), rel=0.02)
    for start, side in ((left, width), (top, height)):
        place = start / (1000 - side)
        assert place.mean() == pytest.approx(0.5, abs=0.01)
        assert place.std() == pytest.approx(1 / math.sqrt(12), rel=0.02)
        assert (place.min(), place.max()) == (pytest.approx(0, abs=0.002), pytest.approx(1, abs=0.002))


def test_every_place_that_fits_is_as_likely():
    boxes, _ = draw_boxes(8000, (3, 4), area=(4 / 12, 4 / 12), ratio=(1.0, 1.0), generator=generator(0))
    places, counts = boxes[:, :2].unique(dim=0, return_counts=True)
    assert places.tolist() == [[left, top] for left in range(3) for top in range(2)]
    assert (counts / 8000).tolist() == pytest.approx([1 / 6] * 6, abs=0.02)


def test_an_image_too_long_for_any_box_gets_none():
    boxes, found = draw_boxes(50, (10, 1000), area=(0.9, 1.0), ratio=(3 / 4, 4 / 3), generator=generator(0))
    assert not found.any()
    assert boxes.eq(0).all()


@pytest.mark.parametrize(
    ("size", "box"), [((10, 1000), [493, 0, 506, 10]), ((1000, 12), [0, 492, 12, 508]), ((30, 36), [0, 0, 36, 30]), ((7, 7), [0, 0, 7, 7])]
)
def test_the_central_box_is_as_large_as_the_ratio_allows(size, box):
    assert central_box(size, (3 / 4, 4 / 3)).tolist() == box
