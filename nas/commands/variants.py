"""Print costs, write files."""

from collections.abc import Sequence
from pathlib import Path

import typer

from nas.export import Choice
from nas.export import export as write_exports
from nas.export_weights import CARRIERS, WeightsSource
from nas.output import Format
from searchspace.formats import FORMATS, load_variant
from searchspace.memory import Training
from searchspace.switch_flags import with_settings


def cost(text: str, style: str | None, settings: Sequence[str], training: Training, format: Format) -> None:
    """Print what a variant costs and the memory of training it."""
    from nas.cost_table import print_cost

    print_cost(with_settings(load_variant(text, style=style), settings), training, format)


def export(choice: Choice, format: str, out: Path, store: str, weights: WeightsSource | None) -> None:
    """Write variants to files and print the path of each."""
    if format not in (*FORMATS, *CARRIERS):
        programs = [carrier for carrier in CARRIERS if carrier not in FORMATS]
        raise ValueError(f"unknown format {format!r}; known: {', '.join(FORMATS)}, with weights also {', '.join(programs)}")
    for path in write_exports(choice, format=format, out=out, store=store, weights=weights):
        typer.echo(path)
