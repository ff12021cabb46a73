"""What trained networks know, as files beside the store: which trials keep theirs, and what is recorded of each."""

import logging
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

from nas.errors import NasError
from nas.job import weights_file
from searchspace.formats import file_stem
from studies.constraints import constraints_of
from studies.database import folder_beside
from studies.pareto import pareto_front
from studies.records import Artifact, StudyRecord, Trial, TrialState
from studies.seeds import gathered, seeds_of
from studies.store import Store

Keep = Literal["front", "all", "none"]
WEIGHTS = "weights"  # the kind of these artifacts
log = logging.getLogger(__name__)


class KeptWeights:
    """The files of weights of one study in `folder`: those of all complete trials, or with `front` of its Pareto front only.

    With several seeds a point of the front is the mean of its candidate's trials, and all of them keep theirs; a candidate of which a seed
    is still to end may yet come to stand there.
    Workers write a file as the last thing of a training; a file that cannot be read, recorded or deleted costs a warning, never a trial.
    No file outside `folder` is ever deleted.
    """

    def __init__(self, store: Store, study: StudyRecord, folder: Path, keep: Keep) -> None:
        self._store, self._study = store, study
        self._folder = folder
        self._keep = keep
        self._recorded = recorded_weights(store, study)

    def file(self, number: int) -> Path:
        """Where a trial's weights go."""
        return self._folder / weights_file(self._study.name, number)

    def resume(self, stored: Sequence[Trial]) -> None:
        """Put in order what a killed search left: no file of an unfinished trial stays, none of a finished one goes unrecorded."""
        for trial in stored:
            if trial.state is TrialState.COMPLETE:
                if trial.number not in self._recorded and self.file(trial.number).exists():
                    self.record(trial)
            elif trial.started_at is not None:  # or nobody can have written for it
                self._discard(trial.number)
                self._clear_unfinished(trial.number)
        self._prune(stored)

    def record(self, trial: Trial) -> None:
        """Record the file that a trial's worker has written."""
        try:
            self._recorded[trial.number] = self._store.artifacts.record(trial, WEIGHTS, self.file(trial.number))
        except OSError as error:
            log.warning("the weights of trial %d are not kept: %s: %s", trial.number, self.file(trial.number), error.strerror)

    def settle(self, ended: Trial, trained: Sequence[Trial]) -> None:
        """Give up what a trial that has just ended shall not keep, or what it made others lose."""
        if ended.state is not TrialState.COMPLETE:
            self._discard(ended.number)
        if ended.state is TrialState.COMPLETE or seeds_of(self._study) > 1:
            self._prune(trained)

    def _prune(self, trained: Sequence[Trial]) -> None:
        """Where only the front's are kept, give up the weights of trials that do not stand on it."""
        if self._keep != "front":
            return
        candidates = gathered(trained, seeds=seeds_of(self._study))
        front = pareto_front([standing for standing, _ in candidates], self._study.objectives, constraints_of(self._study))
        best = {standing.number for standing in front}
        kept = [trials for standing, trials in candidates if standing.number in best or not standing.state.finished]
        here = {number for number, artifact in self._recorded.items() if artifact.path == self.file(number).resolve()}
        for number in sorted(here - {trial.number for trials in kept for trial in trials}):
            self._discard(number)

    def _discard(self, number: int) -> None:
        """Delete a trial's weights: first what is recorded of them, then the file."""
        if (artifact := self._recorded.pop(number, None)) is not None:
            self._store.artifacts.forget([artifact])
        file = self.file(number)
        try:
            file.unlink(missing_ok=True)
        except OSError as error:
            log.warning("the weights of trial %d are left behind: %s: %s", number, file, error.strerror)

    def _clear_unfinished(self, number: int) -> None:
        """Remove what a worker that was killed while writing left, as `trainer.whole_file` calls it."""
        for folder in self._folder.glob(f".{self.file(number).name[:100]}.*"):
            shutil.rmtree(folder, ignore_errors=True)


def folder_of(url: str, study: str, chosen: Path | str | None) -> Path:
    """The absolute path of the chosen folder; without one `nas-weights/STUDY` beside the store `nas.db`."""
    return folder_beside(url, WEIGHTS) / file_stem(study) if chosen is None else Path(chosen).resolve()


def take_folder(url: str, study: StudyRecord, chosen: Path | str | None) -> Path:
    """The folder for a study's weights, `folder_of` it, with a mark that it is this study's; NasError where it cannot be written.

    The mark is the moment at which a study was made, which tells it from others of its name: those of other stores, and those that were
    renamed or deleted. Where such a one has the folder it keeps it with all its files, and the study gets one that is named for the moment.
    """
    folder, made = folder_of(url, study.name, chosen), study.created_at.isoformat()
    beside = folder.parent if chosen is None else folder
    own = beside / f"{file_stem(study.name)}-{study.created_at:%Y%m%dT%H%M%S-%f}"
    try:
        if own.exists() or _owner(folder, study.name) not in ("", made):
            log.warning("%s is for the weights of another study %r; those of this one go to %s", folder, study.name, own)
            folder = own
        if not _owner(folder, study.name):
            folder.mkdir(parents=True, exist_ok=True)
            _mark(folder, study.name).write_text(made)
    except OSError as error:
        raise _not_writable(folder, error) from None
    return folder


def _owner(folder: Path, study: str) -> str:
    """When the study of this name was made that has taken a folder; empty where none has."""
    mark = _mark(folder, study)
    return mark.read_text() if mark.exists() else ""


def _mark(folder: Path, study: str) -> Path:
    return folder / f".{file_stem(study)}.study"


def check_keep(keep: str) -> None:
    """ValueError for anything but `front`, `all` and `none`."""
    *others, last = get_args(Keep)
    if keep not in (*others, last):
        raise ValueError(f"keep_weights must be {', '.join(others)} or {last}, got {str(keep)!r}; a folder is a weights_folder")


def check_writable(folder: Path) -> None:
    """NasError unless `folder`, or the nearest one above it that is there, takes files; makes nothing."""
    try:
        there = next(path for path in (folder, *folder.parents) if path.exists())
        tempfile.TemporaryFile(dir=there).close()
    except OSError as error:
        raise _not_writable(folder, error) from None


def _not_writable(folder: Path, error: OSError) -> NasError:
    return NasError(
        f"cannot write to the folder {folder}: {error.strerror}; choose another one (train: --out), or search with --keep-weights none"
    )


def recorded_weights(store: Store, study: StudyRecord) -> dict[int, Artifact]:
    """What the store knows of the weights of a study's trials, by their number."""
    return {artifact.trial: artifact for artifact in store.artifacts.of(study) if artifact.kind == WEIGHTS}
