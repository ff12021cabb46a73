"""Recipes as numbers: one source for the published one, an unchanged proxy, and the average's decay at other lengths."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from searchspace.recipes import IMAGENET, PUBLISHED_STEPS, RECIPES, Recipe, scaled_ema_decay

STEPS = st.integers(1, 1_000_000)


def test_the_published_recipe_stands_in_one_place() -> None:
    published = RECIPES["published"]
    assert IMAGENET.optimizer is published
    assert IMAGENET.augmentation is published.augmentation
    assert IMAGENET.ema_decay == published.ema_decay == 0.9999
    assert math.isclose(IMAGENET.lr, 4e-3)
    assert math.isclose(IMAGENET.min_lr, 5e-6)
    assert published.mean == (0.485, 0.456, 0.406)


def test_the_proxy_neither_augments_nor_averages() -> None:
    assert RECIPES["proxy"] == Recipe(lr=1e-2, warmup=0.4)
    proxy = RECIPES["proxy"]
    assert (proxy.augmentation, proxy.ema_decay, proxy.mean, proxy.std) == (None, None, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


def test_the_published_length_is_300_epochs_of_imagenet() -> None:
    assert PUBLISHED_STEPS == 93_835
    assert scaled_ema_decay(0.9999, PUBLISHED_STEPS, PUBLISHED_STEPS) == pytest.approx(0.9999, abs=1e-15)


@given(decay=st.floats(0, 0.99999), steps=STEPS, published=STEPS)
def test_the_average_looks_back_over_the_same_share_of_every_training(decay: float, steps: int, published: int) -> None:
    scaled = scaled_ema_decay(decay, steps, published)
    assert 0 <= scaled < 1
    horizon = steps / (published * (1 - decay))
    assert 1 / (1 - scaled) == pytest.approx(max(1.0, horizon), rel=1e-6)


@pytest.mark.parametrize(("decay", "steps", "published"), [(1.0, 1, 1), (-0.1, 1, 1), (math.nan, 1, 1), (0.9, 0, 1), (0.9, 1, 0)])
def test_impossible_averages_are_refused(decay: float, steps: int, published: int) -> None:
    with pytest.raises(ValueError, match=r"must (lie in|be at least)"):
        scaled_ema_decay(decay, steps, published)
