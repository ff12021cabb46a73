"""Keep a store in order."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import typer

from nas.api import Study, open_study
from nas.errors import NasError
from studies.database import shown
from studies.records import Artifact, Trial
from studies.store import Store


def rename(name: str, new: str, store: str) -> None:
    """Give a study another name."""
    study = _open(name, store)
    study.store.rename(study.record, new)
    typer.echo(f"study {name!r} is now {new!r}")


def copy(name: str, new: str, store: str) -> None:
    """Copy a study."""
    study = _open(name, store)
    copied = Study(study.store, study.store.copy(study.record, new))
    typer.echo(f"study {new!r} has the {_count(len(copied.trials()), 'trial')} of {name!r}")


def delete(name: str, store: str, *, asks: bool) -> None:
    """Delete a study, and say what of it stays on disk."""
    study = _open(name, store)
    trials, files = study.trials(), study.artifacts()
    what = f"study {name!r} with {_count(len(trials), 'trial')} from {shown(store)}"
    if asks and not _confirmed(what, name):
        typer.echo("nothing was deleted")
        return
    study.store.delete(study.record)
    typer.echo(f"deleted {what}")
    for line in _left_behind(trials, files):
        typer.echo(line)


def trials(name: str, out: Path, store: str) -> None:
    """Write a study's trials to a file."""
    from studies.frames import is_trials_file, write_trials

    frame = _open(name, store).frame()
    if out.exists() and not is_trials_file(out):
        raise NasError(f"{out} is no file of trials, so it stays as it is; choose another --out, or delete it first")
    write_trials(frame, out)
    typer.echo(f"wrote the {_count(len(frame), 'trial')} of study {name!r} to {out}")


def _open(name: str, store: str) -> Study:
    return open_study(name, store=Store(store, create=False))


def _confirmed(what: str, name: str) -> bool:
    if not sys.stdin.isatty():
        raise NasError(f"deleting study {name!r} cannot be taken back, and nobody is there to be asked; add --yes")
    return typer.confirm(f"Delete {what}?")


def _left_behind(trials: Sequence[Trial], files: Sequence[Artifact]) -> Iterator[str]:
    """What the deleted study's trials left on disk, that is there still."""
    there = [file for file in files if file.path.exists()]
    if there:
        folders = ", ".join(sorted({str(file.path.parent) for file in there}))
        yield f"left on disk: {_count(len(there), 'file')} ({sum(file.size for file in there) / 1e6:.1f} MB) in {folders}"
    left = [trial.checkpoint for trial in trials if trial.checkpoint is not None and not trial.state.finished]
    if left:  # BASE/STUDY/trial-N/ATTEMPT
        folders = ", ".join(sorted({path.rsplit("/", 2)[0] for path in left}))
        yield f"left on disk: checkpoints of {_count(len(left), 'unfinished trial')} in {folders}"


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"
