"""A study as one file to read without a server."""

from pathlib import Path
from typing import Annotated

import typer

from nas.cli.options import Store, StudyName
from studies.records import DEFAULT_STORE


def report(
    study: StudyName,
    out: Annotated[Path, typer.Option(help="File to write.")] = Path("report.html"),
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is no report.")] = False,
    store: Store = DEFAULT_STORE,
) -> None:
    """Write a study's figures, trials and provenance as one HTML file that opens offline.

    Example: nas report stacking --out report.html
    """
    from nas.commands import report as commands

    commands.report(study, out, store, force=force)
