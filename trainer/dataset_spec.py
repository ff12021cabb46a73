"""What a data set is called, as in `digits`, `shapes:2000,size=48` or `imagefolder:PATH`, checked without PyTorch and without the disk."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, astuple, dataclass, fields
from pathlib import PurePath
from typing import Any, get_type_hints

from trainer.shapes import ShapesSpec

Knobs = ShapesSpec | None

MIN_PER_CLASS = 5  # fewer cannot be split 60/20/20 with every class in every part
UNFIT = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")  # control characters, and bytes that are no text: no study could store them


@dataclass(frozen=True, slots=True)
class Source:
    """Whether a data set's images are drawn rather than collected, what can be set about them, and whether they lie in files."""

    synthetic: bool
    knobs: type[ShapesSpec] | None = None
    files: bool = False


SOURCES: Mapping[str, Source] = {
    "digits": Source(synthetic=False),
    "shapes": Source(synthetic=True, knobs=ShapesSpec),
    "imagefolder": Source(synthetic=False, files=True),
    "cifar10": Source(synthetic=False, files=True),
    "cifar100": Source(synthetic=False, files=True),
    "parquet": Source(synthetic=False, files=True),
    "packed": Source(synthetic=False, files=True),
}


@dataclass(frozen=True, slots=True)
class DatasetSpec:
    """A data set by name with the knobs that it is drawn with or the path of its files; its `str` is the canonical text."""

    name: str
    knobs: Knobs = None
    path: str | None = None

    def __post_init__(self) -> None:
        if self.name not in SOURCES:
            raise ValueError(f"unknown data set {self.name!r}; known: {', '.join(SOURCES)}")
        if type(self.knobs) is not (SOURCES[self.name].knobs or type(None)):
            raise ValueError(f"wrong knobs for data set {self.name!r}: {self.knobs}")
        if SOURCES[self.name].files:
            _check_path(self.name, self.path)
        elif self.path is not None:
            raise ValueError(f"data set {self.name!r} takes no path, got {self.path!r}")
        if self.knobs is not None and self.knobs.samples < MIN_PER_CLASS * self.knobs.classes:
            raise ValueError(
                f"samples must be at least {MIN_PER_CLASS} per class, got samples={self.knobs.samples}, classes={self.knobs.classes}; "
                f"least: {MIN_PER_CLASS * self.knobs.classes}"
            )

    @property
    def synthetic(self) -> bool:
        """Whether the images are drawn rather than collected."""
        return SOURCES[self.name].synthetic

    def __str__(self) -> str:
        if self.path is not None:
            return f"{self.name}:{self.path}"
        if self.knobs is None:
            return self.name
        first, *rest = astuple(self.knobs)
        names = [field.name for field in fields(self.knobs)[1:]]
        return ",".join([f"{self.name}:{first}", *(f"{name}={value}" for name, value in zip(names, rest, strict=True))])


def parse_dataset(spec: str) -> DatasetSpec:
    """The data set that `spec` names; ValueError for an unknown name (listing the known ones) or a bad knob (naming it)."""
    name, _, text = (part.strip() for part in spec.partition(":"))
    if name not in SOURCES:
        raise ValueError(f"unknown data set {name!r} in {spec!r}; known: {', '.join(SOURCES)}")
    try:
        if SOURCES[name].files:
            return DatasetSpec(name, path=str(PurePath(text)) if text else None)
        return DatasetSpec(name, _parse_knobs(SOURCES[name].knobs, text))
    except ValueError as error:
        raise ValueError(f"malformed data set {spec!r}: {error}") from None


def _check_path(name: str, path: str | None) -> None:
    """A path stays as it was written, relative or with a `~`: machines that share a study need not share their folders."""
    if not path:
        raise ValueError(f"its path is missing; write {name}:PATH")
    if path != path.strip() or UNFIT.search(path):
        raise ValueError(f"a path neither begins nor ends with white space and holds no control characters, got {path!r}")
    if path != str(PurePath(path)):
        raise ValueError(f"a path is written without needless slashes and dots, got {path!r}; write {str(PurePath(path))!r}")


def _parse_knobs(record: type[ShapesSpec] | None, text: str) -> Knobs:
    if record is None:
        if text:
            raise ValueError(f"it takes no knobs, got {text!r}")
        return None
    kinds = get_type_hints(record)
    values: dict[str, Any] = {}
    for name, value in _assignments(text, first=next(iter(kinds))):
        if name not in kinds:
            raise ValueError(f"unknown knob {name!r}; known: {', '.join(kinds)}")
        if name in values:
            raise ValueError(f"knob {name!r} is given twice")
        values[name] = _number(name, value, kinds[name])
    missing = [field.name for field in fields(record) if field.default is MISSING and field.name not in values]
    if missing:
        raise ValueError(f"{missing[0]} is missing; write it after the colon, such as 2000")
    return record(**values)


def _assignments(text: str, *, first: str) -> Iterator[tuple[str, str]]:
    """The (name, value) pairs of `2000,size=32`; a bare first value belongs to the knob `first`."""
    for position, item in enumerate(text.split(",") if text else ()):
        name, equals, value = item.partition("=")
        if equals:
            yield name.strip(), value.strip()
        elif position == 0:
            yield first, item.strip()
        else:
            raise ValueError(f"a knob reads name=value, got {item!r}")


def _number(name: str, text: str, kind: type) -> int | float:
    try:
        return kind(text)
    except ValueError:
        wanted = "a whole number" if kind is int else "a number"
        raise ValueError(f"{name} must be {wanted}, got {name}={text!r}") from None
