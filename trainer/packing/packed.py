"""Decoded images in a folder of memory-mapped arrays that says what they are, and is checked before it is used.

`images.npy` uint8 (N, 3, size, size), `labels.npy` int64 (N,), `splits.npy` uint8 (N,) with 0, 1, 2 for train, validation and test, and
`meta.json`. Images are hashed in chunks, so that a part of them can be checked.
"""

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.splits import check_splits

VERSION = 1
HEADER_BYTES = 128  # of images.npy; NumPy leaves room in it for any number of images
CHECKED_BYTES = 2**28  # of images are checked when a data set is loaded; beyond, this much of them
META, IMAGES, LABELS, SPLITS = "meta.json", "images.npy", "labels.npy", "splits.npy"


@dataclass(frozen=True, slots=True)
class Damage:
    """An image that could not be decoded, and why."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Chunk:
    """Neighbouring images: how many, and the hash of their pixels."""

    images: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Meta:
    """What `meta.json` says: the side in pixels, where the images come from, what was left out, and the hashes of everything."""

    source: str
    size: int
    class_names: tuple[str, ...]
    damaged: tuple[Damage, ...]
    smaller: int  # images that had to be enlarged
    unlabelled: int  # images left out for want of a label
    decoder: str
    labels_sha256: str
    splits_sha256: str
    chunks: tuple[Chunk, ...]
    version: int = VERSION

    @property
    def images(self) -> int:
        """The number of images."""
        return sum(chunk.images for chunk in self.chunks)

    @property
    def fingerprint(self) -> str:
        """What two data sets share exactly when their pixels, labels, splits, class names and size are the same; hexadecimal."""
        hashes = [self.labels_sha256, self.splits_sha256, *(chunk.sha256 for chunk in self.chunks)]
        return sha256(json.dumps([VERSION, self.size, list(self.class_names), hashes]).encode())

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, the fingerprint among them."""
        return {**asdict(self), "fingerprint": self.fingerprint}

    def to_json(self) -> str:
        """The text of `meta.json`: one line a key, those of the chunks in one."""
        lines = [f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in self.to_dict().items()]
        return "{\n" + ",\n".join(lines) + "\n}\n"

    @classmethod
    def from_json(cls, text: str) -> "Meta":
        """What `to_json` wrote; ValueError for another version, an edited text and anything else."""
        values = json.loads(text)
        if not isinstance(values, dict) or "version" not in values:
            raise ValueError("it is not the description of packed images")
        if values["version"] != VERSION:
            raise ValueError(f"it has version {values['version']} of the format, this program reads {VERSION}; pack the images again")
        try:
            meta = cls(**{field.name: _READ.get(field.name, _plain)(values[field.name]) for field in fields(cls)})
        except (KeyError, TypeError) as error:
            raise ValueError(f"it is incomplete or edited ({error})") from None
        if values.get("fingerprint") != meta.fingerprint:
            raise ValueError("its fingerprint is not that of its content; delete the folder and pack the images again")
        return meta


def _plain(value: Any) -> Any:
    return value


_READ: Mapping[str, Any] = {
    "class_names": tuple,
    "damaged": lambda values: tuple(Damage(**value) for value in values),
    "chunks": lambda values: tuple(Chunk(**value) for value in values),
}


@dataclass(frozen=True, eq=False, slots=True)
class Packed:
    """A folder of packed images: `images` is a read-only memory map (N, 3, size, size)."""

    meta: Meta
    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    splits: NDArray[np.uint8]


def open_packed(folder: Path, *, verify: bool = False) -> Packed:
    """The images in `folder`, checked: all but the pixels beyond 256 MiB, and those too with `verify`.

    ValueError for no such folder, another version, and files that are cut, exchanged or edited.
    """
    meta = read_meta(folder)
    packed = Packed(
        meta,
        _array(folder / IMAGES, "u1", (meta.images, 3, meta.size, meta.size)),
        np.array(_array(folder / LABELS, "<i8", (meta.images,))),
        np.array(_array(folder / SPLITS, "u1", (meta.images,))),
    )
    for name, values, wanted in ((LABELS, packed.labels, meta.labels_sha256), (SPLITS, packed.splits, meta.splits_sha256)):
        if array_hash(values) != wanted:
            raise _damaged(folder / name, "its content is not what was packed")
    check_splits(packed.labels, packed.splits, meta.class_names)
    ends = np.cumsum([0, *(chunk.images for chunk in meta.chunks)])
    for number in range(len(meta.chunks)) if verify else _sample(meta):
        if array_hash(packed.images[ends[number] : ends[number + 1]]) != meta.chunks[number].sha256:
            raise _damaged(folder / IMAGES, f"images {ends[number]} to {ends[number + 1] - 1} are not what was packed")
    return packed


def read_meta(folder: Path) -> Meta:
    """The description of the images in `folder`; ValueError where there is none that can be used."""
    try:
        return Meta.from_json((folder / META).read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"no packed images at {folder}: {META}: {error.strerror}; `nas data pack` makes them") from None
    except ValueError as error:
        reason = "it is not JSON" if isinstance(error, json.JSONDecodeError | UnicodeDecodeError) else error
        raise ValueError(f"cannot use {folder / META}: {reason}") from None


def array_hash(values: NDArray[Any]) -> str:
    """The SHA-256 of an array's bytes, hexadecimal."""
    return sha256(np.ascontiguousarray(values).data)


def sha256(data: Any) -> str:
    """The SHA-256 of bytes, hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def image_bytes(size: int) -> int:
    """Bytes of one image."""
    return 3 * size * size


def header(images: int, size: int) -> bytes:
    """The first bytes of an images.npy with so many images: always as many, so that it can be written last."""
    buffer = io.BytesIO()
    shape = {"descr": "|u1", "fortran_order": False, "shape": (images, 3, size, size)}
    np.lib.format.write_array_header_1_0(buffer, shape)
    assert buffer.tell() == HEADER_BYTES, "NumPy pads a header to its alignment and leaves room for a longer first axis"
    return buffer.getvalue()


def _array(path: Path, kind: str, shape: tuple[int, ...]) -> NDArray[Any]:
    try:
        values = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise _damaged(path, "it is missing" if isinstance(error, FileNotFoundError) else "it is cut short or no array") from None
    if values.dtype != np.dtype(kind) or values.shape != shape:
        raise _damaged(path, f"it must hold {np.dtype(kind)} {shape}, got {values.dtype} {values.shape}")
    whole = values.nbytes + values.offset
    if path.stat().st_size != whole:
        raise _damaged(path, f"it must have {whole:,} bytes, got {path.stat().st_size:,}")
    return values


def _sample(meta: Meta) -> Sequence[int]:
    """The chunks that are checked at every load: all of a small data set, else the same evenly spaced ones, first and last among them."""
    total = meta.images * image_bytes(meta.size)
    if total <= CHECKED_BYTES:
        return range(len(meta.chunks))
    count = max(2, len(meta.chunks) * CHECKED_BYTES // total)
    return np.linspace(0, len(meta.chunks) - 1, count).round().astype(int).tolist()


def _damaged(path: Path, what: str) -> ValueError:
    return ValueError(f"{path} is damaged: {what}; delete the folder and pack the images again")
