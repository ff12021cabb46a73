"""The file that an inspection of a trained network leaves: plain arrays of where its layers sample and what each stage sees."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from studies.artifacts import sha256
from studies.records import Artifact

INSPECTION = "inspection"  # the kind of these artifacts
VERSION = 1
FACTS = ("study", "trial", "variant", "network", "fidelity", "images", "image_size", "at", "strides", "centres", "stages", "layers")
WHEN = ("before", "after")  # training
Array = NDArray[Any]


class InspectionError(ValueError):
    """A recorded inspection cannot be used: missing, changed, damaged, or of another version."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """Which layer was inspected: stage and block count from 1, `size` is its map's (height, width)."""

    stage: int
    block: int
    size: tuple[int, int]
    groups: int
    points: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Of its points: (H, W, G, K, 3), the last being x, y and modulation."""
        return (*self.size, self.groups, self.points, 3)


@dataclass(frozen=True, slots=True)
class Inspection:
    """An opened file; arrays are read when they are asked for, and InspectionError says when one is damaged.

    `facts` are plain values: `study`, `trial`, `variant`, `network`, `fidelity`, `images` (their names), `image_size`, `at`, `strides`
    (input pixels from one pixel of a stage's map to the next), `centres` (x, y of the place whose field is stored, for each stage) and
    `stages` (a table of what was found).
    """

    path: Path
    trial: int
    facts: Mapping[str, Any]
    layers: tuple[Layer, ...]

    def image(self, number: int) -> Array:
        """An image as the network saw it: uint8 (H, W, 3)."""
        side = self.facts["image_size"]
        return self._array(_image_key(number), (side, side, 3), "u1")

    def points(self, number: int, layer: Layer) -> Array:
        """Where a layer samples an image: float32 (H, W, G, K, 3), x and y in pixels of the stage's map, and the modulation.

        Pixel p of the map lies at pixel p·stride of the image.
        """
        return self._array(_points_key(number, layer), layer.shape, "f4")

    def receptive_fields(self, when: str) -> Array:
        """The effective receptive field of each stage `before` or `after` training: float32 (4, H, W)."""
        side = self.facts["image_size"]
        return self._array(_field_key(when), (len(self.facts["strides"]), side, side), "f4")

    def _array(self, key: str, shape: tuple[int, ...], kind: str) -> Array:
        with _arrays(self.path, self.trial) as file:
            array: Array = file[key]
            if array.shape != shape or array.dtype.str[1:] != kind:
                raise ValueError(f"{key} must be {kind} {shape}, got {array.dtype.str[1:]} {array.shape}")
            return array


def write_inspection(
    path: Path, facts: Mapping[str, Any], points: Mapping[tuple[int, Layer], Array], *, images: Array, fields: Mapping[str, Array]
) -> None:
    """Write a `.npz` file that `open_inspection` reads.

    `points` float32 (H, W, G, K, 3) by number of the image and layer, `images` uint8 (N, H, W, 3), receptive `fields` float32 (4, H, W)
    by `WHEN`.
    """
    layers = dict.fromkeys(layer for _, layer in points)
    described = [[layer.stage, layer.block, *layer.size, layer.groups, layer.points] for layer in layers]
    arrays = {
        **{_image_key(number): image for number, image in enumerate(images)},
        **{_points_key(number, layer): values for (number, layer), values in points.items()},
        **{_field_key(when): field for when, field in fields.items()},
    }
    text = json.dumps({"version": VERSION, **facts, "layers": described}, allow_nan=False)
    np.savez(path, allow_pickle=False, facts=np.frombuffer(text.encode(), np.uint8), **arrays)


def open_inspection(artifact: Artifact) -> Inspection:
    """A recorded inspection, its checksum compared; InspectionError where it is missing, changed, damaged or of another version."""
    whose, again = f"the inspection of trial {artifact.trial}", "`nas inspect` makes it again"
    try:
        stat = artifact.path.stat()
        found = _checksum(artifact.path, stat.st_mtime_ns, stat.st_size)
    except OSError as error:
        raise InspectionError(f"{whose} is not where it was recorded: {artifact.path.name}: {error.strerror}; {again}") from None
    if found != artifact.sha256:
        raise InspectionError(f"{whose} has changed since it was recorded: {artifact.path.name} hashes to {found[:12]}; {again}")
    with _arrays(artifact.path, artifact.trial) as file:
        facts = json.loads(bytes(file["facts"]))
        version = facts["version"]
        if version == VERSION:
            if missing := [name for name in FACTS if name not in facts]:
                raise ValueError(f"{missing[0]} is missing")
            layers = tuple(
                Layer(stage=stage, block=block, size=(height, width), groups=groups, points=points)
                for stage, block, height, width, groups, points in facts["layers"]
            )
            return Inspection(artifact.path, artifact.trial, facts, layers)
    raise InspectionError(f"{whose} is of version {version}, this program reads {VERSION}; {again}")


@lru_cache(maxsize=8)  # a page that refreshes itself hashes a file once
def _checksum(path: Path, _changed: int, _size: int) -> str:
    return sha256(path)


def _field_key(when: str) -> str:
    return f"receptive_fields_{when}"


def _image_key(number: int) -> str:
    return f"image_{number}"


def _points_key(number: int, layer: Layer) -> str:
    return f"points_{number}_{layer.stage}_{layer.block}"


@contextmanager
def _arrays(path: Path, trial: int) -> Iterator[Mapping[str, Array]]:
    """The arrays of a file by name; every way in which a damaged one shows itself is one InspectionError."""
    try:
        # Opened here: np.load leaves a file open in which it finds no archive.
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
            yield arrays
    except Exception as error:  # damage reaches every part of the readers, and each part has errors of its own
        why = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise InspectionError(f"the inspection of trial {trial} is damaged: {path.name}: {why}; `nas inspect` makes it again") from None
