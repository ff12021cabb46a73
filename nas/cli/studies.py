"""Searching, and looking at what has been searched."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from nas.cli.options import Store, StudyName, Table
from studies.records import DEFAULT_STORE

DATASETS = "digits, shapes:N, imagefolder:PATH, cifar10:PATH, cifar100:PATH, parquet:PATH or packed:PATH."


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
    dataset: Annotated[str | None, typer.Option(help=DATASETS, rich_help_panel="Proxy")] = None,
    image_size: Annotated[int | None, typer.Option(help="Side in pixels, at least 32.", rich_help_panel="Proxy")] = None,
    epochs: Annotated[int | None, typer.Option(help="Training length.", rich_help_panel="Proxy")] = None,
    train_fraction: Annotated[str | None, typer.Option(help="Part of the training data: 50%.", rich_help_panel="Proxy")] = None,
    channel_divisor: Annotated[int | None, typer.Option(help="C1 and C' are divided by it.", rich_help_panel="Proxy")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images a step.", rich_help_panel="Proxy")] = None,
    recipe: Annotated[str | None, typer.Option(help="How it is trained: proxy or published.", rich_help_panel="Proxy")] = None,
    precision: Annotated[str | None, typer.Option(help="float32 or bfloat16.", rich_help_panel="Proxy")] = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda.", rich_help_panel="Proxy")] = None,
    objective: Annotated[list[str] | None, typer.Option(help="Metric to optimise; repeat for several.", rich_help_panel="Study")] = None,
    screen: Annotated[str | None, typer.Option(help="Train the best by this zero-cost score only.", rich_help_panel="Study")] = None,
    keep: Annotated[str | None, typer.Option(help="The share that --screen lets through: 50%.", rich_help_panel="Study")] = None,
    latency_batch: Annotated[int | None, typer.Option(help="Images at a time for latency_ms: 1.", rich_help_panel="Study")] = None,
    latency_size: Annotated[int | None, typer.Option(help="Side in pixels for latency_ms: 224.", rich_help_panel="Study")] = None,
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
        Literal["front", "all", "none"], typer.Option(help="Whose trained networks stay on disk.", rich_help_panel="Run")
    ] = "front",
    weights_folder: Annotated[
        Path | None, typer.Option(help="Where they go, for all workers; nas-weights/STUDY by default.", rich_help_panel="Run")
    ] = None,
    store: Store = DEFAULT_STORE,
    format: Table = "table",
) -> None:
    """Search a space: train a cheap proxy of every candidate and print the Pareto front.

    The same command goes on where it stopped. Example: nas search --space stacking --target 30M --limit 'flops<=5G'
    """
    flags = {key: value for key, value in locals().items() if key not in _RUN_FLAGS}
    from nas.commands import studies as commands

    kept = commands.KeptFlags(keep_weights, weights_folder)
    run = commands.RunFlags(trials=trials, workers=workers, engine=engine, dry_run=dry_run, kept=kept)
    commands.search(flags, config, name, run, store, format)


_RUN_FLAGS = ("name", "config", "trials", "workers", "engine", "dry_run", "keep_weights", "weights_folder", "store", "format")


def studies(store: Store = DEFAULT_STORE, format: Table = "table") -> None:
    """List the studies of a store. Example: nas studies --store sqlite:///nas.db"""
    from nas.commands import studies as commands

    commands.studies(store, format)


def show(study: StudyName, store: Store = DEFAULT_STORE, format: Table = "table") -> None:
    """List a study's trials, infeasible and failed ones with their reason. Example: nas show stacking"""
    from nas.commands import studies as commands

    commands.show(study, store, format)


def pareto(study: StudyName, store: Store = DEFAULT_STORE, format: Table = "table") -> None:
    """Print a study's Pareto front. Example: nas pareto stacking --format csv"""
    from nas.commands import studies as commands

    commands.pareto(study, store, format)


def artifacts(study: StudyName, store: Store = DEFAULT_STORE, format: Table = "table") -> None:
    """List the files that a study's trials left: weights of trained networks. Example: nas artifacts stacking"""
    from nas.commands import studies as commands

    commands.artifacts(study, store, format)
