"""What a scaling study tells of the law behind it."""

from typing import Annotated, Literal

import typer

from nas.cli.options import Store, StudyName, Table
from studies.records import DEFAULT_STORE


def fit(
    study: StudyName,
    metric: Annotated[Literal["error", "loss"], typer.Option(help="What the law is of: 1 - top-1, or the validation loss.")] = "error",
    predict: Annotated[str, typer.Option(metavar="PHI", help="φ to predict at, such as 0:6, 1,2,3 or 0:2:0.5.")] = "0:6",
    store: Store = DEFAULT_STORE,
    format: Table = "table",
) -> None:
    """Fit a scaling study's law, name the best (α, β) with what is tied with it, predict larger sizes, and store the fit.

    Example: nas fit scaling
    """
    from nas.commands import fit as commands

    commands.fit(study, metric, predict, store, format)
