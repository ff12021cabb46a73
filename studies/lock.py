"""One process at a time for a study in a file: the operating system holds the lock, so that a killed driver lets go by dying."""

import fcntl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

_guard = threading.Lock()
_held: dict[Path, tuple[BinaryIO, set[int]]] = {}  # closing a file lets go of all its locks of the process: one is open for all studies


@contextmanager
def exclusive(path: str, study_id: int) -> Iterator[bool]:
    """Whether the study is now ours alone, by one byte of a file beside the database (in it SQLite keeps locks of its own)."""
    file = Path(path).resolve()
    held = _take(file, study_id)
    try:
        yield held
    finally:
        if held:
            _let_go(file, study_id)


def _take(path: Path, study_id: int) -> bool:
    with _guard:
        file, studies = _held.get(path) or (path.open("ab"), set())
        if taken := study_id not in studies and _lock(file, study_id):
            studies.add(study_id)
            _held[path] = file, studies
        elif not studies:
            file.close()
        return taken


def _lock(file: BinaryIO, study_id: int) -> bool:
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, study_id)
    except (BlockingIOError, PermissionError):
        return False
    return True


def _let_go(path: Path, study_id: int) -> None:
    with _guard:
        file, studies = _held[path]
        fcntl.lockf(file, fcntl.LOCK_UN, 1, study_id)
        studies.remove(study_id)
        if not studies:
            file.close()
            del _held[path]
