"""Puts files in place so that nobody ever sees a half of them: one file, or one folder with all that belongs into it."""

import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath

from nas.errors import NasError
from searchspace.formats import read_document

Content = str | bytes | Callable[[Path], object]  # text, bytes, or what writes the file itself


def place(out: Path, files: Mapping[str, Content]) -> Path:
    """Write `files`, by their path below `out`, beside their place and move them there when all are whole; return the file or folder.

    All belong to one entry of `out`: a single file, or a folder. A file or folder of an earlier export is replaced. NasError where `out`
    cannot be written, where the folder holds files that this export does not write, and where the file there is no variant.
    """
    entry = _entry(files)
    target = out / entry
    try:
        out.mkdir(parents=True, exist_ok=True)
        _keep_foreign_file(target)
        _keep_foreign_files(target, {str(PurePosixPath(path).relative_to(entry)) for path in files})
        with tempfile.TemporaryDirectory(prefix=".export-", dir=out) as staging:
            for path, content in files.items():
                _write(Path(staging, path), content)
            _move(Path(staging, entry), target, Path(staging, "replaced"))
    except OSError as error:
        raise NasError(f"cannot write {target}: {error.strerror or error}") from None
    return target


def _entry(files: Mapping[str, Content]) -> str:
    entries = {PurePosixPath(path).parts[0] for path in files}
    inside = all(not PurePosixPath(path).is_absolute() and ".." not in PurePosixPath(path).parts for path in files)
    if len(entries) != 1 or not inside or (len(files) > 1 and entries & set(files)):
        raise ValueError(f"an export is one file or the files of one folder, got {sorted(files)}")
    return entries.pop()


def _keep_foreign_files(target: Path, ours: set[str]) -> None:
    found = {str(path.relative_to(target)) for path in target.rglob("*") if not path.is_dir()} if target.is_dir() else set()
    if foreign := sorted(found - ours):
        raise NasError(f"cannot replace {target}: it holds {foreign[0]}, which this export does not write; choose another folder")


def _keep_foreign_file(target: Path) -> None:
    if not target.is_file():
        return
    try:
        read_document(target)
    except ValueError:
        raise NasError(f"cannot replace {target}: it is no variant, so no export has left it; choose another folder") from None


def _write(path: Path, content: Content) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if callable(content):
        content(path)
    else:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _move(staged: Path, target: Path, aside: Path) -> None:
    """Put `staged` at `target`; an older folder steps aside first, since only an empty one can be replaced, and comes back on failure."""
    older = staged.is_dir() and target.is_dir()
    if older:
        target.rename(aside)
    try:
        staged.replace(target)
    except BaseException:
        if older:
            aside.rename(target)
        raise
