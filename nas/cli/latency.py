"""How fast variants are, side by side."""

from typing import Annotated

import typer

from nas.cli.options import Store, Table
from studies.records import DEFAULT_STORE


def latency(
    variants: Annotated[list[str], typer.Argument(metavar="VARIANT", help="C1,C',L1,L3, presets (T S B L XL H G) or exported files.")],
    batch: Annotated[str, typer.Option(help="Images at a time, or several sizes such as 1,64.")] = "1",
    size: Annotated[int, typer.Option(help="Side of the images in pixels.")] = 224,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    precision: Annotated[str, typer.Option(help="Of weights and images: float32 or bfloat16.")] = "float32",
    threads: Annotated[int, typer.Option(help="Of the CPU.")] = 1,
    rounds: Annotated[int | None, typer.Option(help="Times that every variant is measured, at least 30; 60 by default.")] = None,
    seconds: Annotated[float | None, typer.Option(help="Time to measure each batch size for, instead of --rounds.")] = None,
    anchor: Annotated[str, typer.Option(help="Variant beside which all are measured.")] = "T",
    seed: Annotated[int, typer.Option(help="Of the order.")] = 0,
    format: Table = "table",
    store: Store = DEFAULT_STORE,
) -> None:
    """Measure variants in turns and rank them; those that cannot be told apart share ranks.

    Example: nas latency T S 64,16,5,16 --batch 1,64 --anchor T
    """
    from nas.commands import latency as commands

    how = {"image_size": size, "device": device, "precision": precision, "threads": threads, "rounds": rounds, "seconds": seconds}
    commands.latency(variants, batch, anchor, {**how, "seed": seed}, format)
