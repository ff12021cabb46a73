"""Decode a source of image files once, in parallel processes, into a folder that appears whole or not at all.

A packing that is stopped – Ctrl-C, a crash, a kill – goes on from its finished chunks when it is started again, and ends in the same bytes.
"""

import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import PIL
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from trainer.packing.decoding import decode
from trainer.packing.journal import Done, Journal
from trainer.packing.packed import IMAGES, LABELS, META, SPLITS, VERSION, Chunk, Damage, Meta, array_hash, header, image_bytes
from trainer.packing.processes import ignore_remarks, in_order
from trainer.packing.sources.listing import Listing, Reader
from trainer.proxy_config import MIN_IMAGE_SIZE
from trainer.splits import check_splits

MOST_SIDE = 4096
CHUNK_BYTES, CHUNK_IMAGES = 2**24, 512  # the lesser: little to lose in a crash, enough to be worth sending between processes
SMALL_FILES = 2**20  # bytes allowed for everything but pixels, labels and splits

OnProgress = Callable[[int, int], None]  # images seen, images in all


def pack(listing: Listing, out: Path, *, size: int, workers: int = 1, on_progress: OnProgress | None = None) -> Meta:
    """Decode the images to `size` × `size` pixels into the new folder `out`; with `workers` processes, or in this one where it is 1.

    Until it is whole it lies in `out`.partial. Damaged images are left out and named in what is returned. ValueError where `out` exists,
    its disk has too little room or nothing is left to learn from.
    """
    if not MIN_IMAGE_SIZE <= size <= MOST_SIDE:
        raise ValueError(f"size must lie from {MIN_IMAGE_SIZE} to {MOST_SIDE} pixels, got {size}")
    if workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}")
    _check_absent(out)
    partly = out.with_name(f"{out.name}.partial")
    _check_room(partly, listing, size)
    try:
        (partly / "whole").mkdir(parents=True, exist_ok=True)
        with FileLock(partly / "lock", timeout=0), warnings.catch_warnings():
            ignore_remarks()
            return _pack(listing, _Place(out, partly), size, workers, on_progress or _silent)
    except Timeout:
        raise ValueError(f"another process is packing into {out}") from None
    except MemoryError:
        raise ValueError(
            f"too little memory to decode {listing.source}; what is done stays in {partly}: go on with fewer workers"
        ) from None
    except OSError as error:
        raise ValueError(f"cannot write {out}: {error.strerror or error}; what is done stays in {partly} for another start") from None


def listing_hash(listing: Listing) -> str:
    """What changes when files are added, taken away or changed, or classes renamed; hexadecimal."""
    digest = hashlib.sha256(json.dumps(listing.class_names).encode())
    for stamp in listing.files:
        digest.update(json.dumps([stamp.name, stamp.size, stamp.changed]).encode())
    for values in (listing.labels, listing.splits):
        digest.update(array_hash(values).encode())
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class _Place:
    out: Path
    partly: Path

    @property
    def whole(self) -> Path:
        return self.partly / "whole"


def _pack(listing: Listing, place: _Place, size: int, workers: int, on_progress: OnProgress) -> Meta:
    _check_absent(place.out)  # once more: another process may have finished it before this one had the lock
    plan = hashlib.sha256(json.dumps([VERSION, listing.source, size, _decoder(), listing_hash(listing)]).encode()).hexdigest()
    with Journal(place.partly / "journal", place.whole / IMAGES, plan, image_bytes=image_bytes(size)) as journal:
        chunks = _chunks(len(listing), size)
        seen = chunks[len(journal.done) - 1][1] if journal.done else 0
        on_progress(seen, len(listing))
        todo = chunks[len(journal.done) :]
        tasks = [partial(_decode_chunk, listing.reader(start, stop), start, stop, size) for start, stop in todo]
        for (_, stop), (done, pixels) in zip(todo, in_order(tasks, min(workers, len(tasks))), strict=True):
            journal.append(done, pixels)
            on_progress(stop, len(listing))
        try:
            meta = _finish(listing, journal, place.whole, size)
        except ValueError:
            shutil.rmtree(place.partly)
            raise
    place.whole.rename(place.out)
    shutil.rmtree(place.partly)
    return meta


def _finish(listing: Listing, journal: Journal, folder: Path, size: int) -> Meta:
    """Write all but the pixels; ValueError where the images that are left cannot be learnt from."""
    damaged = [one for done in journal.done for one in done.damaged]
    kept = np.ones(len(listing), bool)
    kept[[number for number, _ in damaged]] = False
    labels, splits = listing.labels[kept], listing.splits[kept]
    if not len(labels):
        _, first = damaged[0]
        raise ValueError(f"every image of {listing.source} is damaged, such as {first.name}: {first.reason}")
    try:
        check_splits(labels, splits, listing.class_names)
    except ValueError as error:
        raise ValueError(f"{listing.source} without its {len(damaged)} damaged images: {error}") from None
    meta = Meta(
        source=listing.source,
        size=size,
        class_names=listing.class_names,
        damaged=tuple(damage for _, damage in damaged),
        smaller=sum(done.smaller for done in journal.done),
        unlabelled=listing.unlabelled,
        decoder=_decoder(),
        labels_sha256=array_hash(labels),
        splits_sha256=array_hash(splits),
        chunks=tuple(done.chunk for done in journal.done),
    )
    journal.finish(header(len(labels), size))
    np.save(folder / LABELS, labels)
    np.save(folder / SPLITS, splits)
    (folder / META).write_text(meta.to_json(), encoding="utf-8")
    for name in (LABELS, SPLITS, META):
        with (folder / name).open("rb") as file:
            os.fsync(file.fileno())
    return meta


def _decode_chunk(reader: Reader, start: int, stop: int, size: int) -> tuple[Done, NDArray[np.uint8]]:
    """The whole images of a chunk without gaps, uint8 (n, 3, size, size)."""
    pixels = np.empty((stop - start, 3, size, size), np.uint8)
    damaged: list[tuple[int, Damage]] = []
    kept = smaller = 0
    for number, (name, payload) in enumerate(reader(), start):
        try:
            pixels[kept], small = decode(payload, size)
        except ValueError as error:
            damaged.append((number, Damage(_printable(name), str(error))))
        else:
            kept, smaller = kept + 1, smaller + small
    return Done(Chunk(kept, array_hash(pixels[:kept])), tuple(damaged), smaller), pixels[:kept]


def _printable(name: str) -> str:
    """A file's name with the bytes that are no text written out."""
    return name.encode("utf-8", "backslashreplace").decode()


def _chunks(images: int, size: int) -> list[tuple[int, int]]:
    step = max(1, min(CHUNK_IMAGES, CHUNK_BYTES // image_bytes(size)))
    return [(start, min(start + step, images)) for start in range(0, images, step)]


def _check_absent(out: Path) -> None:
    if os.path.lexists(out):
        raise ValueError(f"{out} exists; name a folder that does not, or remove it")


def _check_room(partly: Path, listing: Listing, size: int) -> None:
    """ValueError unless the disk has room for what is not there yet."""
    written = partly / "whole" / IMAGES
    needed = len(listing) * (image_bytes(size) + 9) + SMALL_FILES - (written.stat().st_size if written.is_file() else 0)
    disk = next(folder for folder in partly.absolute().parents if folder.exists())
    free = shutil.disk_usage(disk).free
    if needed > free:
        raise ValueError(
            f"too little room in {disk}: {len(listing):,} images at {size} px need {needed / 1e9:,.3g} GB more, "
            f"{free / 1e9:,.3g} GB are free"
        )


def _decoder() -> str:
    return f"Pillow {PIL.__version__}"


def _silent(_seen: int, _total: int) -> None:
    pass
