"""Whether a search did better than chance."""

from typing import Annotated

import typer

from nas.cli.options import Store, StudyName, Table
from studies.records import DEFAULT_STORE


def compare(
    name: StudyName,
    against: Annotated[list[str], typer.Option(metavar="random|STUDY", help="Random orders of all trials, or a random study; repeat.")],
    orders: Annotated[int, typer.Option(help="How often chance is tried.", min=100)] = 1000,
    seed: Annotated[int, typer.Option(help="Seed of drawing.", min=0)] = 0,
    store: Store = DEFAULT_STORE,
    format: Table = "table",
) -> None:
    """Compare a search with chance at equal device-seconds, by hypervolume, and say whether it did better.

    Example: nas compare stacking --against random
    """
    from nas.commands import compare as commands

    commands.compare(name, against, orders, seed, store, format)
