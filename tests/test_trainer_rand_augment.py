"""RandAugment: what the policy's name says, what is drawn how often and how strongly, and groups that do what single images would get."""

import math

import pytest
import torch

from tests.pictures import as_tensor, drawn_pictures
from trainer.augmentation.affine import AFFINE_OPERATIONS, transform
from trainer.augmentation.colour_ops import COLOUR_OPERATIONS
from trainer.augmentation.rand_augment import ARGUMENTS, LAYERS, OPERATIONS, Drawn, Policy, apply, draw, parse_policy

PUBLISHED = Policy(magnitude=9.0, deviation=0.5)
FILL = torch.tensor([124, 116, 104], dtype=torch.uint8)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(
    ("text", "policy"),
    [("rand-m9-mstd0.5-inc1", PUBLISHED), ("rand-m10-inc1", Policy(10, 0)), ("rand-m7.5-mstd1-inc1", Policy(7.5, 1))],
)
def test_a_policy_is_read_from_its_name(text, policy):
    assert parse_policy(text) == policy


@pytest.mark.parametrize(
    "text", ["", "rand-m9", "rand-m9-mstd0.5", "rand-m9-mstd0.5-inc0", "augmix-m3", "rand-m9-mstd0.5-inc1-n3", "rand-m-inc1"]
)
def test_other_names_are_refused_with_the_one_that_is_meant(text):
    with pytest.raises(ValueError, match=r"must read like rand-m9-mstd0\.5-inc1"):
        parse_policy(text)


def test_a_magnitude_beyond_the_scale_is_refused():
    with pytest.raises(ValueError, match="at most 10"):
        parse_policy("rand-m11-inc1")


@pytest.mark.parametrize(
    ("name", "at_nine", "at_ten"),
    [
        ("PosterizeIncreasing", 1, 0),
        ("SolarizeIncreasing", 26, 0),
        ("SolarizeAdd", 99, 110),
        ("ColorIncreasing", 1.81, 1.9),
        ("ContrastIncreasing", 1.81, 1.9),
        ("BrightnessIncreasing", 1.81, 1.9),
        ("SharpnessIncreasing", 1.81, 1.9),
        ("Rotate", 27, 30),
        ("ShearX", 0.27, 0.3),
        ("ShearY", 0.27, 0.3),
        ("TranslateXRel", 0.405, 0.45),
        ("TranslateYRel", 0.405, 0.45),
    ],
)
def test_arguments_are_the_policy_s(name, at_nine, at_ten):
    levels, plus = torch.tensor([0.9, 1.0], dtype=torch.float64), torch.ones(2, dtype=torch.float64)
    assert ARGUMENTS[name](levels, plus).tolist() == pytest.approx([at_nine, at_ten])
    assert ARGUMENTS[name](levels * 0, plus).tolist()[0] in (0, 1, 4, 256)  # as good as nothing, but for posterizing to 4 bits
    minus = ARGUMENTS[name](levels, -plus).tolist()
    if isinstance(at_nine, float) and at_nine > 1:
        assert minus == pytest.approx([2 - at_nine, 2 - at_ten])
    elif name in AFFINE_OPERATIONS:
        assert minus == pytest.approx([-at_nine, -at_ten])
    else:
        assert minus == pytest.approx([at_nine, at_ten])


def test_each_of_fifteen_operations_is_applied_equally_often_and_half_of_the_time_none():
    drawn = draw(PUBLISHED, 30_000, generator())
    assert drawn.operations.shape == (LAYERS, 30_000) == (2, 30_000)
    for layer in drawn.operations:
        shares = layer.bincount(minlength=16) / 30_000
        assert shares[-1] == pytest.approx(0.5, abs=0.015)  # five standard errors
        assert shares[:-1].tolist() == pytest.approx([0.5 / 15] * 15, abs=0.0055)
    both_none = (drawn.operations == 15).all(0).double().mean()
    assert both_none == pytest.approx(0.25, abs=0.013)


def test_magnitudes_are_normal_about_nine_and_stop_at_ten():
    drawn = draw(PUBLISHED, 200_000, generator())
    rotations = drawn.arguments[drawn.operations == OPERATIONS.index("Rotate")] / 30 * 10
    magnitudes = rotations.abs()
    assert (rotations > 0).double().mean() == pytest.approx(0.5, abs=0.025)
    assert magnitudes.max() == 10
    assert (magnitudes == 10).double().mean() == pytest.approx(0.0228, abs=0.007)  # two deviations above the mean
    assert magnitudes.median() == pytest.approx(9, abs=0.03)
    assert (magnitudes < 8.5).double().mean() == pytest.approx(0.1587, abs=0.02)  # one deviation below


def test_a_batch_gets_what_single_images_would():
    images = as_tensor(drawn_pictures(120, (24, 20), 5))
    drawn = draw(PUBLISHED, len(images), generator(1))
    together = apply(images, drawn, fill=FILL, interpolation="bicubic")
    assert set(drawn.operations.flatten().tolist()) == set(range(16))
    for index, image in enumerate(images):
        alone = image[None]
        for operation, argument in zip(drawn.operations[:, index].tolist(), drawn.arguments[:, index, None], strict=True):
            name = (*OPERATIONS, None)[operation]
            if name in COLOUR_OPERATIONS:
                alone = COLOUR_OPERATIONS[name](alone, argument)
            elif name in AFFINE_OPERATIONS:
                matrix = AFFINE_OPERATIONS[name](argument, alone.shape[2:])
                alone = transform(alone, matrix, fill=FILL, interpolation="bicubic")
        assert torch.equal(together[index], alone[0]), f"image {index}"


def test_nothing_drawn_leaves_the_images():
    images = as_tensor(drawn_pictures(5, (8, 8), 0))
    nothing = Drawn(torch.full((LAYERS, 5), len(OPERATIONS)), torch.full((LAYERS, 5), math.nan, dtype=torch.float64))
    assert torch.equal(apply(images, nothing, fill=FILL, interpolation="bilinear"), images)
