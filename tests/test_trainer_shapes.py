"""The drawn shapes: deterministic, balanced, and told apart by their outline alone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from trainer.shapes import CLASS_NAMES, ShapesSpec, draw_shapes

SEEDS = st.integers(0, 2**32)


def held_out_accuracy(features: np.ndarray, labels: np.ndarray) -> float:
    half = len(labels) // 2
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=300))
    return classifier.fit(features[:half], labels[:half]).score(features[half:], labels[half:])


@given(seed=SEEDS, difficulty=st.floats(0, 1))
@settings(max_examples=5, deadline=None)
def test_the_same_spec_and_seed_give_the_same_bytes(seed, difficulty):
    spec = ShapesSpec(20, size=16, difficulty=difficulty)
    first, second = draw_shapes(spec, seed), draw_shapes(spec, seed)
    assert first[0].tobytes() == second[0].tobytes()
    assert first[1].tobytes() == second[1].tobytes()


def test_another_seed_gives_other_images():
    spec = ShapesSpec(20, size=16)
    assert not np.array_equal(draw_shapes(spec, 0)[0], draw_shapes(spec, 1)[0])


@given(samples=st.integers(1, 300), more=st.integers(0, 200), seed=SEEDS)
@settings(max_examples=10, deadline=None)
def test_an_image_does_not_depend_on_how_many_are_drawn(samples, more, seed):
    images, labels = draw_shapes(ShapesSpec(samples, size=8), seed)
    more_images, more_labels = draw_shapes(ShapesSpec(samples + more, size=8), seed)
    assert np.array_equal(images, more_images[:samples])
    assert np.array_equal(labels, more_labels[:samples])


@given(samples=st.integers(1, 300), classes=st.integers(2, len(CLASS_NAMES)), seed=SEEDS)
@settings(max_examples=10, deadline=None)
def test_classes_are_balanced_within_one(samples, classes, seed):
    labels = draw_shapes(ShapesSpec(samples, size=8, classes=classes), seed)[1]
    counts = np.bincount(labels, minlength=classes)
    assert len(counts) == classes
    assert counts.max() - counts.min() <= 1


@pytest.mark.parametrize("size", [8, 32, 48])
def test_images_are_square_and_coloured(size):
    images, labels = draw_shapes(ShapesSpec(7, size=size), 0)
    assert images.shape == (7, size, size, 3)
    assert images.dtype == np.uint8
    assert labels.dtype == np.int64


def test_every_class_covers_the_same_area():
    images, labels = draw_shapes(ShapesSpec(2400, classes=len(CLASS_NAMES), difficulty=0.0), 0)
    paper = images[:, :2, :2].mean((1, 2), keepdims=True)
    covered = (np.abs(images - paper).max(-1) > 40).mean((1, 2))
    areas = np.array([covered[labels == label].mean() for label in range(len(CLASS_NAMES))])
    assert areas.max() / areas.min() < 1.1


@pytest.mark.parametrize("difficulty", [0.0, 0.5, 1.0])
def test_colour_statistics_do_not_give_the_class_away(difficulty):
    images, labels = draw_shapes(ShapesSpec(3000, difficulty=difficulty), 0)
    colours = np.concatenate([images.mean((1, 2)), images.std((1, 2))], axis=1)
    assert held_out_accuracy(colours, labels) < 0.16  # chance is 0.10


def test_a_linear_classifier_on_pixels_stays_far_below_a_network():
    images, labels = draw_shapes(ShapesSpec(1000, size=16), 0)
    assert held_out_accuracy(images.reshape(len(images), -1).astype(np.float32), labels) < 0.3


def test_difficulty_hides_the_shapes():
    """Averaged over a class, plain shapes keep an outline that hard ones lose."""
    contrasts = [_contrast_of_class_means(difficulty) for difficulty in (0.0, 0.5, 1.0)]
    assert contrasts[0] > contrasts[1] > contrasts[2]


def _contrast_of_class_means(difficulty: float) -> float:
    images, labels = draw_shapes(ShapesSpec(2000, difficulty=difficulty), 0)
    edges = np.abs(np.diff(images.astype(np.float32), axis=1)).mean(-1)
    edges /= edges.mean((1, 2), keepdims=True)
    return float(np.std([edges[labels == label].mean(0) for label in range(10)], axis=0).mean())


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"samples": 0}, "samples must be at least 1, got samples=0"),
        ({"size": 7}, "size must lie in .8, 512. pixels, got size=7"),
        ({"classes": 1}, "classes must lie in .2, 12., got classes=1"),
        ({"classes": 13}, "got classes=13"),
        ({"difficulty": 1.5}, "difficulty must lie in .0, 1., got difficulty=1.5"),
        ({"difficulty": float("nan")}, "got difficulty=nan"),
    ],
)
def test_a_spec_names_what_is_wrong_with_it(knobs, message):
    with pytest.raises(ValueError, match=message):
        ShapesSpec(**{"samples": 100, **knobs})
