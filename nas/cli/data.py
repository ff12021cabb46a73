"""Image files packed once for training, and what a packed folder holds."""

from pathlib import Path
from typing import Annotated

import typer

from nas.cli.options import Store, Table
from studies.records import DEFAULT_STORE

data_app = typer.Typer(
    name="data", no_args_is_help=True, help="Pack image files for training. Example: nas data pack imagefolder:photos packed"
)


@data_app.command()
def pack(
    source: Annotated[str, typer.Argument(help="imagefolder:PATH, parquet:PATH, cifar10:PATH or cifar100:PATH.")],
    out: Annotated[Path, typer.Argument(help="Folder to make; `--dataset packed:OUT` trains on it.")],
    size: Annotated[int, typer.Option(help="Side in pixels: the short side is resized, the centre kept.")] = 64,
    workers: Annotated[int | None, typer.Option(help="Processes that decode; by default one a processor.", min=1)] = None,
    format: Table = "table",
    store: Store = DEFAULT_STORE,  # every command takes it, so that scripts can pass it throughout
) -> None:
    """Decode a collection of images once; what was stopped goes on. Example: nas data pack imagefolder:photos packed --size 64"""
    from nas.commands import data as commands

    commands.pack(source, out, size, workers, format)


@data_app.command()
def info(
    path: Annotated[Path, typer.Argument(help="Folder that `nas data pack` made.")],
    verify: Annotated[bool, typer.Option("--verify", help="Read and check every image, not a sample of a large folder.")] = False,
    format: Table = "table",
    store: Store = DEFAULT_STORE,
) -> None:
    """Say what packed images hold and where they come from. Example: nas data info packed --verify"""
    from nas.commands import data as commands

    commands.info(path, verify, format)
