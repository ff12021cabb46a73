"""Where the trainings of a study leave their state: a folder or URL for each attempt of a trial, which begins with what came before.

A worker that is dying, or was cut off, may write on while another one trains the same trial: into a folder that is its own.
"""

import logging
import os
import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from studies.records import StudyRecord, Trial
from trainer.storage import RemoteFolder, below, discard, is_url, local_path
from trainer.storage import adopt as adopt_url

log = logging.getLogger(__name__)


class AttemptFolders:
    """The folders of one study below `base`, a folder or URL; the moment at which the study was made tells it from others there."""

    def __init__(self, base: str, study: StudyRecord) -> None:
        self._root = below(base, study.created_at.strftime("%Y%m%dT%H%M%S-%f"))

    def of(self, trial: Trial) -> str:
        """The folder or URL of a trial's present attempt, which nobody else writes to."""
        return below(self._root, f"trial-{trial.number}", f"attempt-{trial.attempts:03}-{(trial.driver or 'alone')[:8]}")

    def discard(self, number: int) -> None:
        """Delete what the attempts of a finished trial left."""
        folder = below(self._root, f"trial-{number}")
        if is_url(folder):
            discard(folder)
            return
        shutil.rmtree(folder, ignore_errors=True)
        with suppress(OSError):  # not empty, or not there
            Path(self._root).rmdir()

    def sweep(self, finished: Iterable[int]) -> None:
        """Delete what a killed driver could not, and what a dying worker wrote after its trial had ended."""
        here = self._names()
        for number in finished:
            if f"trial-{number}" in here:
                self.discard(number)

    def _names(self) -> set[str]:
        if not is_url(self._root):
            return {path.name for path in Path(self._root).glob("trial-*")}
        try:
            return {found.base_name for found in RemoteFolder(self._root).listed()}
        except OSError as error:
            log.warning("states of trials that have ended are not looked for: %s", error)
            return set()


def adopt(place: Path | str) -> Path | str:
    """An attempt's folder or URL with the files of the newest attempt before it, unless it has some; on a disk as links.

    Whoever wrote them replaces files and never changes them. A folder that cannot be made or read costs the state, not the trial.
    """
    if isinstance(place, str) and is_url(place):
        return adopt_url(place)
    folder = local_path(place)
    try:
        earlier = [(max(file.stat().st_mtime_ns for file in files), files) for path in folder.parent.iterdir() if (files := _whole(path))]
        folder.mkdir(exist_ok=True)
        for file in max(earlier, key=lambda found: found[0])[1] if earlier and not _whole(folder) else ():
            with suppress(FileNotFoundError):  # its writer, if it is not dead yet, has replaced it by a newer one
                _link(file, folder / file.name)
    except FileNotFoundError:
        pass  # the first attempt
    except OSError as error:
        log.warning("the state of an earlier attempt is not found again: %s: %s", folder, error.strerror)
    return folder


def _whole(folder: Path) -> list[Path]:
    """The files that are complete: others are hidden until they are."""
    return sorted(file for file in folder.iterdir() if file.is_file() and not file.name.startswith(".")) if folder.is_dir() else []


def _link(file: Path, place: Path) -> None:
    try:
        os.link(file, place)
    except OSError:  # not every file system has links
        hidden = place.with_name(f".{place.name}")
        shutil.copy2(file, hidden)
        hidden.replace(place)
