"""Looking into trained networks."""

from pathlib import Path
from typing import Annotated

import typer

from nas.cli.options import Store, StudyName, Table
from studies.records import DEFAULT_STORE


def inspect(
    study: StudyName,
    trial: Annotated[int, typer.Option(help="Number of a trial whose weights were kept; `nas artifacts STUDY` lists them.")],
    image: Annotated[list[str], typer.Option(metavar="IMAGE", help="A file, or validation:0 of the trial's data set; repeat.")],
    stage: Annotated[list[int] | None, typer.Option(help="Stage whose points are kept, 1 to 4; repeat. All by default.")] = None,
    at: Annotated[str | None, typer.Option(metavar="X,Y", help="Pixel of the image to look from; its middle by default.")] = None,
    weights: Annotated[Path | None, typer.Option(help="Trained network, in place of the one that the search recorded.")] = None,
    format: Table = "table",
    store: Store = DEFAULT_STORE,
) -> None:
    """Record where a trained network samples images and what its stages see; the dashboard draws it.

    Example: nas inspect stacking --trial 14 --image sheep.jpg
    """
    from nas.commands import inspect as commands

    commands.inspect(study, trial, commands.look(image, stage, at, weights), store, format)
