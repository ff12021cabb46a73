"""CIFAR-10 and CIFAR-100 in their binary version: a byte or two for the label, then 32 × 32 pixels a colour."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trainer.packing.sources.listing import FileStamp, Listing, Payload, Reader, existing_folder
from trainer.splits import TEST, TRAIN

SIDE = 32
PIXELS = 3 * SIDE * SIDE


@dataclass(frozen=True, slots=True)
class Layout:
    """The files of a version: by split code, how many bytes of labels come first (the last of them is used), and how it is distributed."""

    files: Mapping[str, int]
    label_bytes: int
    classes: int
    names_file: str
    folder: str
    pickled: tuple[str, ...]
    archive: str


LAYOUTS: Mapping[str, Layout] = {
    "cifar10": Layout(
        files={**{f"data_batch_{number}.bin": TRAIN for number in range(1, 6)}, "test_batch.bin": TEST},
        label_bytes=1,
        classes=10,
        names_file="batches.meta.txt",
        folder="cifar-10-batches-bin",
        pickled=("data_batch_1", "cifar-10-batches-py"),
        archive="cifar-10-binary.tar.gz",
    ),
    "cifar100": Layout(
        files={"train.bin": TRAIN, "test.bin": TEST},
        label_bytes=2,  # coarse, fine
        classes=100,
        names_file="fine_label_names.txt",
        folder="cifar-100-binary",
        pickled=("train", "cifar-100-python"),
        archive="cifar-100-binary.tar.gz",
    ),
}


def list_cifar(root: Path, *, version: str) -> Listing:
    """The images of `version` (cifar10 or cifar100) in `root` or the folder that its archive unpacks to; ValueError for other files."""
    layout = LAYOUTS[version]
    folder = _folder(existing_folder(root), layout)
    labels = [_labels(folder / name, layout) for name in layout.files]
    sizes = [len(part) for part in labels]
    return Listing(
        class_names=_class_names(folder / layout.names_file, layout.classes),
        labels=np.concatenate(labels),
        splits=np.repeat(np.array(list(layout.files.values()), np.uint8), sizes),
        files=tuple(FileStamp.of(name, (folder / name).stat()) for name in layout.files),
        reader=partial(_reader, [folder / name for name in layout.files], np.cumsum([0, *sizes]), layout.label_bytes),
    )


def _folder(root: Path, layout: Layout) -> Path:
    folder = root / layout.folder if (root / layout.folder).is_dir() else root
    missing = [name for name in layout.files if not (folder / name).is_file()]
    if missing and any((folder / name).exists() for name in layout.pickled):
        raise ValueError(
            f"{folder} holds the Python version, whose pickles can run code and are never read; unpack {layout.archive} (binary) instead"
        )
    if missing:
        raise ValueError(f"no file {missing[0]} in {folder}; unpack {layout.archive} (the binary version) there")
    return folder


def _labels(path: Path, layout: Layout) -> NDArray[np.int64]:
    record = layout.label_bytes + PIXELS
    size = path.stat().st_size
    if size == 0 or size % record:
        raise ValueError(f"{path} must hold whole records of {record} bytes, got {size} bytes; unpack {layout.archive} again")
    labels = np.memmap(path, np.uint8, "r").reshape(-1, record)[:, layout.label_bytes - 1].astype(np.int64)
    if labels.max() >= layout.classes:
        raise ValueError(f"labels in {path} must be below {layout.classes}, got {labels.max()}; is it another version's file?")
    return labels


def _class_names(path: Path, classes: int) -> tuple[str, ...]:
    if not path.is_file():
        return tuple(str(label) for label in range(classes))
    names = tuple(line.strip() for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip())
    if len(names) != classes:
        raise ValueError(f"{path} must name {classes} classes, got {len(names)}")
    return names


def _reader(paths: list[Path], ends: NDArray[np.int64], label_bytes: int, start: int, stop: int) -> Reader:
    """What reads the images `start` to `stop` of all files, one after the other; file i holds those from ends[i] to ends[i + 1]."""
    ranges = [(path, max(start, first) - first, min(stop, last) - first) for path, first, last in zip(paths, ends, ends[1:], strict=False)]
    return partial(_read, [(path, int(low), int(high)) for path, low, high in ranges if low < high], label_bytes)


def _read(ranges: list[tuple[Path, int, int]], label_bytes: int) -> Iterator[tuple[str, Payload]]:
    record = label_bytes + PIXELS
    for path, start, stop in ranges:
        records = np.fromfile(path, np.uint8, count=(stop - start) * record, offset=start * record).reshape(-1, record)
        for number, pixels in enumerate(records[:, label_bytes:], start):
            yield f"{path.name}:{number}", pixels.reshape(3, SIDE, SIDE)
