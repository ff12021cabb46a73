"""Keeping a store in order: renaming, copying and deleting studies, and their trials as a file."""

from pathlib import Path
from typing import Annotated

import typer

from nas.cli.options import Store, StudyName
from studies.records import DEFAULT_STORE

NewName = Annotated[str, typer.Argument(metavar="NEW", help="A name that no study of the store has yet.")]


def rename(study: StudyName, new: NewName, store: Store = DEFAULT_STORE) -> None:
    """Give a study another name. Example: nas rename stacking stacking-2026"""
    from nas.commands import housekeeping as commands

    commands.rename(study, new, store)


def copy(study: StudyName, new: NewName, store: Store = DEFAULT_STORE) -> None:
    """Copy a study with its trials, reports and measurements; files stay the first one's. Example: nas copy stacking trial-run"""
    from nas.commands import housekeeping as commands

    commands.copy(study, new, store)


def delete(
    study: StudyName,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    store: Store = DEFAULT_STORE,
) -> None:
    """Delete a study and its trials from the store; files stay on disk. Example: nas delete trial-run --yes"""
    from nas.commands import housekeeping as commands

    commands.delete(study, store, asks=not yes)


def trials(
    study: StudyName,
    out: Annotated[Path, typer.Option(metavar="FILE", help="A .csv or .parquet file; only an earlier file of trials is replaced.")],
    store: Store = DEFAULT_STORE,
) -> None:
    """Write a study's trials to a file, a row each. Example: nas trials stacking --out trials.parquet"""
    from nas.commands import housekeeping as commands

    commands.trials(study, out, store)
