"""What a source of image files holds, before any image is decoded."""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Payload = bytes | NDArray[np.uint8] | OSError  # an encoded image, or pixels (3, H, W), or why neither could be read
Reader = Callable[[], Iterable[tuple[str, Payload]]]  # picklable: other processes read


@dataclass(frozen=True, slots=True)
class FileStamp:
    """By what a changed file is noticed without reading it: its name in the source, bytes, and nanoseconds of its last change."""

    name: str
    size: int
    changed: int

    @classmethod
    def of(cls, name: str, status: os.stat_result) -> "FileStamp":
        """The stamp of a file whose status is known."""
        return cls(name, status.st_size, status.st_mtime_ns)


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Listing:
    """The images of a source in a fixed order: their classes and splits, the files they come from, and a way to read some of them.

    `source` is its name. `reader(start, stop)` gives what reads the images of these numbers, each with the name that a report calls it
    by. `unlabelled` counts images without a label, which are left out.
    """

    class_names: tuple[str, ...]
    labels: NDArray[np.int64]
    splits: NDArray[np.uint8]
    files: tuple[FileStamp, ...]
    reader: Callable[[int, int], Reader]
    unlabelled: int = 0
    source: str = ""

    def __len__(self) -> int:
        return len(self.labels)


def existing_folder(path: Path) -> Path:
    """The folder itself; ValueError where there is none."""
    if not path.is_dir():
        raise ValueError(f"no folder at {path}")
    return path
