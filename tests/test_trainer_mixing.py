"""Mixup and cutmix: which of them how often, by how much, and labels that follow the pixels."""

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from searchspace.recipes import Augmentation
from trainer.augmentation.mixing import Mix, cut, draw_mix, mix_images, mix_labels

RECIPE = Augmentation()
SIZE = (32, 24)
SHARES = st.floats(0, 1, exclude_max=True)


def drawn(count: int, **changes) -> list[Mix]:
    generator = torch.Generator().manual_seed(0)
    return [draw_mix(dataclasses.replace(RECIPE, **changes), SIZE, generator) for _ in range(count)]


def shares(mixes: list[Mix]) -> torch.Tensor:
    return torch.tensor([mix.share for mix in mixes], dtype=torch.float64)


def test_half_of_the_batches_get_cutmix_and_the_rest_mixup():
    mixes = drawn(3000)
    assert sum(mix.box is not None for mix in mixes) / 3000 == pytest.approx(0.5, abs=0.04)
    assert all(0 <= mix.share < 1 for mix in mixes if mix.box is None)


def test_mixup_s_share_has_the_beta_distribution_of_0_8():
    found = shares(drawn(6000, cutmix=0.0))
    assert found.mean() == pytest.approx(0.5, abs=0.02)
    assert found.var() == pytest.approx(1 / (4 * (2 * 0.8 + 1)), abs=0.003)  # of Beta(a, a): 0.0962; 0.0833 for a = 1


def test_cutmix_draws_boxes_as_large_as_beta_1_says_before_the_edges_cut_them():
    generator = torch.Generator().manual_seed(0)
    found = shares([draw_mix(dataclasses.replace(RECIPE, mixup=0.0), (200, 200), generator) for _ in range(12_000)])
    # Areas and middles evenly spread, on a grid: area, x, y.
    half = ((torch.arange(200, dtype=torch.float64) + 0.5) / 200).sqrt()[:, None] / 2
    middle = (torch.arange(100, dtype=torch.float64) + 0.5) / 100
    sides = (middle + half).clamp(max=1) - (middle - half).clamp(min=0)
    expected = 1 - sides[:, :, None] * sides[:, None]
    assert found.mean() == pytest.approx(float(expected.mean()), abs=0.01)
    assert found.var() == pytest.approx(float(expected.var()), abs=0.002)  # Beta(0.8, 0.8) is 0.004 away


@pytest.mark.parametrize(("middle", "box", "share"), [((0.5, 0.5), (10, 15, 30, 45), 0.75), ((0.0, 0.9), (0, 39, 10, 60), 1 - 210 / 2400)])
def test_a_box_of_a_quarter_of_the_area_has_half_of_the_sides_and_ends_at_the_edges(middle, box, share):
    assert cut(0.75, middle, (60, 40)) == Mix(share, box)


@pytest.mark.parametrize("changes", [{"mixup": 0.0, "cutmix": 0.0}, {"mix_probability": 0.0}])
def test_what_is_turned_off_mixes_nothing(changes):
    assert set(drawn(50, **changes)) == {Mix(1.0)}


def test_the_probability_is_that_of_mixing():
    assert sum(mix.share < 1 for mix in drawn(3000, mix_probability=0.3)) / 3000 == pytest.approx(0.3, abs=0.04)


@given(share=SHARES, middle=st.tuples(SHARES, SHARES), height=st.integers(1, 40), width=st.integers(1, 40), count=st.integers(1, 6))
@settings(max_examples=60)
def test_cutmix_s_labels_follow_the_pixels(share, middle, height, width, count):
    mix = cut(share, middle, (height, width))
    images = torch.arange(count, dtype=torch.float32)[:, None, None, None].expand(count, 3, height, width).contiguous()
    mixed = mix_images(images, mix)
    targets = mix_labels(torch.arange(count), mix, num_classes=count, smoothing=0.0)
    for index in range(count):
        found = torch.bincount(mixed[index, 0].flatten().long(), minlength=count) / (height * width)
        assert torch.allclose(found, targets[index], atol=1e-6)


@given(share=SHARES, count=st.integers(1, 7))
@settings(max_examples=30)
def test_mixup_is_the_weighted_mean_of_images_and_labels(share, count):
    images = torch.randn(count, 1, 4, 5, generator=torch.Generator().manual_seed(count))
    targets = mix_labels(torch.arange(count), Mix(share), num_classes=count, smoothing=0.0)
    assert torch.allclose(mix_images(images, Mix(share)), torch.einsum("nm,mchw->nchw", targets, images), atol=1e-5)


@given(share=st.floats(0, 1), smoothing=st.floats(0, 1), count=st.integers(1, 5), num_classes=st.integers(5, 1000))
@settings(max_examples=40)
def test_targets_sum_to_one_and_smoothing_is_spread_over_all_classes(share, smoothing, count, num_classes):
    labels = torch.arange(count)
    targets = mix_labels(labels, Mix(share), num_classes=num_classes, smoothing=smoothing)
    assert targets.dtype == torch.float32
    assert torch.allclose(targets.sum(1), torch.ones(count), atol=1e-4)
    assert targets.min() >= 0
    plain = mix_labels(labels, Mix(1.0), num_classes=num_classes, smoothing=smoothing)
    assert plain[0, 1] == pytest.approx(smoothing / num_classes)
    assert plain[0, 0] == pytest.approx(1 - smoothing + smoothing / num_classes, abs=1e-6)


def test_labels_are_smoothed_as_the_loss_would():
    logits = torch.randn(6, 10, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 3, 9, 3, 1, 2])
    soft = mix_labels(labels, Mix(1.0), num_classes=10, smoothing=0.1)
    by_loss = torch.nn.functional.cross_entropy(logits, labels, label_smoothing=0.1)
    assert torch.allclose(torch.nn.functional.cross_entropy(logits, soft), by_loss)
