"""Training a variant at full width, and measuring a trained one."""

from pathlib import Path
from typing import Annotated

import typer

from nas.cli.options import Settings, Store, Style, Table
from studies.records import DEFAULT_STORE

Variant = Annotated[str, typer.Argument(help="C1,C',L1,L3, a preset (T S B L XL H G) or an exported file.")]
Dataset = Annotated[str, typer.Option(help="digits, shapes:N, or KIND:PATH; docs/data.md lists the kinds.")]
Precision = Annotated[str, typer.Option(help="float32, or bfloat16 (autocast).")]
Device = Annotated[str, typer.Option(help="cpu or cuda.")]


def train(
    variant: Variant,
    dataset: Dataset = "digits",
    recipe: Annotated[str, typer.Option(help="published, or the searches' short one: proxy.")] = "published",
    epochs: Annotated[int | None, typer.Option(help="Training length; the recipe's 300 by default.")] = None,
    batch_size: Annotated[int, typer.Option(help="Images a step, over all processes; the learning rate follows it.")] = 64,
    image_size: Annotated[int | None, typer.Option(help="Side in pixels; 224, or 32 for drawn data sets.")] = None,
    drop_path: Annotated[float | None, typer.Option(help="Stochastic depth; a preset's own, or the recipe's.")] = None,
    precision: Precision = "float32",
    device: Device = "cpu",
    processes: Annotated[int, typer.Option(help="Processes that share each batch, one to a GPU.", min=1)] = 1,
    threads: Annotated[int | None, typer.Option(help="Of each process on a CPU; its share of the processors by default.", min=1)] = None,
    seed: Annotated[int, typer.Option(help="Of initial weights, order and augmentation.", min=0, max=2**32 - 1)] = 0,
    style: Style = None,
    settings: Settings = None,
    out: Annotated[Path | None, typer.Option(help="Folder for checkpoints and weights; runs/NAME by default.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the study; by default as train-internimage-16-8-1-2.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the training in the folder.")] = False,
    store: Store = DEFAULT_STORE,
    format: Table = "table",
) -> None:
    """Train a variant at full width, with checkpoints, and record it in the store.

    Example: nas train variants/stacking-trial-29.yaml --dataset packed:imagenet-224 --device cuda --precision bfloat16
    """
    from nas.commands import training as commands

    given = {"dataset": dataset, "recipe": recipe, "epochs": epochs, "batch_size": batch_size, "image_size": image_size}
    how = {**given, "drop_path_rate": drop_path, "precision": precision, "device": device, "threads": threads}
    run = commands.TrainFlags(out=out, name=name, seed=seed, processes=processes, resume=resume)
    commands.train(commands.chosen(variant, style, settings or []), how, run, store, format)


def evaluate(
    variant: Variant,
    weights: Annotated[Path, typer.Option(help="Trained network: safetensors, or a released checkpoint.")],
    dataset: Dataset = "digits",
    split: Annotated[str, typer.Option(help="validation, test or train.")] = "validation",
    recipe: Annotated[str | None, typer.Option(help="Whose images it saw; as trained if known, else published.")] = None,
    image_size: Annotated[int | None, typer.Option(help="Side in pixels; as trained if known, else 224.")] = None,
    batch_size: Annotated[int, typer.Option(help="Images at a time.")] = 64,
    precision: Precision = "float32",
    device: Device = "cpu",
    style: Style = None,
    settings: Settings = None,
    store: Store = DEFAULT_STORE,
    format: Table = "table",
) -> None:
    """Measure a trained network: top-1, top-5 and loss with the evaluation transform of its training.

    Example: nas evaluate T --weights internimage_t_1k_224.pth --dataset imagefolder:imagenet --device cuda
    """
    from nas.commands import training as commands

    how = {"split": split, "recipe": recipe, "image_size": image_size, "batch_size": batch_size, "precision": precision, "device": device}
    commands.evaluate(commands.chosen(variant, style, settings or []), weights, dataset, how, format)
