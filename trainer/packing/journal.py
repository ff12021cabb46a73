"""What a packing has finished, kept on disk chunk by chunk, so that a second start goes on from there."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from trainer.packing.packed import HEADER_BYTES, Chunk, Damage


@dataclass(frozen=True, slots=True)
class Done:
    """A finished chunk, its damaged images (with their numbers in the source) and how many were enlarged."""

    chunk: Chunk
    damaged: tuple[tuple[int, Damage], ...]
    smaller: int

    @classmethod
    def from_line(cls, line: bytes) -> Self | None:
        """What a line of the journal says; None for one that a failing machine has spoilt."""
        try:
            values = json.loads(line)
            damaged = tuple((number, Damage(**damage)) for number, damage in values["damaged"])
            return cls(Chunk(**values["chunk"]), damaged, values["smaller"])
        except (ValueError, TypeError, KeyError):
            return None


class Journal:
    """Pixels in a file `images`, of which a file `journal` says how many are whole; a context manager.

    Only what was begun under the same `plan` is gone on with. A chunk's pixels are on the disk before its line in the journal is.
    """

    def __init__(self, journal: Path, images: Path, plan: str, *, image_bytes: int) -> None:
        self._plan, self._image_bytes = plan, image_bytes
        self._journal = journal.open("a+b")
        self._images = images.open("r+b" if images.exists() else "w+b")
        self.done = self._recover()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._journal.close()
        self._images.close()

    def append(self, done: Done, pixels: NDArray[np.uint8]) -> None:
        """Keep a finished chunk."""
        self._images.write(np.ascontiguousarray(pixels).data)
        self._images.flush()
        os.fdatasync(self._images.fileno())
        self._write_line(asdict(done))
        self.done.append(done)

    def finish(self, header: bytes) -> None:
        """Put the header before the pixels, and all of it on the disk."""
        assert len(header) == HEADER_BYTES
        self._images.seek(0)
        self._images.write(header)
        self._images.flush()
        os.fsync(self._images.fileno())

    def _recover(self) -> list[Done]:
        """The finished chunks of the same plan whose pixels are there; whatever follows them is cut off."""
        self._journal.seek(0)
        first, *lines = self._journal.read().split(b"\n")[:-1] or [b""]  # what ends in no line break was cut by the crash
        done: list[Done] = []
        room = self._images.seek(0, os.SEEK_END) - HEADER_BYTES
        same = first == json.dumps({"plan": self._plan}).encode()
        for line in lines if same else ():
            chunk = Done.from_line(line)
            room -= chunk.chunk.images * self._image_bytes if chunk else 0
            if chunk is None or room < 0:
                break
            done.append(chunk)
        self._journal.truncate(sum(len(line) + 1 for line in (first, *lines[: len(done)])) if same else 0)
        if not same:
            self._write_line({"plan": self._plan})
        self._images.truncate(HEADER_BYTES + sum(chunk.chunk.images for chunk in done) * self._image_bytes)
        self._images.seek(0, os.SEEK_END)
        return done

    def _write_line(self, values: Mapping[str, Any]) -> None:
        self._journal.write(json.dumps(values).encode() + b"\n")
        self._journal.flush()
        os.fsync(self._journal.fileno())
