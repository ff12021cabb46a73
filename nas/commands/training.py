"""Train and evaluate variants."""

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from nas.export import variant_document
from nas.output import Column, Format, metric_column, print_rows, text_column
from nas.training import full_proxy, study_name, trained_as, trained_study
from nas.training import train as run_training
from searchspace.formats import VariantDocument
from studies.fidelity import fidelity_text
from studies.records import METRICS, Objective


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainFlags:
    """How a training runs; no part of what is trained."""

    out: Path | None
    name: str | None
    seed: int
    processes: int
    resume: bool


def chosen(text: str, style: str | None, settings: Sequence[str]) -> VariantDocument:
    """The variant of a command line."""
    return variant_document(text, style, settings)


def train(document: VariantDocument, how: Mapping[str, Any], run: TrainFlags, store: str, format: Format) -> None:
    """Train, with progress, and print the result."""
    from nas.progress import ProgressView

    logging.basicConfig(format="nas: %(message)s", level=logging.INFO if os.environ.get("NAS_DEBUG") else logging.WARNING)
    name = run.name or study_name(document)
    out = run.out or Path("runs") / name
    threads = how["threads"] or (_threads_before(name, store) if run.resume else None) or _share_of_processors(run.processes)
    given = {key: value for key, value in how.items() if value is not None}
    proxy = full_proxy(document.config, **{**given, "threads": threads})
    try:
        with ProgressView(Objective.of("top1")) as view:
            study = run_training(
                document,
                proxy,
                out=out,
                seed=run.seed,
                name=name,
                store=store,
                processes=run.processes,
                resume=run.resume,
                listener=view,
            )
    except KeyboardInterrupt:
        typer.echo(f"nas: stopped; the same command with --resume goes on from the last epoch in {out}", err=True)
        raise typer.Exit(130) from None
    trial = study.trials()[0]
    row = {"variant": document.name, **{name: trial.value(name) for name in METRICS}, "out": str(out)}
    measured = [metric_column(name) for name in ("top1", "top5", "loss", "params", "flops", "seconds") if row[name] is not None]
    columns = [text_column("variant", "variant"), *measured, text_column("out", "folder", folds=True)]
    print_rows([row], columns, format=format, title=f"Study {study.name!r}", caption=fidelity_text([trial.fidelity]))


def _threads_before(name: str, store: str) -> int | None:
    """A training goes on with the threads that it began with, whatever this machine has; results may differ with their number."""
    study = trained_study(name, store)
    return None if study is None else study.config.proxy.threads


def _share_of_processors(processes: int) -> int:
    return max(1, len(os.sched_getaffinity(0)) // processes)


def evaluate(document: VariantDocument, weights: Path, dataset: str, how: Mapping[str, Any], format: Format) -> None:
    """Measure a trained network on a split and print what was found."""
    from trainer.evaluation import evaluate_weights

    given = {key: value for key, value in how.items() if value is not None}
    found = evaluate_weights(document.config, weights, dataset, **{**trained_as(weights), **given})
    row = {"variant": document.name, "split": how["split"], **found}
    measured = [metric_column(name) for name in ("top1", "top5", "loss") if name in found]
    columns = [text_column("variant", "variant"), text_column("split", "split"), Column("images", "images", "{:,}".format), *measured]
    print_rows([row], columns, format=format, title=f"{weights.name} on {dataset}")
