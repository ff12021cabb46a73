"""Searching."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from nas.cli.options import Store, Table
from studies.records import DEFAULT_STORE, METRICS

DATASETS = "digits, shapes:N, imagefolder:PATH, cifar10:PATH, cifar100:PATH, parquet:PATH or packed:PATH (default digits)."
OBJECTIVES = f"{', '.join(METRICS)}; repeat for up to four (default top1 and flops)."
SCREENS = "Train the best by this score only: synflow, naswot, grad_norm, zen, params or flops."
SAMPLERS = "auto (default), exhaustive, random, qmc, tpe, gp, nsga2, nsga3, cmaes or known-cost; docs/samplers.md has them."
RUN_FLAGS = (
    *("trials", "time_limit", "device_time", "until", "reuse", "engine", "dry_run", "keep_weights", "weights_folder"),
    *("workers", "cpus_per_trial", "gpus_per_trial", "ray_address", "checkpoints", "max_retries", "step_timeout"),
)


def search(
    space: Annotated[str | None, typer.Option(help="What to search: stacking (default), wide or scaling.", rich_help_panel="Space")] = None,
    channels: Annotated[
        str | None, typer.Option(help="C1 values, such as 48,64,80 (the default of stacking) or 48:80:16.", rich_help_panel="Space")
    ] = None,
    group_channels: Annotated[str | None, typer.Option(help="C' values (default 16,32 for stacking).", rich_help_panel="Space")] = None,
    l1: Annotated[str | None, typer.Option(help="L1 values (default 1:5 for stacking).", rich_help_panel="Space")] = None,
    kernel_size: Annotated[
        str | None, typer.Option(help="Kernel sizes to choose from, such as 3,5,7 (default 3).", rich_help_panel="Space")
    ] = None,
    l3: Annotated[str | None, typer.Option(help="L3 values instead of a target, such as 9:21.", rich_help_panel="Space")] = None,
    target: Annotated[
        str | None, typer.Option(help="Size to hit, such as flops=5G (default 30M parameters for stacking).", rich_help_panel="Space")
    ] = None,
    tolerance: Annotated[
        str | None, typer.Option(help="How far off a size is still feasible (default 2%, 1.5% where scaled).", rich_help_panel="Space")
    ] = None,
    limit: Annotated[
        list[str] | None, typer.Option(help="Hard limit, such as params<=30M or flops<=5G; repeat.", rich_help_panel="Space")
    ] = None,
    base: Annotated[
        str | None, typer.Option(help="What scaling starts from: a variant, a file or study:NAME (default T).", rich_help_panel="Space")
    ] = None,
    phi: Annotated[str | None, typer.Option(help="φ values of the scaling space (default 2,3,4).", rich_help_panel="Space")] = None,
    pairs: Annotated[
        str | None, typer.Option(help="(α, β) instead of widths: paper, or such as '1.09,1.36;1.12,1.34'.", rich_help_panel="Space")
    ] = None,
    lattice: Annotated[
        Literal["coarse", "fine"] | None, typer.Option(help="Widths in steps of the base's C' (default), or of 8.", rich_help_panel="Space")
    ] = None,
    split: Annotated[
        Literal["ratio", "keep-l1", "published"] | None,
        typer.Option(help="How a depth becomes L1 and L3 (default ratio).", rich_help_panel="Space"),
    ] = None,
    scale_metric: Annotated[
        Literal["params", "flops", "memory", "latency_ms"] | None,
        typer.Option(help="What a step of φ doubles (default params).", rich_help_panel="Space"),
    ] = None,
    alpha: Annotated[str | None, typer.Option(help="Range of the effective α (default 1:1.4).", rich_help_panel="Space")] = None,
    keep_formula: Annotated[
        bool | None, typer.Option("--keep-formula", help="Round D as the paper does, whatever the size.", rich_help_panel="Space")
    ] = None,
    style: Annotated[
        str | None, typer.Option(help="Switches: t, s, l, h or g (default t, or the base's).", rich_help_panel="Space")
    ] = None,
    dataset: Annotated[str | None, typer.Option(help=DATASETS, rich_help_panel="Proxy")] = None,
    image_size: Annotated[int | None, typer.Option(help="Side in pixels, at least 32 (default 32).", rich_help_panel="Proxy")] = None,
    epochs: Annotated[int | None, typer.Option(help="Training length (default 5).", rich_help_panel="Proxy")] = None,
    train_fraction: Annotated[str | None, typer.Option(help="Part of the training data (default 50%).", rich_help_panel="Proxy")] = None,
    channel_divisor: Annotated[int | None, typer.Option(help="C1 and C' are divided by it (default 4).", rich_help_panel="Proxy")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images a step (default 32).", rich_help_panel="Proxy")] = None,
    recipe: Annotated[str | None, typer.Option(help="How it is trained: proxy (default) or published.", rich_help_panel="Proxy")] = None,
    precision: Annotated[str | None, typer.Option(help="float32 (default) or bfloat16.", rich_help_panel="Proxy")] = None,
    device: Annotated[str | None, typer.Option(help="cpu (default) or cuda.", rich_help_panel="Proxy")] = None,
    objective: Annotated[list[str] | None, typer.Option(help=OBJECTIVES, rich_help_panel="Study")] = None,
    screen: Annotated[str | None, typer.Option(help=SCREENS, rich_help_panel="Study")] = None,
    keep: Annotated[str | None, typer.Option(help="The share that --screen lets through (default 50%).", rich_help_panel="Study")] = None,
    latency_batch: Annotated[int | None, typer.Option(help="Images at a time for latency_ms (default 1).", rich_help_panel="Study")] = None,
    latency_size: Annotated[int | None, typer.Option(help="Side in pixels for latency_ms (default 224).", rich_help_panel="Study")] = None,
    require: Annotated[
        list[str] | None, typer.Option(help="Bound for the front, such as top1>=90%; repeat.", rich_help_panel="Study")
    ] = None,
    early_stopping: Annotated[
        Literal["stop", "promote"] | None, typer.Option(help="Successive halving, asynchronous.", rich_help_panel="Study")
    ] = None,
    eta: Annotated[int | None, typer.Option(help="One of so many goes on at each rung (default 3).", rich_help_panel="Study")] = None,
    min_epochs: Annotated[int | None, typer.Option(help="Epochs before the first rung (default 1).", rich_help_panel="Study")] = None,
    evaluator: Annotated[
        str | None, typer.Option(help="train (default), or table:PATH with recorded results.", rich_help_panel="Study")
    ] = None,
    sampler: Annotated[str | None, typer.Option(help=SAMPLERS, rich_help_panel="Study")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of sampler and training (default 0).", rich_help_panel="Study")] = None,
    seeds: Annotated[
        int | None, typer.Option(help="Trainings of each candidate, with seeds from --seed on (default 1).", rich_help_panel="Study")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the study; the space's by default.", rich_help_panel="Study")] = None,
    config: Annotated[str | None, typer.Option(help="Study file or preset instead of the flags above.", rich_help_panel="Study")] = None,
    trials: Annotated[
        int | None,
        typer.Option(help="Trained trials the study shall have (default: 64 at most, if nothing else ends it).", rich_help_panel="Run"),
    ] = None,
    time_limit: Annotated[
        str | None, typer.Option(help="Start nothing after so long, Ray's start included, such as 90m, 8h or 2d.", rich_help_panel="Run")
    ] = None,
    device_time: Annotated[str | None, typer.Option(help="The same, summed over workers.", rich_help_panel="Run")] = None,
    until: Annotated[
        list[str] | None, typer.Option(help="End when a trial reaches a bound such as top1>=95%.", rich_help_panel="Run")
    ] = None,
    reuse: Annotated[list[str] | None, typer.Option(help="Take over results of this study of the store.", rich_help_panel="Run")] = None,
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
    workers: Annotated[int | None, typer.Option(help="Trials at a time; as many as fit by default.", rich_help_panel="Workers")] = None,
    cpus_per_trial: Annotated[float | None, typer.Option(help="Processors of each trial (default 1).", rich_help_panel="Workers")] = None,
    gpus_per_trial: Annotated[
        float | None, typer.Option(help="GPUs of each trial, such as 0.25, 1 or 4; by memory by default.", rich_help_panel="Workers")
    ] = None,
    ray_address: Annotated[str | None, typer.Option(help="Join a cluster: auto or HOST:PORT.", rich_help_panel="Workers")] = None,
    checkpoints: Annotated[
        str | None, typer.Option(help="Where trials save their state: a shared folder or s3://...", rich_help_panel="Workers")
    ] = None,
    max_retries: Annotated[int, typer.Option(help="New attempts after a lost worker.", rich_help_panel="Workers")] = 2,
    step_timeout: Annotated[
        str | None, typer.Option(help="An epoch longer than this, such as 30m, has hung (default: none has).", rich_help_panel="Workers")
    ] = None,
    store: Store = DEFAULT_STORE,
    format: Table = "table",
) -> None:
    """Search a space: train a cheap proxy of every candidate and print the Pareto front.

    The same command goes on where it stopped. Example: nas search --space stacking --target 30M --limit 'flops<=5G'
    """
    given: dict[str, Any] = dict(locals())
    from nas.commands import search as commands

    run = commands.RunFlags(**{flag: given.pop(flag) for flag in RUN_FLAGS})
    flags = {flag: value for flag, value in given.items() if flag not in ("config", "name", "store", "format")}
    commands.search(flags, config, name, run, store, format)
