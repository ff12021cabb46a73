"""Image files in folders that are called what they show, with folders for the splits above them or none."""

import os
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from trainer.packing.sources.listing import FileStamp, Listing, Payload, existing_folder
from trainer.splits import SPLITS

SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"))
SPLIT_OF_FOLDER: Mapping[str, str] = {"train": "train", "val": "validation", "validation": "validation", "test": "test"}

Classes = Mapping[str, Sequence[FileStamp]]


def list_imagefolder(root: Path) -> Listing:
    """The images below `root`/CLASS, or below `root`/train/CLASS, `root`/val/CLASS and `root`/test/CLASS; ValueError for another layout."""
    splits = {split: _classes(folder) for split, folder in _split_folders(existing_folder(root)).items()}
    names = tuple(splits["train"])
    for split, classes in splits.items():
        _check_same_classes(names, split, tuple(classes))
    files: list[FileStamp] = []
    labels: list[int] = []
    codes: list[int] = []
    for split, classes in splits.items():
        for label, stamps in enumerate(classes.values()):
            files += [FileStamp(os.path.relpath(stamp.name, root), stamp.size, stamp.changed) for stamp in stamps]
            labels += [label] * len(stamps)
            codes += [SPLITS.index(split)] * len(stamps)
    return Listing(
        class_names=names,
        labels=np.array(labels, np.int64),
        splits=np.array(codes, np.uint8),
        files=tuple(files),
        reader=lambda start, stop: partial(_read, str(root), [stamp.name for stamp in files[start:stop]]),
    )


def _split_folders(root: Path) -> Mapping[str, Path]:
    """The folder of every split there is; `root` itself where it holds classes."""
    folders = _folders(root)
    if not folders:
        raise ValueError(f"no class folders in {root}; images lie in {root}/CLASS or {root}/train/CLASS")
    named = {name: folder for name, folder in folders.items() if name in SPLIT_OF_FOLDER}
    # `train` and `test` may be classes too: a vehicle, a kind of sheet. They are splits where folders lie in them.
    if not any(_folders(folder) for folder in named.values()):
        return {"train": root}
    if "train" not in named:
        raise ValueError(f"no folder train in {root}, beside {', '.join(named)}")
    if others := sorted(set(folders) - set(named)):
        raise ValueError(f"{root} holds other folders beside those of the splits: {_some(others)}; move them elsewhere")
    if {"val", "validation"} <= set(named):
        raise ValueError(f"{root} holds both val and validation; keep one")
    return {split: named[name] for split in SPLITS for name in named if SPLIT_OF_FOLDER[name] == split}


def _classes(folder: Path) -> Classes:
    classes = {name: _images(path) for name, path in _folders(folder).items()}
    if not classes:
        raise ValueError(f"no class folders in {folder}; images lie in {folder}/CLASS")
    if empty := [name for name, images in classes.items() if not images]:
        raise ValueError(f"no images in the class folders {_some(empty)} of {folder}; endings known: {' '.join(sorted(SUFFIXES))}")
    return classes


def _folders(folder: Path) -> Mapping[str, Path]:
    return {entry.name: Path(entry.path) for entry in _entries(folder) if entry.is_dir()}


def _images(folder: Path) -> Sequence[FileStamp]:
    """The image files in a folder and the folders in it, by path."""
    files: list[FileStamp] = []
    for entry in _entries(folder):
        if entry.is_dir():
            files += _images(Path(entry.path))
        elif os.path.splitext(entry.name)[1].lower() in SUFFIXES:
            files.append(FileStamp.of(entry.path, _status(entry)))
    return files


def _status(entry: os.DirEntry[str]) -> os.stat_result:
    try:
        return entry.stat()
    except FileNotFoundError:
        return entry.stat(follow_symlinks=False)  # a link to nowhere: an image that cannot be read


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """What lies in a folder, by name, without hidden files."""
    with os.scandir(folder) as entries:
        return sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda entry: entry.name)


def _check_same_classes(names: Sequence[str], split: str, other: Sequence[str]) -> None:
    missing, extra = sorted(set(names) - set(other)), sorted(set(other) - set(names))
    if missing or extra:
        differences = [f"{what} {_some(which)}" for what, which in (("lacks", missing), ("has besides", extra)) if which]
        raise ValueError(f"the classes of {split} differ from those of train: it {' and '.join(differences)}")


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _read(root: str, names: Sequence[str]) -> Iterator[tuple[str, Payload]]:
    for name in names:
        path = Path(root, name)
        try:
            yield name, path.read_bytes()
        except OSError as error:
            # It was there a moment ago: a disk that goes away must not become a data set with fewer images.
            if isinstance(error, FileNotFoundError) and not path.is_symlink():
                raise ValueError(f"{name} has gone from {root} while it was packed") from None
            yield name, error
