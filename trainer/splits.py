"""Which images are for training, validation and test: a source's own split where it has one, cut by class and seed where not."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from trainer.dataset_spec import MIN_PER_CLASS, UNFIT

Indices = NDArray[np.int64]

SPLITS = ("train", "validation", "test")  # a split's code is its place here; images of a source without splits are all for training
TRAIN, VALIDATION, TEST = range(3)
HELD_OUT = 0.2  # of every class, for validation and once more for the test
SPLIT_STREAM, SUBSET_STREAM = 1, 2  # one seed serves several draws; each has its own stream, and so has the drawing of images


def cut(labels: Indices, splits: NDArray[np.uint8], seed: int) -> tuple[Indices, Indices, Indices]:
    """Ascending indices of train, validation and test: as `splits` says, and by class and seed where it does not.

    Nothing but training images: 60/20/20 of every class. Training and test: the validation is 20 % of every class of the training.
    Training and validation: the test is empty.
    """
    train, validation, test = (np.flatnonzero(splits == code) for code in range(3))
    if len(validation):
        return train, validation, test
    if len(test):
        kept, held_out = _hold_out(labels[train], seed, parts=1)
        return train[kept], train[held_out], test
    kept, held_out, last = _hold_out(labels[train], seed, parts=2)
    return train[kept], train[held_out], train[last]


def split_rule(splits: NDArray[np.uint8]) -> str:
    """In words, what `cut` does with images of these splits."""
    validation, test = (bool((splits == code).any()) for code in (VALIDATION, TEST))
    if validation:
        return "as in the source" + ("" if test else ", which has no test")
    return "the validation is cut from train, 20 % of every class by seed" if test else "cut 60/20/20 from every class by seed"


def fraction_of_classes(labels: Indices, fraction: float, seed: int) -> Indices:
    """Ascending indices of the given part of every class, at least one each; those of a larger fraction contain a smaller one's."""
    classes = _shuffled_classes(labels, seed, SUBSET_STREAM)
    return np.sort(np.concatenate([members[: max(1, round(fraction * len(members)))] for members in classes]))


def check_splits(labels: Indices, splits: NDArray[np.uint8], class_names: Sequence[str]) -> None:
    """ValueError unless there are two classes at least, every split has them all, and a split to be cut has enough of each."""
    if len(class_names) < 2:
        raise ValueError(f"a data set needs at least 2 classes, got {len(class_names)}: {', '.join(class_names) or 'none'}")
    counts = class_counts(labels, splits, len(class_names))
    least = MIN_PER_CLASS if not counts[VALIDATION].any() else 1
    for code, name in enumerate(SPLITS):
        wanted = least if code == TRAIN else 1
        if (code == TRAIN or counts[code].any()) and counts[code].min() < wanted:
            rare = int(counts[code].argmin())
            why = " to cut a validation from" if wanted > 1 else ""
            raise ValueError(f"{name} needs at least {wanted} of every class{why}, got {counts[code][rare]} of class {class_names[rare]!r}")


def check_names(class_names: Sequence[str]) -> None:
    """ValueError unless the names are different texts that can be shown and stored."""
    for name, times in Counter(class_names).items():
        if not name or UNFIT.search(name):
            raise ValueError(f"class names must be texts without control characters, got {name!r}")
        if times > 1:
            raise ValueError(f"class names must differ, got {name!r} {times} times")


def class_counts(labels: Indices, splits: NDArray[np.uint8], classes: int) -> NDArray[np.int64]:
    """How many images every split (row) has of every class (column)."""
    return np.stack([np.bincount(labels[splits == code], minlength=classes) for code in range(len(SPLITS))])


def _hold_out(labels: Indices, seed: int, *, parts: int) -> tuple[Indices, ...]:
    """Ascending indices of what is kept and of `parts` that hold 20 % each: disjoint, exhaustive, within one image of every class."""
    cuts: tuple[list[Indices], ...] = tuple([] for _ in range(parts + 1))
    for members in _shuffled_classes(labels, seed, SPLIT_STREAM):
        held_out = round(HELD_OUT * len(members))
        ends = [len(members) - part * held_out for part in range(parts, 0, -1)]
        for part, chosen in zip(cuts, np.split(members, ends), strict=True):
            part.append(chosen)
    return tuple(np.sort(np.concatenate(part)) for part in cuts)


def _shuffled_classes(labels: Indices, seed: int, stream: int) -> list[Indices]:
    rng = np.random.default_rng([seed, 0, stream])
    return [rng.permutation(np.flatnonzero(labels == label)) for label in np.unique(labels)]
