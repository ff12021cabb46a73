"""What a variant costs, its larger relatives, and its files."""

from pathlib import Path
from typing import Annotated

import typer

from nas.cli.options import Settings, Store, Style, Table
from studies.records import DEFAULT_STORE


def cost(
    variant: Annotated[str, typer.Argument(help="C1,C',L1,L3, a preset (T S B L XL H G) or an exported file.")],
    style: Style = None,
    image_size: Annotated[int, typer.Option(help="Side of the image in pixels.")] = 224,
    classes: Annotated[int, typer.Option(help="Classes of the head.")] = 1000,
    settings: Settings = None,
    batch: Annotated[int, typer.Option(help="Images a training step, for its memory.")] = 64,
    precision: Annotated[str, typer.Option(help="Of training: float32 or bfloat16 (autocast).")] = "float32",
    device: Annotated[str, typer.Option(help="Of training: cuda or cpu, whose autocast keeps less.")] = "cuda",
    format: Table = "table",
    store: Store = DEFAULT_STORE,  # every command takes it, so that scripts can pass it throughout
) -> None:
    """Count a variant's parameters, FLOPs and activations exactly, price what could grow, predict the memory of training.

    Example: nas cost 64,16,4,18 --set kernel_size=5
    """
    from nas.commands import variants as commands
    from searchspace.memory import Training

    how = Training(batch_size=batch, image_size=image_size, num_classes=classes, precision=precision, device=device)
    commands.cost(variant, style, settings or [], how, format)


def scale(
    phi: Annotated[str, typer.Option(help="φ, or several: 1,2,3.")] = "1",
    base: Annotated[str, typer.Option(help="Variant to scale.")] = "T",
    alpha: Annotated[float, typer.Option(help="Depth grows by α^φ.")] = 1.09,
    beta: Annotated[float, typer.Option(help="Width grows by β^φ.")] = 1.36,
    group_channels: Annotated[int | None, typer.Option(help="C' of the result; the base's by default.")] = None,
    style: Style = None,
    format: Table = "table",
    store: Store = DEFAULT_STORE,
) -> None:
    """Scale a variant's depth and width together. Example: nas scale --phi 3"""
    from nas.commands import variants as commands

    commands.scale(phi, base, commands.Coefficients(alpha, beta), group_channels, style, format)


def export(
    study: Annotated[str | None, typer.Argument(metavar="[STUDY]", help="Study of the trials; `nas studies` lists them.")] = None,
    trial: Annotated[
        list[int] | None, typer.Option(help="Number of a trial; repeat for several. `nas pareto STUDY` shows the best.")
    ] = None,
    front: Annotated[bool, typer.Option("--front", help="All trials of the study's Pareto front.")] = False,
    variant: Annotated[str | None, typer.Option(help="C1,C',L1,L3, a preset or an exported file, instead of a study.")] = None,
    style: Style = None,
    settings: Settings = None,
    format: Annotated[
        str, typer.Option(help="yaml, json, opengvlab, huggingface, mmdet, mmseg; with weights huggingface, torch, onnx.")
    ] = "yaml",
    weights: Annotated[
        Path | None, typer.Option(help="Trained network: a file or a folder of them; as recorded by default.", rich_help_panel="Weights")
    ] = None,
    as_proxy: Annotated[
        bool, typer.Option("--as-proxy", help="Export the configuration that a proxy was trained at.", rich_help_panel="Weights")
    ] = False,
    image_size: Annotated[
        int | None,
        typer.Option(help="Side of a program's images; by default as trained, or 224.", min=32, max=8192, rich_help_panel="Weights"),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for the files.")] = Path("export"),
    store: Store = DEFAULT_STORE,
) -> None:
    """Write variants as files for this and other programs, with their provenance; torch and onnx carry trained weights.

    Example: nas export stacking --trial 14 --format opengvlab --out variants
    """
    from nas.commands import variants as commands
    from nas.export import Choice
    from nas.export_weights import WeightsSource

    choice = Choice(study=study, trials=tuple(trial or ()), front=front, variant=variant, style=style, settings=tuple(settings or ()))
    given = WeightsSource.given(weights, as_proxy=as_proxy, image_size=image_size)
    commands.export(choice, format, out, store, given)
