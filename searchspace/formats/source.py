"""A file's text and plain values, read within bounds and without running anything."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from searchspace.formats.literals import parse_assignments
from searchspace.formats.plain import check_plain, one_line, parse_json
from searchspace.formats.plain_yaml import parse_yaml

MAX_BYTES = 1_000_000
CONFIG_FILE = "config.json"
PROVENANCE_FILE = "provenance.json"
FOLDER_FILES = (CONFIG_FILE, PROVENANCE_FILE)  # what a folder is read from, the first that it has
ASSIGNMENTS = ("model", "variant")  # all that is taken from a Python configuration


@dataclass(frozen=True, slots=True)
class Source:
    """A file's path, its text and the plain values in it; a Python configuration's may hold `Computed` ones."""

    path: Path
    text: str
    values: Mapping[str, Any]


def read_source(path: Path) -> Source:
    """The text and values of a YAML, JSON or Python file; ValueError says what is wrong, without naming the file."""
    text = _text(path)
    values = _parser(path, text)(text)
    if not isinstance(values, Mapping):
        raise ValueError(f"expected a mapping, got {type(values).__name__}")
    return Source(path, text, values)


def read_mapping(path: Path) -> Any:
    """The plain values in a YAML or JSON file of at most 1 MB; ValueError names the file and what is wrong in it."""
    try:
        text = _text(path)
        return _plain(parse_json if path.suffix == ".json" else parse_yaml)(text)
    except ValueError as error:
        raise ValueError(f"{path}: {one_line(error)}") from None


def file_of(path: Path) -> Path:
    """The file itself, or of a folder the one that says what is in it."""
    if not path.is_dir():
        return path
    return next((path / name for name in FOLDER_FILES if (path / name).is_file()), path / CONFIG_FILE)


def is_file(text: str) -> bool:
    """Whether a text names a file; a text that cannot even be a name does not."""
    try:
        return Path(text).is_file()
    except (OSError, ValueError):
        return False


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ValueError(error.strerror or str(error)) from None
    if len(data) > MAX_BYTES:
        raise ValueError(f"larger than {MAX_BYTES:,} bytes")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"not readable as UTF-8: byte {error.start}") from None


def _parser(path: Path, text: str) -> Callable[[str], Any]:
    if path.suffix == ".py":
        return lambda source: parse_assignments(source, ASSIGNMENTS)
    looks_like_json = path.suffix not in (".yaml", ".yml") and text.lstrip().startswith("{")
    return _plain(parse_json if path.suffix == ".json" or looks_like_json else parse_yaml)


def _plain(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    def checked(text: str) -> Any:
        values = parse(text)
        check_plain(values)
        return values

    return checked
