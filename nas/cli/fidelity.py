"""How far a cheap proxy can be trusted."""

from typing import Annotated, Literal

import typer

from nas.cli.options import Store, Table
from studies.records import DEFAULT_STORE


def fidelity(
    studies: Annotated[list[str], typer.Argument(metavar="STUDY", help="Cheap studies of one proxy, one for each seed.")],
    reference: Annotated[list[str], typer.Option(metavar="STUDY", help="Dear study to compare with; repeat, one for each seed.")],
    by: Annotated[Literal["top1", "loss"], typer.Option(help="Validation metric that ranks.")] = "top1",
    top: Annotated[list[int] | None, typer.Option(metavar="K", help="Regret of the best K; repeat. Default: 1, 3, 5.", min=1)] = None,
    seed: Annotated[int, typer.Option(help="Seed of resampling.", min=0)] = 0,
    store: Store = DEFAULT_STORE,
    format: Table = "table",
) -> None:
    """Certify how well cheap proxies rank variants, by dear ones, and say what cannot be claimed.

    Example: nas fidelity cheap-0 cheap-1 --reference dear-0 --reference dear-1
    """
    from nas.commands import fidelity as commands

    commands.fidelity(studies, reference, by, top, seed, store, format)
