"""The `nas` command: each command parses, calls one function and prints; everything heavy is imported inside."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from nas.output import Format
from studies.records import DEFAULT_STORE

Store = Annotated[str, typer.Option("--store", envvar="NAS_STORE", metavar="URL", help="SQL database with the studies.")]
Table = Annotated[Format, typer.Option("--format", help="How to print: for people, programs or spreadsheets.")]
StudyName = Annotated[str, typer.Argument(metavar="STUDY", help="Name of a study; `nas studies` lists them.")]
Settings = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Field to change: kernel_size=5; repeat.")]
Style = Annotated[str | None, typer.Option(help="Bundle of switches: t, s, l, h or g.")]

app = typer.Typer(
    no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode="markdown", context_settings={"max_content_width": 110}
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from nas import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def nas(
    version: Annotated[bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version and exit.")] = False,
) -> None:
    """Search, scale and export InternImage-like families of vision models under size budgets.

    Example: nas search --space stacking
    """


@app.command()
def search(
    space: Annotated[str | None, typer.Option(help="What to search: stacking (default) or scaling.", rich_help_panel="Space")] = None,
    channels: Annotated[str | None, typer.Option(help="C1 values: 48,64,80 or 48:80:16.", rich_help_panel="Space")] = None,
    group_channels: Annotated[str | None, typer.Option(help="C' values: 16,32.", rich_help_panel="Space")] = None,
    l1: Annotated[str | None, typer.Option(help="L1 values: 1:5.", rich_help_panel="Space")] = None,
    l3: Annotated[str | None, typer.Option(help="L3 values instead of a target.", rich_help_panel="Space")] = None,
    target: Annotated[str | None, typer.Option(help="Size to hit: 30M parameters, flops=5G.", rich_help_panel="Space")] = None,
    tolerance: Annotated[str | None, typer.Option(help="How far off the target is still feasible: 2%.", rich_help_panel="Space")] = None,
    limit: Annotated[list[str] | None, typer.Option(help="Hard limit: params<=30M, flops<=5G.", rich_help_panel="Space")] = None,
    phi: Annotated[str | None, typer.Option(help="φ values of the scaling space: 1.74.", rich_help_panel="Space")] = None,
    base: Annotated[str | None, typer.Option(help="Variant that the scaling space starts from: T.", rich_help_panel="Space")] = None,
    style: Annotated[str | None, typer.Option(help="Switches: t, s, l, h or g.", rich_help_panel="Space")] = None,
    dataset: Annotated[str | None, typer.Option(help="digits, or shapes:N.", rich_help_panel="Proxy")] = None,
    image_size: Annotated[int | None, typer.Option(help="Side in pixels, at least 32.", rich_help_panel="Proxy")] = None,
    epochs: Annotated[int | None, typer.Option(help="Training length.", rich_help_panel="Proxy")] = None,
    train_fraction: Annotated[str | None, typer.Option(help="Part of the training data: 50%.", rich_help_panel="Proxy")] = None,
    channel_divisor: Annotated[int | None, typer.Option(help="C1 and C' are divided by it.", rich_help_panel="Proxy")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images a step.", rich_help_panel="Proxy")] = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda.", rich_help_panel="Proxy")] = None,
    objective: Annotated[list[str] | None, typer.Option(help="Metric to optimise; repeat for several.", rich_help_panel="Study")] = None,
    sampler: Annotated[str | None, typer.Option(help="auto, exhaustive, tpe or random.", rich_help_panel="Study")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of sampler and training.", rich_help_panel="Study")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the study; the space's by default.", rich_help_panel="Study")] = None,
    config: Annotated[str | None, typer.Option(help="Study file or preset instead of the flags above.", rich_help_panel="Study")] = None,
    trials: Annotated[int | None, typer.Option(help="Trained trials the study shall have.", rich_help_panel="Run")] = None,
    workers: Annotated[int | None, typer.Option(help="Trials at a time; the processors by default.", rich_help_panel="Run")] = None,
    engine: Annotated[str, typer.Option(help="ray or local.", rich_help_panel="Run")] = "ray",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List the candidates with their cost and stop.", rich_help_panel="Run")
    ] = False,
    keep_weights: Annotated[
        Path | None, typer.Option(help="Folder for the trained networks, for all workers.", rich_help_panel="Run")
    ] = None,
    store: Store = DEFAULT_STORE,
    format: Table = "table",
) -> None:
    """Search a space: train a cheap proxy of every candidate and print the Pareto front.

    The same command goes on where it stopped. Example: nas search --space stacking --target 30M --limit 'flops<=5G'
    """
    flags = {key: value for key, value in locals().items() if key not in _RUN_FLAGS}
    from nas import commands

    run = commands.RunFlags(trials=trials, workers=workers, engine=engine, dry_run=dry_run, keep_weights=keep_weights)
    commands.search(flags, config, name, run, store, format)


_RUN_FLAGS = ("name", "config", "trials", "workers", "engine", "dry_run", "keep_weights", "store", "format")


@app.command()
def studies(store: Store = DEFAULT_STORE, format: Table = "table") -> None:
    """List the studies of a store. Example: nas studies --store sqlite:///nas.db"""
    from nas import commands

    commands.studies(store, format)


@app.command()
def show(study: StudyName, store: Store = DEFAULT_STORE, format: Table = "table") -> None:
    """List a study's trials, infeasible and failed ones with their reason. Example: nas show stacking"""
    from nas import commands

    commands.show(study, store, format)


@app.command()
def pareto(study: StudyName, store: Store = DEFAULT_STORE, format: Table = "table") -> None:
    """Print a study's Pareto front. Example: nas pareto stacking --format csv"""
    from nas import commands

    commands.pareto(study, store, format)


@app.command()
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
    from nas import commands
    from searchspace.memory import Training

    how = Training(batch_size=batch, image_size=image_size, num_classes=classes, precision=precision, device=device)
    commands.cost(variant, style, settings or [], how, format)


@app.command()
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
    from nas import commands

    commands.scale(phi, base, commands.Coefficients(alpha, beta), group_channels, style, format)


@app.command()
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
        Path | None, typer.Option(help="Trained network: a file, or the folder of `--keep-weights`.", rich_help_panel="Weights")
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
    """Write variants as files for this and other programs, with their provenance; with `--weights`, trained networks.

    Example: nas export stacking --trial 14 --format opengvlab --out variants
    """
    from nas import commands
    from nas.export import Choice
    from nas.export_weights import WeightsSource

    choice = Choice(study=study, trials=tuple(trial or ()), front=front, variant=variant, style=style, settings=tuple(settings or ()))
    given = WeightsSource.given(weights, as_proxy=as_proxy, image_size=image_size)
    commands.export(choice, format, out, store, given)


@app.command()
def doctor(store: Store = DEFAULT_STORE, format: Table = "table") -> None:
    """Say what is installed and active here, and why. Example: nas doctor"""
    from nas import commands

    commands.doctor(store, format)


@app.command()
def dashboard(
    store: Store = DEFAULT_STORE,
    port: Annotated[int, typer.Option(help="Port on this machine.", min=1, max=65535)] = 8501,
    address: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
) -> None:
    """Open the dashboard on a store. Example: nas dashboard --store sqlite:///nas.db"""
    from nas import commands

    commands.dashboard(store, address, port)


def main() -> None:
    """Run the command; what a user can mend becomes one line and exit code 1 (NAS_DEBUG=1 shows the traceback instead)."""
    try:
        sys.exit(app(standalone_mode=False) or 0)
    except typer.Abort:
        sys.exit(130)
    except ValueError as error:  # bad input, by the rule of the house: the message is the explanation
        if os.environ.get("NAS_DEBUG"):
            raise
        typer.echo(f"nas: {error}", err=True)
        sys.exit(1)
    except Exception as error:
        explain = getattr(error, "format_message", None)  # Typer's own findings about flags, whose class it keeps to itself
        if explain is None:
            raise
        if not explain():  # no arguments: the help has been printed
            sys.exit(0)
        typer.echo(f"nas: {explain()}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
