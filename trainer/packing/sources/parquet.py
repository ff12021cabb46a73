"""Image tables as Hugging Face writes them: Parquet files with a column of encoded images and one of labels."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from trainer.packing.sources.listing import FileStamp, Listing, Payload, Reader
from trainer.splits import SPLITS, TEST

if TYPE_CHECKING:
    import pyarrow

IMAGE_COLUMNS = ("image", "img")
LABEL_COLUMNS = ("label", "fine_label")
SPLIT_NAME = re.compile(r"(train|validation|test)(?![a-z])")


@dataclass(frozen=True, slots=True)
class Table:
    """One file: its columns, class names if it has any, labels by row, and the number of rows in each of its row groups."""

    path: Path
    stamp: FileStamp
    image: str
    class_names: tuple[str, ...] | None
    labels: NDArray[np.int64]
    groups: tuple[int, ...]


def list_parquet(path: Path) -> Listing:
    """The images in a file, or in a folder of files called train-*, validation-* and test-*; ValueError for other tables.

    A test split whose labels are all −1, so withheld, is left out.
    """
    paths = _files(path)
    tables = [_table(file) for file in paths]
    codes = _split_codes(paths) if path.is_dir() else [0]
    shown = [(table, code) for table, code in zip(tables, codes, strict=True) if code != TEST or (table.labels >= 0).any()]
    labels = np.concatenate([table.labels for table, _ in shown] or [np.zeros(0, np.int64)])
    if not len(labels):
        raise ValueError(f"no labelled images in {path}")
    names, labels = _classes([table for table, _ in shown], labels)
    return Listing(
        class_names=names,
        labels=labels,
        splits=np.concatenate([np.full(len(table.labels), code, np.uint8) for table, code in shown]),
        files=tuple(table.stamp for table in tables),
        reader=partial(_reader, _row_groups([table for table, _ in shown])),
        unlabelled=sum(len(table.labels) for table in tables) - len(labels),
    )


def _files(path: Path) -> list[Path]:
    """The file itself, or those in a folder or in its folder `data`."""
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise ValueError(f"no file or folder at {path}")
    files = sorted(path.glob("*.parquet")) or sorted((path / "data").glob("*.parquet"))
    if not files:
        raise ValueError(f"no files *.parquet in {path} or in its folder data")
    return files


def _split_codes(paths: Sequence[Path]) -> list[int]:
    """The split of every file by its name; without any names of splits, all is for training."""
    found = [SPLIT_NAME.match(path.name) for path in paths]
    if not any(found):
        return [0] * len(paths)
    for path, match in zip(paths, found, strict=True):
        if match is None:
            raise ValueError(f"{path} begins with none of train, validation, test, as other files beside it do")
    return [SPLITS.index(match[1]) for match in found if match is not None]


def _table(path: Path) -> Table:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            schema = file.schema_arrow
            image = _column(path, schema, IMAGE_COLUMNS, _holds_images, "encoded images (binary, or a struct with binary `bytes`)")
            label = _column(path, schema, LABEL_COLUMNS, pa.types.is_integer, "whole numbers")
            column = file.read(columns=[label]).column(label)
            groups = tuple(file.metadata.row_group(number).num_rows for number in range(file.num_row_groups))
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"cannot read {path}: {str(error).splitlines()[0]}") from None
    if column.null_count:
        raise ValueError(f"column {label!r} of {path} must have a label in every row, got {column.null_count} without")
    labels = column.to_numpy().astype(np.int64)
    return Table(path, FileStamp.of(path.name, path.stat()), image, _names_in(schema, label), labels, groups)


def _column(path: Path, schema: "pyarrow.Schema", names: Sequence[str], fits: Any, wanted: str) -> str:
    name = next((name for name in names if name in schema.names), None)
    if name is None:
        raise ValueError(f"{path} has no column {' or '.join(names)}; it has {', '.join(schema.names)}")
    if not fits(schema.field(name).type):
        raise ValueError(f"column {name!r} of {path} must hold {wanted}, got {schema.field(name).type}")
    return name


def _holds_images(kind: Any) -> bool:
    from pyarrow import types

    if types.is_struct(kind):
        index = kind.get_field_index("bytes")
        return index >= 0 and _holds_images(kind.field(index).type)
    return types.is_binary(kind) or types.is_large_binary(kind)


def _names_in(schema: "pyarrow.Schema", label: str) -> tuple[str, ...] | None:
    """The names that Hugging Face keeps for a column of class labels."""
    try:
        names = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"][label]["names"]
    except (KeyError, TypeError, ValueError):
        return None
    return tuple(map(str, names)) if isinstance(names, list) else None


def _classes(tables: Sequence[Table], labels: NDArray[np.int64]) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Class names and labels counted from 0; without names the labels themselves are the names, in order."""
    names = tables[0].class_names
    for table in tables:
        if table.class_names != names:
            raise ValueError(f"{table.path} and {tables[0].path} name different classes")
    if names is None:
        values, labels = np.unique(labels, return_inverse=True)
        return tuple(map(str, values)), labels.astype(np.int64)
    if labels.min() < 0 or labels.max() >= len(names):
        wrong = labels.min() if labels.min() < 0 else labels.max()
        raise ValueError(f"labels must lie from 0 to {len(names) - 1}, got {wrong} in {tables[0].path.parent}")
    return names, labels


@dataclass(frozen=True, slots=True)
class RowGroup:
    """A part of a file that is read as a whole, and the number of its first row in the file and among all images."""

    path: str
    image: str
    changed: int
    number: int
    row: int
    first: int
    rows: int


def _row_groups(tables: Sequence[Table]) -> list[RowGroup]:
    groups, first = [], 0
    for table in tables:
        row = 0
        for number, rows in enumerate(table.groups):
            groups.append(RowGroup(str(table.path), table.image, table.stamp.changed, number, row, first, rows))
            row, first = row + rows, first + rows
    return groups


def _reader(groups: Sequence[RowGroup], start: int, stop: int) -> Reader:
    wanted = [group for group in groups if group.first < stop and start < group.first + group.rows]
    return partial(_read, wanted, start, stop)


def _read(groups: Sequence[RowGroup], start: int, stop: int) -> Iterator[tuple[str, Payload]]:
    for group in groups:
        low, high = max(start - group.first, 0), min(stop - group.first, group.rows)
        for row, value in enumerate(_images(group).slice(low, high - low).to_pylist(), group.row + low):
            data = value["bytes"] if isinstance(value, dict) else value
            yield f"{Path(group.path).name}:{row}", b"" if data is None else data


@lru_cache(maxsize=1)  # neighbouring chunks lie in one row group, which is decompressed as a whole
def _images(group: RowGroup) -> "pyarrow.ChunkedArray":
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(group.path) as file:
            return file.read_row_group(group.number, columns=[group.image]).column(group.image)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"cannot read row group {group.number} of {group.path}: {str(error).splitlines()[0]}") from None
