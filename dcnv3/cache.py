"""Where compiled kernels are kept: made once, checked before every use, safe when several processes want the same one."""

import atexit
import hashlib
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path

from filelock import FileLock

log = logging.getLogger(__name__)

FOLDER_VARIABLE = "DCNV3_CACHE"
SCRATCH, ABANDONED_AFTER_S = ".dcnv3-", 24 * 3600
_kept: dict[Path, OSError] = {}  # discarded files that could not be removed


def cache_folder() -> Path:
    """`$DCNV3_CACHE`, or `dcnv3` in the user's cache folder; a temporary one for a user without a home."""
    named = os.environ.get(FOLDER_VARIABLE)
    try:
        folder = Path(named) if named else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dcnv3"
        return folder.expanduser().absolute()  # a name without a slash would be looked for among the system's libraries
    except RuntimeError as error:
        return _instead(error)


def cached(name: str, make: Callable[[Path], None]) -> Path:
    """The file `name` of the cache; `make(path)` writes it when it is absent or damaged, in one process of those that wait for it.

    Without a folder to write to, the file is made anew in a temporary one that goes with this process.
    """
    target = cache_folder() / name
    if target not in _kept and _is_intact(target):
        return target
    folder = _instead(_kept[target]) if target in _kept else _writable(target.parent)
    target = folder / name
    with FileLock(folder / f"{name}.lock"):
        if not _is_intact(target):
            _make(target, make)
    return target


def discard(path: Path) -> None:
    """Have the next `cached` make this file anew, in a temporary folder where the old one has to stay."""
    try:
        _digest_file(path).unlink(missing_ok=True)
    except OSError as error:
        _kept[path] = error


def fingerprint(*parts: str | bytes) -> str:
    """Twenty hexadecimal digits that differ when any part does."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()[:20]


def _make(target: Path, make: Callable[[Path], None]) -> None:
    with tempfile.TemporaryDirectory(prefix=SCRATCH, dir=target.parent) as scratch:
        fresh, digest = Path(scratch) / target.name, Path(scratch) / "digest"
        make(fresh)
        digest.write_text(_digest(fresh))
        # The digest goes first: a file beside another's digest is made anew, never trusted.
        os.replace(digest, _digest_file(target))
        os.replace(fresh, target)
    _remove_abandoned(target.parent)


def _remove_abandoned(folder: Path) -> None:
    """What processes left that were killed while they compiled."""
    with suppress(OSError):  # another process may be at it
        for scratch in folder.glob(f"{SCRATCH}*"):
            if scratch.stat().st_mtime < time.time() - ABANDONED_AFTER_S:
                shutil.rmtree(scratch, ignore_errors=True)


def _is_intact(path: Path) -> bool:
    """Loading a library that was cut short can kill the process, so its digest is compared first."""
    try:
        return _digest_file(path).read_bytes() == _digest(path).encode()
    except OSError:
        return False


def _digest_file(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _writable(folder: Path) -> Path:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        return _instead(error)


def _instead(error: Exception) -> Path:
    log.warning("no folder to keep compiled kernels in (%s): they last for this process only; $%s names another", error, FOLDER_VARIABLE)
    return _temporary_folder()


@cache
def _temporary_folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="dcnv3-"))
    atexit.register(_remove_own, folder, os.getpid())
    return folder


def _remove_own(folder: Path, owner: int) -> None:
    """A forked child leaves its parent's folder alone."""
    if os.getpid() == owner:
        shutil.rmtree(folder, ignore_errors=True)
