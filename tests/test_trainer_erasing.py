"""Random erasing: how many images, how large the boxes, and what stands in them."""

import dataclasses

import pytest
import torch

from searchspace.recipes import Augmentation
from trainer.augmentation.erasing import erase

RECIPE = Augmentation()
BLANK = 7.0  # no noise comes near it


def erased(count: int, size: int = 32, seed: int = 0, **changes) -> torch.Tensor:
    images = torch.full((count, 3, size, size), BLANK)
    return erase(images, dataclasses.replace(RECIPE, **changes), torch.Generator().manual_seed(seed))


def test_a_quarter_of_the_images_have_a_box_of_noise():
    images = erased(4000)
    covered = (images != BLANK).all(1)
    assert torch.equal(covered, (images != BLANK).any(1))  # every channel
    areas = covered.double().mean((1, 2))
    assert (areas > 0).double().mean() == pytest.approx(0.25, abs=0.03)  # over four standard errors
    assert areas[areas > 0].mean() == pytest.approx((0.02 + 1 / 3) / 2, abs=0.015)
    assert areas[areas > 0].min() > 0.013  # rounding to pixels of a 32 × 32 image takes that much off 0.02
    assert 0.3 < areas.max() < 0.35
    noise = images[images != BLANK]
    assert noise.mean() == pytest.approx(0, abs=0.01)
    assert noise.std() == pytest.approx(1, abs=0.01)
    assert noise.unique().numel() > 0.9 * noise.numel()  # drawn for every pixel and channel


def test_covered_pixels_are_a_box():
    for covered in (erased(40, erasing_probability=1.0) != BLANK).any(1):
        rows, columns = covered.any(1), covered.any(0)
        assert torch.equal(covered, rows[:, None] & columns)
        for side in (rows, columns):
            assert side.int().diff().abs().sum() <= 2
        assert 0.25 < columns.sum() / rows.sum() < 4


def test_several_boxes_share_the_area():
    one, four = (float((erased(1500, erasing_probability=1.0, erasing_count=count) != BLANK).any(1).double().mean()) for count in (1, 4))
    assert one == pytest.approx((0.02 + 1 / 3) / 2, abs=0.01)
    assert four == pytest.approx(1 - (1 - one / 4) ** 4, abs=0.015)  # they may overlap


def test_the_images_given_are_left_alone():
    images = torch.full((8, 3, 16, 16), BLANK)
    erase(images, dataclasses.replace(RECIPE, erasing_probability=1.0), torch.Generator().manual_seed(0))
    assert images.eq(BLANK).all()


def test_no_chance_of_erasing_changes_nothing():
    assert erased(16, erasing_probability=0.0).eq(BLANK).all()
