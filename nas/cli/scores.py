"""Scores of untrained networks."""

from typing import Annotated

import typer

from nas.cli.options import Store, Table
from studies.records import DEFAULT_STORE


def scores(
    variants: Annotated[list[str] | None, typer.Argument(metavar="VARIANT", help="C1,C',L1,L3, presets or exported files.")] = None,
    space: Annotated[str | None, typer.Option(help="All feasible candidates of stacking or scaling instead.")] = None,
    score: Annotated[list[str] | None, typer.Option(help="synflow, naswot, grad_norm or zen; repeat. All by default.")] = None,
    dataset: Annotated[
        str | None, typer.Option(help="Its images and classes: digits (default), or shapes:N.", rich_help_panel="Proxy")
    ] = None,
    image_size: Annotated[int | None, typer.Option(help="Side in pixels, at least 32 (default 32).", rich_help_panel="Proxy")] = None,
    channel_divisor: Annotated[int | None, typer.Option(help="C1 and C' are divided by it (default 4).", rich_help_panel="Proxy")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images of the batch (default 32).", rich_help_panel="Proxy")] = None,
    device: Annotated[str | None, typer.Option(help="cpu (default) or cuda.", rich_help_panel="Proxy")] = None,
    seed: Annotated[int, typer.Option(help="Of the weights, the batch and the drawn inputs.", min=0)] = 0,
    store: Store = DEFAULT_STORE,  # every command takes it, so that scripts can pass it throughout
    format: Table = "table",
) -> None:
    """Score untrained proxies of variants, beside what they cost, and say how far the scores agree.

    Example: nas scores --space stacking
    """
    from nas.commands import scores as commands

    proxy = {"dataset": dataset, "image_size": image_size, "channel_divisor": channel_divisor, "batch_size": batch_size, "device": device}
    commands.scores(commands.chosen(variants or [], space), score or [], commands.proxy_of(proxy), seed, format)
