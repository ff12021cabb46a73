"""Where checkpoints lie: a folder on a disk, or below a URL of an object store or of whatever else PyArrow or fsspec reads.

A file appears whole or not at all, wherever it is: moved into place on a disk, uploaded as one object elsewhere.
"""

import logging
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from fnmatch import fnmatch
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import parse_qsl, unquote, urlsplit

from searchspace.formats.plain import one_line
from trainer.whole_file import replacing

if TYPE_CHECKING:
    from pyarrow.fs import FileInfo, FileSystem

log = logging.getLogger(__name__)
NATIVE = ("s3", "gs", "gcs", "hdfs", "viewfs", "abfs", "abfss")  # PyArrow's own; the others are fsspec's
ONE_UPLOAD = ("s3", "gcs", "abfs")  # kinds where an object is not there until its upload has ended, and where moving is copying
SECRETS = ("access_key", "secret_key", "session_token", "account_key", "sas_token", "password", "token")
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://", re.ASCII)


class Folder(Protocol):
    """The files of one training, named alike; nobody else writes there."""

    def names(self) -> list[str]:
        """The names of the whole files, in no order; OSError where they cannot be listed."""

    def reading(self, name: str) -> AbstractContextManager[Path]:
        """A file to be read from a disk; OSError where it cannot be."""

    def writing(self, name: str) -> AbstractContextManager[Path]:
        """A file to be written to a disk, which is in its place afterwards; ValueError where it cannot be."""

    def delete(self, name: str) -> None:
        """Delete a file; OSError where it cannot be."""


def is_url(place: str) -> bool:
    """Whether a place is a URL and not a folder on a disk; `file://` is a folder."""
    found = _SCHEME.match(place)
    return found is not None and found[1] != "file"


def local_path(place: Path | str) -> Path:
    """The folder of a path or a `file://` URL."""
    return Path(unquote(urlsplit(place).path)) if isinstance(place, str) and place.startswith("file://") else Path(place)


def below(place: str, *names: str) -> str:
    """The place with these names inside another, of the same kind; a URL keeps its query."""
    if not is_url(place):
        return str(local_path(place).joinpath(*names))
    start, mark, query = place.partition("?")
    return "/".join((start.rstrip("/"), *names)) + mark + query


def check_place(place: str) -> None:
    """ValueError unless `place` is a folder or a URL that can be opened, and tells no secret: it is stored and shown."""
    if not is_url(place):
        return
    address = urlsplit(place)
    if not address.netloc and not address.path.strip("/"):
        raise ValueError(f"a URL names its bucket or folder, got {place!r}; as in s3://bucket/folder")
    if address.password or (address.username and address.scheme == "s3") or {name for name, _ in parse_qsl(address.query)} & {*SECRETS}:
        raise ValueError(
            f"checkpoints at {address.scheme}://...: a URL with credentials would be stored with the study; give them to every worker by "
            "its environment instead, or by a profile (for s3 AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY)"
        )
    if address.scheme not in NATIVE:
        import fsspec

        try:
            fsspec.get_filesystem_class(address.scheme)
        except (ImportError, ValueError) as error:
            raise ValueError(f"checkpoints at {place!r} cannot be opened: {one_line(error)}") from None


def open_folder(place: Path | str, pattern: str) -> Folder:
    """The files named like `pattern` at a path or URL; nothing is looked at yet."""
    return RemoteFolder(place, pattern) if isinstance(place, str) and is_url(place) else LocalFolder(local_path(place), pattern)


class LocalFolder:
    """A folder on a disk; a file system shared by machines is one too."""

    def __init__(self, path: Path, pattern: str) -> None:
        self._path, self._pattern = path, pattern

    def __str__(self) -> str:
        return str(self._path)

    def names(self) -> list[str]:
        """The files that are there."""
        return [path.name for path in self._path.glob(self._pattern)]

    @contextmanager
    def reading(self, name: str) -> Iterator[Path]:
        """The file itself."""
        yield self._path / name

    @contextmanager
    def writing(self, name: str) -> Iterator[Path]:
        """A file beside its place; what a killed process has left unfinished goes."""
        with replacing(self._path / name) as temporary:
            yield temporary
        for unfinished in self._path.glob(f".{self._pattern}.*"):
            shutil.rmtree(unfinished, ignore_errors=True)

    def delete(self, name: str) -> None:
        """Delete a file."""
        (self._path / name).unlink(missing_ok=True)


class RemoteFolder:
    """What lies below a URL; files pass through a temporary folder of this machine."""

    def __init__(self, url: str, pattern: str = "*") -> None:
        self._url, self._pattern = url, pattern

    def __str__(self) -> str:
        return self._url.partition("?")[0]

    def names(self) -> list[str]:
        """The objects that are there, directly below the URL."""
        return [found.base_name for found in self.listed() if found.is_file and fnmatch(found.base_name, self._pattern)]

    @contextmanager
    def reading(self, name: str) -> Iterator[Path]:
        """A copy of the object."""
        import pyarrow.fs as arrow

        files, path = self._root
        with tempfile.TemporaryDirectory(prefix="nas-checkpoint-") as folder:
            copy = Path(folder, name)
            arrow.copy_files(f"{path}/{name}", str(copy), source_filesystem=files, destination_filesystem=arrow.LocalFileSystem())
            yield copy

    @contextmanager
    def writing(self, name: str) -> Iterator[Path]:
        """A file that is uploaded when it is written."""
        try:
            with tempfile.TemporaryDirectory(prefix="nas-checkpoint-") as folder:
                written = Path(folder, name)
                yield written
                self._upload(written)
        except OSError as error:
            raise ValueError(f"cannot write {self}/{name}: {one_line(error)}") from None

    def delete(self, name: str) -> None:
        """Delete an object that is there."""
        files, path = self._root
        files.delete_file(f"{path}/{name}")

    def listed(self, *, deep: bool = False) -> list["FileInfo"]:
        """What lies below the URL, nothing where nothing does; OSError where that cannot be known."""
        import pyarrow.fs as arrow

        files, path = self._root
        return list(files.get_file_info(arrow.FileSelector(path, allow_not_found=True, recursive=deep)))

    def clear(self) -> None:
        """Delete all that lies below the URL."""
        if self.listed():
            files, path = self._root
            files.delete_dir(path)

    def take(self, found: Iterable["FileInfo"]) -> None:
        """Copy objects of the same store here, which passes through no machine of ours."""
        files, path = self._root
        for each in found:
            files.copy_file(each.path, f"{path}/{each.base_name}")

    def _upload(self, written: Path) -> None:
        import pyarrow

        files, path = self._root
        target = f"{path}/{written.name}"
        at_once = files.type_name in ONE_UPLOAD
        first = target if at_once else f"{path}/.{written.name}"
        if not at_once:
            files.create_dir(path, recursive=True)
        with pyarrow.memory_map(str(written)) as source, files.open_output_stream(first) as stream:
            stream.write(source.read_buffer())
        if not at_once:
            files.move(first, target)

    @cached_property
    def _root(self) -> tuple["FileSystem", str]:
        import pyarrow.fs as arrow

        if urlsplit(self._url).scheme in NATIVE:
            files, path = arrow.FileSystem.from_uri(self._url)
            return files, path.rstrip("/")
        import fsspec

        files, path = fsspec.core.url_to_fs(self._url)
        return arrow.PyFileSystem(arrow.FSSpecHandler(files)), path.rstrip("/")


def adopt(url: str) -> str:
    """A URL with the files of the newest sibling of its folder, copied within the store unless it has some already.

    A store that cannot be reached costs the state, not the training: a warning says so.
    """
    place, _, query = url.partition("?")
    parent, _, own = place.rstrip("/").rpartition("/")
    try:
        siblings: dict[str, list[FileInfo]] = {}
        for found in RemoteFolder(f"{parent}?{query}" if query else parent).listed(deep=True):
            if found.is_file and not found.base_name.startswith("."):
                siblings.setdefault(found.path.split("/")[-2], []).append(found)
        if siblings and own not in siblings:
            RemoteFolder(url).take(siblings[max(siblings, key=lambda name: (max(file.mtime_ns or 0 for file in siblings[name]), name))])
    except OSError as error:
        log.warning("the state of an earlier attempt is not found again: %s: %s", place, one_line(error))
    return url


def discard(url: str) -> None:
    """Delete all that lies below a URL; a store that cannot be reached keeps it."""
    try:
        RemoteFolder(url).clear()
    except OSError as error:
        log.warning("%s is not deleted: %s", url.partition("?")[0], one_line(error))
