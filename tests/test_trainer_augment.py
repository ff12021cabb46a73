"""A training batch from end to end: repeatable, sane, with the published shares; and the evaluation's against Pillow."""

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from searchspace.recipes import IMAGENET, Augmentation
from tests.pictures import as_pixels, as_tensor, drawn_pictures, pictures
from trainer.augmentation import rand_augment
from trainer.augmentation.augment import Augment, evaluation_batch
from trainer.augmentation.resample import resize

MEAN, STD = IMAGENET.optimizer.mean, IMAGENET.optimizer.std
LOWEST, HIGHEST = ([(value - mean) / std for mean, std in zip(MEAN, STD, strict=True)] for value in (0, 1))
PLAIN = {"erasing_probability": 0.0, "mix_probability": 0.0}
WHOLE = {"crop_scale": (1.0, 1.0), "crop_ratio": (1.0, 1.0)}


def make(size: int = 24, classes: int = 10, **changes) -> Augment:
    kind = dataclasses.replace(Augmentation(), **changes)
    return Augment(kind, image_size=size, num_classes=classes, label_smoothing=0.1, mean=MEAN, std=STD)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def no_operations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rand_augment, "PROBABILITY", 0.0)


@given(
    count=st.integers(1, 9),
    channels=st.sampled_from([1, 3]),
    height=st.integers(3, 60),
    width=st.integers(3, 60),
    size=st.integers(3, 40),
    seed=st.integers(0, 2**32),
)
@settings(max_examples=40)
def test_any_batch_comes_out_finite_with_labels_that_sum_to_one(count, channels, height, width, size, seed):
    images = as_tensor(drawn_pictures(count, (height, width), seed))[:, :channels]
    batch, targets = make(size)(images, torch.arange(count), generator(seed))
    assert (batch.dtype, tuple(batch.shape)) == (torch.float32, (count, 3, size, size))
    assert (targets.dtype, tuple(targets.shape)) == (torch.float32, (count, 10))
    assert batch.isfinite().all()
    assert batch.abs().max() < 7  # noise of erasing; images end below 2.7
    assert torch.allclose(targets.sum(1), torch.ones(count), atol=1e-5)
    assert targets.min() >= 0.1 / 10 - 1e-6


def test_the_same_state_gives_the_same_batch_and_touches_no_other():
    images, labels = as_tensor(drawn_pictures(32, (40, 48), 0)), torch.arange(32) % 10
    before = images.clone()
    first = make()(images, labels, generator(3))
    torch.manual_seed(99)
    state = torch.get_rng_state()
    second = make()(images, labels, generator(3))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(images, before)
    assert all(torch.equal(*pair) for pair in zip(first, second, strict=True))
    other = make()(images, labels, generator(4))
    assert not any(torch.equal(*pair) for pair in zip(first, other, strict=True))


def test_without_noise_and_mixing_values_are_grey_levels_and_labels_one_class():
    images, labels = as_tensor(drawn_pictures(64, (40, 40), 0)), torch.arange(64) % 10
    batch, targets = make(**PLAIN)(images, labels, generator())
    levels = (batch * torch.tensor(STD)[:, None, None] + torch.tensor(MEAN)[:, None, None]) * 255
    assert torch.allclose(levels, levels.round(), atol=1e-3)
    assert (levels.min(), levels.max()) == (pytest.approx(0, abs=1e-3), pytest.approx(255, abs=1e-3))
    assert torch.equal(targets.argmax(1), labels)
    assert torch.allclose(targets.amax(1), torch.tensor(0.91))


@pytest.mark.usefixtures("no_operations")
def test_a_whole_square_image_without_chance_is_the_evaluation_s():
    images, labels = as_tensor(drawn_pictures(8, (30, 30), 0)), torch.arange(8)
    plain = evaluation_batch(images, 24, interpolation="bicubic", mean=MEAN, std=STD)
    for probability, expected in ((0.0, plain), (1.0, plain.flip(3))):
        batch, _ = make(**PLAIN, **WHOLE, flip_probability=probability)(images, labels, generator())
        assert torch.equal(batch, expected)


@pytest.mark.usefixtures("no_operations")
def test_half_of_the_images_are_mirrored_and_crops_cover_the_published_shares():
    # Red rises to the right and green downwards, so that the slopes say which part of an image was taken.
    ramp = (3 * torch.arange(85)).to(torch.uint8)
    image = torch.stack([ramp.expand(85, 85), ramp[:, None].expand(85, 85), torch.zeros(85, 85, dtype=torch.uint8)])
    batch, _ = make(size=16, **PLAIN)(image.expand(3000, -1, -1, -1), torch.zeros(3000, dtype=torch.int64), generator())
    slopes = [(batch[:, 0, 8, 12] - batch[:, 0, 8, 4]) * STD[0], (batch[:, 1, 12, 8] - batch[:, 1, 4, 8]) * STD[1]]
    across, down = (slope * 2 for slope in slopes)  # shares of the sides
    assert (across < 0).double().mean() == pytest.approx(0.5, abs=0.045)
    assert (down > 0).all()
    areas = across.abs() * down
    assert areas.min() == pytest.approx(0.08, abs=0.01)
    assert areas.mean() == pytest.approx(0.478, abs=0.02)  # of evenly spread areas 0.54; but large boxes fit with ratios near 1 only
    ratios = across.abs() / down
    assert ratios.min() == pytest.approx(3 / 4, abs=0.05)
    assert ratios.max() == pytest.approx(4 / 3, abs=0.05)


@pytest.mark.usefixtures("no_operations")
def test_where_no_crop_fits_the_middle_is_taken():
    images = as_tensor(drawn_pictures(4, (12, 120), 0))
    batch, _ = make(**PLAIN, crop_scale=(0.9, 1.0), flip_probability=0.0)(images, torch.arange(4), generator())
    middle = resize(images, torch.tensor([[52, 0, 68, 12]] * 4), (24, 24), interpolation="bicubic")
    assert torch.equal(batch, evaluation_batch(middle, 24, interpolation="bicubic", mean=MEAN, std=STD))


@pytest.mark.usefixtures("no_operations")
def test_labels_are_mixed_with_those_of_the_batch_backwards():
    images = as_tensor(drawn_pictures(6, (20, 20), 0))
    for seed in range(4):
        _, targets = make(classes=6)(images, torch.arange(6), generator(seed))
        own, partner = targets.diagonal(), targets.flip(1).diagonal()
        assert torch.allclose(own + partner, torch.tensor(0.9 + 0.2 / 6))
        assert torch.allclose(own, own[0].expand(6))  # one share for the whole batch


def test_what_comes_into_view_is_zero_after_normalisation():
    drawn = rand_augment.OPERATIONS.index("TranslateXRel")
    images = torch.full((200, 3, 32, 32), 255, dtype=torch.uint8)
    batch, _ = make(size=32, **PLAIN)(images, torch.zeros(200, dtype=torch.int64), generator())
    chosen = rand_augment.draw(rand_augment.parse_policy(Augmentation().rand_augment), 200, _after_crop(200)).operations
    moved_only = (chosen == drawn).any(0) & ((chosen == drawn) | (chosen == len(rand_augment.OPERATIONS))).all(0)
    assert moved_only.sum() > 2
    for one in batch[moved_only]:
        edge = one[:, 16, 0] if one[0, 16, 0] < 1 else one[:, 16, -1]
        assert edge.abs().max() < 0.5 / 255 / min(STD)


def _after_crop(count: int) -> torch.Generator:
    """The state in which RandAugment draws: after ten areas and ratios, a corner and a flip for every image."""
    state = generator()
    for shape in ((count, 10), (count, 10), (count, 2)):
        torch.rand(shape, generator=state, dtype=torch.float64)
    torch.rand(count, generator=state)
    return state


@given(
    pixels=pictures(count=4, most=60),
    size=st.integers(2, 40),
    ratio=st.sampled_from([1.0, 0.875]),
    name=st.sampled_from(["bilinear", "bicubic"]),
)
@settings(max_examples=30)
def test_evaluation_resizes_the_shorter_side_and_takes_the_middle_as_pillow_does(pixels, size, ratio, name):
    short = int(size / ratio)
    resized = []
    for picture in map(Image.fromarray, pixels):
        width, height = (short * side // min(picture.size) for side in picture.size)
        interpolation = Image.Resampling[name.upper()]
        whole = picture.resize((width, picture.height), interpolation).resize((width, height), interpolation)
        left, top = round((width - size) / 2), round((height - size) / 2)
        resized.append(whole.crop((left, top, left + size, top + size)))
    expected = (as_pixels(resized) / 255 - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
    assert torch.equal(evaluation_batch(as_tensor(pixels), size, interpolation=name, mean=MEAN, std=STD, crop_ratio=ratio), expected)


def test_black_and_white_are_the_ends_of_the_normalised_range():
    for value, ends in ((0, LOWEST), (255, HIGHEST)):
        images = torch.full((2, 1, 9, 12), value, dtype=torch.uint8)
        batch = evaluation_batch(images, 8, interpolation="bicubic", mean=MEAN, std=STD)
        assert torch.allclose(batch, torch.tensor(ends)[:, None, None].expand_as(batch), atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rand_augment": "rand-m9"}, "must read like rand-m9-mstd0.5-inc1"),
        ({"interpolation": "lanczos"}, "unknown interpolation 'lanczos'"),
        ({"erasing_mode": "const"}, "unknown erasing_mode 'const'; known: pixel"),
        ({"size": 0}, "image_size and num_classes must be at least 1, got 0 and 10"),
    ],
)
def test_what_is_not_known_is_refused_at_birth(changes, message):
    with pytest.raises(ValueError, match=message):
        make(**changes)


@pytest.mark.parametrize(
    "images", [torch.zeros(2, 3, 8, 8), torch.zeros(2, 4, 8, 8, dtype=torch.uint8), torch.zeros(3, 8, 8, dtype=torch.uint8)]
)
def test_what_is_not_a_batch_of_images_is_refused(images):
    with pytest.raises(ValueError, match="images must be uint8"):
        make()(images, torch.zeros(2, dtype=torch.int64), generator())
    with pytest.raises(ValueError, match="images must be uint8"):
        evaluation_batch(images, 8, interpolation="bicubic", mean=MEAN, std=STD)


@pytest.mark.parametrize("change", [{"image_size": 0}, {"crop_ratio": 0.0}, {"crop_ratio": 1.5}])
def test_impossible_evaluations_are_refused(change):
    with pytest.raises(ValueError, match="image_size must be at least 1 and crop_ratio lie in"):
        evaluation_batch(
            torch.zeros(1, 3, 8, 8, dtype=torch.uint8), **{"image_size": 8, **change}, interpolation="bicubic", mean=MEAN, std=STD
        )
