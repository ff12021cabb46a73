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
    phi: Annotated[str | None, typer.Option(help="φ, several or a range, such as 3, 1,2,3 or 0:6 (default 1).")] = None,
    target: Annotated[str | None, typer.Option(metavar="SIZE", help="Solve φ for a size, such as 100M, 16G (FLOPs) or memory=16G.")] = None,
    base: Annotated[str | None, typer.Option(help="Variant to scale, or study:NAME for its best; T, or the base of --study.")] = None,
    alpha: Annotated[float | None, typer.Option(help="Depth grows by α^φ; 1.09, or what goes with --beta.")] = None,
    beta: Annotated[float | None, typer.Option(help="Width grows by β^φ; 1.36, or what goes with --alpha.")] = None,
    study: Annotated[str | None, typer.Option(help="Take α and β as `nas fit` found them for this study.")] = None,
    group_channels: Annotated[int | None, typer.Option(help="C' of the result; the base's by default.")] = None,
    style: Style = None,
    split: Annotated[str, typer.Option(help="How depth becomes L1 and L3: ratio (as in the base), keep-l1 or published.")] = "ratio",
    match: Annotated[bool, typer.Option("--match", help="Round the width only and solve the depth from the size.")] = False,
    out: Annotated[Path | None, typer.Option(help="Also write the scaled variants as files to this folder.")] = None,
    format: Annotated[
        str | None,
        typer.Option(
            help="How to print: table, json or csv. With --out the kind of its files: yaml, json, opengvlab, huggingface, mmdet or mmseg."
        ),
    ] = None,
    store: Store = DEFAULT_STORE,
) -> None:
    """Scale a variant's depth and width together to a family, beside the published one. Example: nas scale --phi 0:6"""
    from nas.commands import scale as commands
    from searchspace.family import ScaleRule

    how = ScaleRule(group_channels=group_channels, style=style, split=split, match=match)
    flags = commands.ScaleFlags(phi=phi, target=target, base=base, study=study, alpha=alpha, beta=beta)
    commands.scale(flags, how, format, out, store)


def explain(
    before: Annotated[str, typer.Argument(metavar="A", help="C1,C',L1,L3, a preset (T S B L XL H G) or an exported file.")],
    after: Annotated[str, typer.Argument(metavar="B", help="The variant that is compared with it.")],
    alpha: Annotated[float, typer.Option(help="Depth grows by α^φ.")] = 1.09,
    beta: Annotated[float, typer.Option(help="Width grows by β^φ.")] = 1.36,
    format: Table = "table",
    store: Store = DEFAULT_STORE,
) -> None:
    """Say what B has over A: φ of width and of depth, what each costs alone, switches, stages. Example: nas explain T B"""
    from nas.commands import explain as commands

    commands.explain(before, after, (alpha, beta), format)


def iso(
    target: Annotated[str, typer.Option(metavar="SIZE", help="Size to list, such as 50M, 8G (FLOPs) or memory=16G.")],
    tolerance: Annotated[str, typer.Option(help="How far off a variant may be.")] = "2%",
    channels: Annotated[str | None, typer.Option(help="C1 of the lattice; multiples of 16 by default.")] = None,
    group_channels: Annotated[str, typer.Option(help="C' of the lattice.")] = "8,16,32",
    l1: Annotated[str, typer.Option("--l1", help="L1 of the lattice.")] = "1:8",
    l3: Annotated[str, typer.Option("--l3", help="L3 of the lattice.")] = "1:64",
    limit: Annotated[list[str] | None, typer.Option(help="Size that none may exceed, such as flops<=8G; repeat.")] = None,
    style: Style = None,
    base: Annotated[str, typer.Option(help="Variant from which depth and width are measured.")] = "T",
    format: Table = "table",
    store: Store = DEFAULT_STORE,
) -> None:
    """List all variants of one size, how they share it between depth and width, and which rule binds. Example: nas iso --target 50M"""
    from nas.commands import iso as commands

    lattice = commands.Lattice(channels=channels, group_channels=group_channels, l1=l1, l3=l3, limits=limit or [], style=style)
    commands.iso(target, tolerance, lattice, base, format)


def export(
    study: Annotated[str | None, typer.Argument(metavar="STUDY", help="Study of the trials; `nas studies` lists them.")] = None,
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
