"""Data sets by name: what a spec may say, how a split is cut, and what a batch looks like."""

import logging
import subprocess
import sys
from pathlib import Path, PurePath

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from image_files import crop, encoded, packed, write_cifar10, write_classes

from trainer.data import LOADERS, Split, batch_sizes, epoch_batches, load_dataset, subset, to_batch
from trainer.dataset_spec import SOURCES, DatasetSpec, parse_dataset
from trainer.shapes import CLASS_NAMES, ShapesSpec

SEEDS = st.integers(0, 2**32)
SHAPES = st.builds(
    lambda classes, extra, difficulty: ShapesSpec(5 * classes + extra, size=8, classes=classes, difficulty=difficulty),
    st.integers(2, len(CLASS_NAMES)),
    st.integers(0, 150),
    st.floats(0, 1),
)


def numbered_split(labels: list[int]) -> Split:
    """A split whose images are their own index, so that a test can tell them apart."""
    index = torch.arange(len(labels))
    return Split(torch.stack([index % 256, index // 256], 1).to(torch.uint8).reshape(-1, 1, 1, 2), torch.tensor(labels))


def indices_of(images: torch.Tensor) -> list[int]:
    low, high = images.flatten(1).long().T
    return (low + 256 * high).tolist()


PATHS = st.text(min_size=1).filter(lambda text: text == text.strip() and text.isprintable()).map(lambda text: str(PurePath(text)).strip())
SPLITS = st.lists(st.integers(0, 4), min_size=2, max_size=400).map(numbered_split)


def test_every_source_has_a_loader():
    assert LOADERS.keys() == SOURCES.keys()


@given(knobs=SHAPES)
def test_the_canonical_text_reads_back_as_the_same_data_set(knobs):
    spec = DatasetSpec("shapes", knobs)
    assert parse_dataset(str(spec)) == spec


@pytest.mark.parametrize("text", ["shapes:2000", "shapes: 2000 , size = 32", "shapes:samples=2000", "shapes:difficulty=.1,samples=2000"])
def test_spellings_of_one_data_set_share_a_canonical_text(text):
    assert str(parse_dataset(text)) == "shapes:2000,size=32,classes=10,difficulty=0.1"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("imagenet", "unknown data set 'imagenet'.*known: digits, shapes, imagefolder, cifar10, cifar100, parquet, packed"),
        ("packed", "malformed data set 'packed': its path is missing; write packed:PATH"),
        ("cifar10:  ", "its path is missing; write cifar10:PATH"),
        ("parquet:a\nb", r"holds no control characters, got 'a\\nb'"),
        ("parquet:a\udc80", "holds no control characters"),
        ("imagefolder:a /", "neither begins nor ends with white space"),
        ("", "unknown data set ''"),
        ("digits:100", "takes no knobs, got '100'"),
        ("shapes", "samples is missing"),
        ("shapes:many", "samples must be a whole number, got samples='many'"),
        ("shapes:2000,colour=red", "unknown knob 'colour'; known: samples, size, classes, difficulty"),
        ("shapes:2000,size=big", "size must be a whole number, got size='big'"),
        ("shapes:2000,difficulty=2", "difficulty must lie in .0, 1., got difficulty=2.0"),
        ("shapes:2000,32", "a knob reads name=value, got '32'"),
        ("shapes:2000,size=32,size=48", "knob 'size' is given twice"),
        ("shapes:49", "samples must be at least 5 per class, got samples=49, classes=10; least: 50"),
    ],
)
def test_a_malformed_spec_is_refused_by_name(text, message):
    with pytest.raises(ValueError, match=message):
        parse_dataset(text)


@given(name=st.sampled_from([name for name, source in SOURCES.items() if source.files]), path=PATHS)
def test_a_path_may_hold_anything_printable_and_reads_back(name, path):
    spec = parse_dataset(f"{name}:{path}")
    assert (spec.name, spec.path, spec.synthetic) == (name, path, False)
    assert parse_dataset(str(spec)) == spec


@pytest.mark.parametrize("text", ["imagefolder:data/a=1,b/", "imagefolder: ./data//a=1,b", "imagefolder:data/./a=1,b"])
def test_a_relative_path_stays_relative_without_needless_slashes(text):
    assert str(parse_dataset(text)) == "imagefolder:data/a=1,b"


@pytest.mark.parametrize("wrong", [("digits", None, "x"), ("packed", None, "x/"), ("packed", None, None)])
def test_a_path_that_does_not_belong_is_refused(wrong):
    with pytest.raises(ValueError, match="path"):
        DatasetSpec(*wrong)


def test_knobs_of_another_data_set_are_refused():
    with pytest.raises(ValueError, match="wrong knobs for data set 'digits'"):
        DatasetSpec("digits", ShapesSpec(100))


def test_parsing_a_spec_loads_neither_torch_nor_scikit_learn():
    code = "import sys, trainer.dataset_spec as d; d.parse_dataset('shapes:2000'); print({'torch', 'sklearn'} & {*sys.modules})"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "set()"


def test_digits_are_the_bundled_grey_images():
    digits = load_dataset("digits", seed=0)
    assert (digits.name, digits.num_classes, digits.synthetic) == ("digits", 10, False)
    assert sum(len(split) for split in (digits.train, digits.validation, digits.test)) == 1797
    assert digits.train.images.shape[1:] == (1, 8, 8)
    assert (int(digits.train.images.min()), int(digits.train.images.max())) == (0, 255)


def test_shapes_are_named_and_declared_synthetic():
    shapes = load_dataset("shapes:60,classes=12,size=16", seed=0)
    assert shapes.name == "shapes:60,size=16,classes=12,difficulty=0.1"
    assert shapes.class_names == CLASS_NAMES
    assert shapes.synthetic
    assert shapes.train.images.shape == (36, 3, 16, 16)


@given(knobs=SHAPES, seed=SEEDS)
@settings(max_examples=25, deadline=None)
def test_splits_are_disjoint_exhaustive_and_stratified_within_one(knobs, seed):
    dataset = load_dataset(str(DatasetSpec("shapes", knobs)), seed=seed)
    splits = (dataset.train, dataset.validation, dataset.test)
    seen = [image.numpy().tobytes() for split in splits for image in split.images]
    assert len(seen) == len(set(seen)) == knobs.samples
    counts = np.array([np.bincount(split.labels.numpy(), minlength=knobs.classes) for split in splits])
    assert counts.min() >= 1
    assert np.abs(counts - counts.sum(0) * np.array([[0.6], [0.2], [0.2]])).max() < 1


@pytest.mark.parametrize("spec", ["digits", "shapes:100,size=16"])
def test_a_seed_fixes_the_splits_and_another_changes_them(spec):
    first, again, other = (load_dataset(spec, seed=seed) for seed in (3, 3, 4))
    for name in ("train", "validation", "test"):
        assert torch.equal(getattr(first, name).images, getattr(again, name).images)
        assert torch.equal(getattr(first, name).labels, getattr(again, name).labels)
    assert not torch.equal(first.train.images, other.train.images)


def test_a_negative_seed_is_refused():
    with pytest.raises(ValueError, match="seed must be at least 0, got seed=-1"):
        load_dataset("digits", seed=-1)


@given(split=SPLITS, fractions=st.tuples(st.floats(0.001, 1), st.floats(0.001, 1)), seed=SEEDS)
def test_a_larger_subset_contains_a_smaller_one(split, fractions, seed):
    smaller, larger = (set(indices_of(subset(split, fraction, seed).images)) for fraction in sorted(fractions))
    assert smaller <= larger


@given(split=SPLITS, fraction=st.floats(0.001, 1), seed=SEEDS)
def test_a_subset_keeps_the_fraction_of_every_class(split, fraction, seed):
    part = subset(split, fraction, seed)
    for label, count in zip(*torch.unique(split.labels, return_counts=True), strict=True):
        kept = int((part.labels == label).sum())
        assert kept >= 1
        assert abs(kept - fraction * int(count)) < 1


@given(split=SPLITS, seed=SEEDS)
def test_the_whole_is_a_subset_of_itself_in_order(split, seed):
    whole = subset(split, 1.0, seed)
    assert torch.equal(whole.images, split.images)
    assert torch.equal(whole.labels, split.labels)


@pytest.mark.parametrize("fraction", [0.0, -0.5, 1.01, float("nan")])
def test_a_fraction_outside_its_range_is_refused(fraction):
    with pytest.raises(ValueError, match="fraction must lie in"):
        subset(numbered_split([0, 1]), fraction, 0)


@given(split=SPLITS, batch_size=st.integers(2, 64), seed=SEEDS)
def test_an_epoch_holds_every_image_once_with_its_label_and_no_batch_of_one(split, batch_size, seed):
    batches = list(epoch_batches(split, batch_size, torch.Generator().manual_seed(seed)))
    seen = [index for images, _ in batches for index in indices_of(images)]
    assert sorted(seen) == list(range(len(split)))
    assert torch.equal(torch.cat([labels for _, labels in batches]), split.labels[seen])
    assert [len(labels) for _, labels in batches] == batch_sizes(len(split), batch_size)
    assert min(len(labels) for _, labels in batches) >= 2


def test_a_generator_decides_the_order_and_moves_on():
    split, generator = numbered_split([0] * 100), torch.Generator().manual_seed(0)
    first, second = (indices_of(next(epoch_batches(split, 50, generator))[0]) for _ in range(2))
    assert first != second
    assert first == indices_of(next(epoch_batches(split, 50, torch.Generator().manual_seed(0)))[0])


@pytest.mark.parametrize(("samples", "batch_size", "sizes"), [(8, 4, [4, 4]), (10, 4, [4, 4, 2]), (9, 4, [4, 5]), (3, 4, [3]), (3, 2, [3])])
def test_a_last_image_alone_joins_the_batch_before_it(samples, batch_size, sizes):
    assert batch_sizes(samples, batch_size) == sizes


@pytest.mark.parametrize(("samples", "batch_size"), [(1, 8), (0, 8), (8, 1), (8, 0)])
def test_batches_of_less_than_two_images_are_refused(samples, batch_size):
    with pytest.raises(ValueError, match=f"got samples={samples}, batch_size={batch_size}"):
        batch_sizes(samples, batch_size)


@given(value=st.integers(0, 255), channels=st.sampled_from([1, 3]), size=st.integers(1, 40), image_size=st.integers(1, 40))
@settings(deadline=None)
def test_a_flat_image_keeps_its_value_at_every_size(value, channels, size, image_size):
    batch = to_batch(torch.full((2, channels, size, size), value, dtype=torch.uint8), image_size)
    assert batch.shape == (2, 3, image_size, image_size)
    assert batch.dtype == torch.float32
    torch.testing.assert_close(batch, torch.full_like(batch, (value / 255 - 0.5) / 0.25))


def test_grey_images_have_three_equal_channels():
    red, green, blue = to_batch(load_dataset("digits", seed=0).train.images[:4], 32).unbind(1)
    assert torch.equal(red, green)
    assert torch.equal(red, blue)


def test_shrinking_averages_what_it_leaves_out():
    stripes = torch.zeros(1, 3, 16, 16, dtype=torch.uint8)
    stripes[..., ::2] = 255
    assert to_batch(stripes, 4).abs().max() < 0.2  # grey; a single pixel, black or white, would be 2 away


@pytest.mark.parametrize(
    "images", [torch.zeros(1, 3, 8, 8), torch.zeros(3, 8, 8, dtype=torch.uint8), torch.zeros(1, 2, 8, 8, dtype=torch.uint8)]
)
def test_images_of_another_kind_are_refused(images):
    with pytest.raises(ValueError, match="images must be uint8"):
        to_batch(images, 32)


def test_an_empty_image_size_is_refused():
    with pytest.raises(ValueError, match="image_size must be at least 1, got image_size=0"):
        to_batch(torch.zeros(1, 3, 8, 8, dtype=torch.uint8), 0)


def test_channels_may_have_means_and_deviations_of_their_own():
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.25, 0.2)
    for channels in (1, 3):
        batch = to_batch(torch.full((2, channels, 8, 8), 51, dtype=torch.uint8), 16, mean=mean, std=std)
        expected = torch.tensor([(0.2 - m) / s for m, s in zip(mean, std, strict=True)]).reshape(1, 3, 1, 1).expand(2, 3, 16, 16)
        torch.testing.assert_close(batch, expected)


@given(split=SPLITS, seed=SEEDS, sizes=st.tuples(st.floats(0.01, 1), st.floats(0.01, 1)))
def test_parts_of_parts_copy_no_image(split, seed, sizes):
    part = subset(subset(split, sizes[0], seed), sizes[1], seed + 1)
    assert part._stored is split.images
    images, labels = part.batch(torch.arange(len(part)))
    assert torch.equal(images, part.images)
    assert torch.equal(labels, part.labels)
    assert torch.equal(split.labels[indices_of(images)], labels)


def test_a_split_needs_a_label_for_every_image():
    with pytest.raises(ValueError, match="images=3, labels=2"):
        Split(torch.zeros(3, 1, 2, 2, dtype=torch.uint8), torch.zeros(2, dtype=torch.int64))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NAS_DATA_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def photos(tmp_path: Path, **splits: int) -> str:
    for split, each in splits.items():
        write_classes(tmp_path / "photos" / split.removeprefix("all"), each=each)
    return f"imagefolder:{tmp_path / 'photos'}"


def lengths(dataset) -> list[int]:
    return [len(split) for split in (dataset.train, dataset.validation, dataset.test)]


@pytest.mark.parametrize(
    ("splits", "expected"),
    [
        ({"all": 10}, [18, 6, 6]),
        ({"train": 10}, [18, 6, 6]),
        ({"train": 10, "test": 2}, [24, 6, 6]),
        ({"train": 10, "val": 2}, [30, 6, 0]),
        ({"train": 10, "validation": 2, "test": 3}, [30, 6, 9]),
    ],
)
def test_a_source_s_own_splits_are_kept_and_the_others_cut_from_every_class(tmp_path, cache, splits, expected):
    dataset = load_dataset(photos(tmp_path, **splits), seed=0)
    assert lengths(dataset) == expected
    for split in (dataset.train, dataset.validation, dataset.test):
        assert set(torch.bincount(split.labels, minlength=3).tolist()) == {len(split) // 3}
    other = load_dataset(dataset.name, seed=1)
    assert torch.equal(other.train.labels, dataset.train.labels)
    assert torch.equal(other.train.images, dataset.train.images) is ("val" in splits or "validation" in splits)
    if "test" in splits:
        assert torch.equal(other.test.images, dataset.test.images)


def test_image_files_are_decoded_once_for_each_size_and_it_is_said(tmp_path, cache, caplog):
    spec = photos(tmp_path, all=6)
    first = load_dataset(spec, seed=0, image_size=48)
    assert first.train.image_shape == (3, 48, 48)
    assert first.class_names == ("china", "flower", "lamp")
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert f"decoding 18 images of {spec} into {cache}" in record.getMessage()
    assert "`nas data pack`" in record.getMessage()
    assert load_dataset(spec, seed=0, image_size=48).fingerprint == first.fingerprint
    assert len(caplog.records) == 1
    assert load_dataset(spec, seed=0).train.image_shape == (3, 32, 32)
    (tmp_path / "photos" / "china" / "000.jpg").write_bytes(encoded(crop(0, 99), "JPEG"))
    assert load_dataset(spec, seed=0, image_size=48).fingerprint != first.fingerprint
    assert len(caplog.records) == 3
    assert len([path for path in cache.iterdir() if path.is_dir()]) == 3


def test_packed_images_have_their_own_size_and_the_fingerprint_of_their_source(tmp_path, cache):
    spec = photos(tmp_path, all=6)
    direct = load_dataset(spec, seed=0, image_size=48)
    packed(spec, tmp_path / "packed", size=48)
    dataset = load_dataset(f"packed:{tmp_path / 'packed'}", seed=0, image_size=64)
    assert dataset.fingerprint == direct.fingerprint
    assert dataset.name == f"packed:{tmp_path / 'packed'}"
    assert torch.equal(dataset.train.images, direct.train.images)


def test_cifar_is_taken_pixel_by_pixel(tmp_path, cache):
    write_cifar10(tmp_path / "cifar")
    dataset = load_dataset(f"cifar10:{tmp_path / 'cifar'}", seed=0)
    assert lengths(dataset) == [80, 20, 20]
    assert dataset.test.images[3].numpy().tobytes() == (tmp_path / "cifar" / "test_batch.bin").read_bytes()[3 * 3073 + 1 : 4 * 3073]


def test_damaged_images_are_told_when_a_source_is_used_directly(tmp_path, cache, caplog):
    spec = photos(tmp_path, all=6)
    (tmp_path / "photos" / "lamp" / "001.png").write_bytes(b"nothing")
    assert sum(lengths(load_dataset(spec, seed=0))) == 17
    assert "damaged and left out: 1, such as lamp/001.png: no image in a known format" in caplog.messages[1]


CACHES = """
import sys
from trainer.dataset_spec import parse_dataset
from trainer.packing.packed import open_packed
from trainer.packing.cache import cached

print(open_packed(cached(parse_dataset(sys.argv[1]), 32)).meta.fingerprint)
"""


def test_two_processes_that_begin_at_once_decode_once_and_agree(tmp_path, cache):
    spec = photos(tmp_path, all=30)
    command = [sys.executable, "-c", CACHES, spec]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    out, err = zip(*(process.communicate(timeout=120) for process in processes), strict=True)
    assert [process.returncode for process in processes] == [0, 0], err
    assert len(set(out)) == 1
    assert "".join(err).count("decoding 90 images") == 1


def test_a_cache_that_cannot_be_written_is_named_with_the_way_out(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("NAS_DATA_CACHE", str(tmp_path / "file"))
    with pytest.raises(ValueError, match=r"cannot write .*/file/.*: .*; set NAS_DATA_CACHE to another folder"):
        load_dataset(photos(tmp_path, all=6), seed=0)


@pytest.mark.parametrize("name", [name for name, source in SOURCES.items() if source.files])
def test_files_that_are_not_there_are_noticed_when_they_are_loaded(tmp_path, cache, name):
    with pytest.raises(ValueError, match=rf"^no .* at {tmp_path}/nowhere"):
        load_dataset(f"{name}:{tmp_path}/nowhere", seed=0)
    assert list(tmp_path.iterdir()) == []


def test_images_larger_than_the_memory_are_mapped(tmp_path):
    packed(photos(tmp_path, all=6), tmp_path / "packed")
    dataset = load_dataset(f"packed:{tmp_path / 'packed'}", seed=0)
    mapped = str((tmp_path / "packed" / "images.npy").resolve())
    (line,) = [line for line in Path("/proc/self/maps").read_text().splitlines() if line.endswith(mapped)]
    assert line.split()[1] == "r--s"  # shared and read-only: it counts as no memory
    first, last = (int(end, 16) for end in line.split()[0].split("-"))
    assert all(first <= split._stored.data_ptr() < last for split in (dataset.train, dataset.validation, dataset.test))
