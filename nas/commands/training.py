"""Train and evaluate variants."""

import logging
import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import typer

from nas.commands.stopping import terminable
from nas.export import variant_document
from nas.output import Column, Format, metric_column, print_rows, text_column
from nas.progress_record import Listener
from nas.training import full_proxy, study_name, trained_as, trained_study
from nas.training import train as run_training
from searchspace.formats import VariantDocument
from searchspace.formats.source import PROVENANCE_FILE, read_source
from searchspace.recipes import IMAGENET
from studies.fidelity import fidelity_text
from studies.records import METRICS, Objective

ASSUMED: Mapping[str, Any] = {"image_size": IMAGENET.image_size, "recipe": "published"}  # where nobody says how weights were trained


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
    with terminable() as terminated:
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
                    listener=_of_one(view),
                )
        except KeyboardInterrupt:
            typer.echo(f"nas: stopped; the same command with --resume goes on from the last epoch in {out}", err=True)
            raise typer.Exit(128 + (terminated or [signal.SIGINT])[0]) from None
    trial = study.trials()[0]
    row = {"variant": document.name, **{name: trial.value(name) for name in METRICS}, "out": str(out)}
    measured = [metric_column(name) for name in ("top1", "top5", "loss", "params", "flops", "seconds") if row[name] is not None]
    columns = [text_column("variant", "variant"), *measured, text_column("out", "folder", folds=True)]
    print_rows([row], columns, format=format, title=f"Study {study.name!r}", caption=fidelity_text([trial.fidelity]))


def _of_one(view: Listener) -> Listener:
    """A view that is told nothing of samplers: there is one candidate."""
    return lambda progress: view(replace(progress, sampler=None))


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
    known = {**_exported_as(document, weights), **trained_as(weights), **given}
    used = {**ASSUMED, **known}
    found = evaluate_weights(document.config, weights, dataset, **used)
    row = {"variant": document.name, "split": how["split"], **{name: used[name] for name in ASSUMED}, **found}
    measured = [metric_column(name) for name in ("top1", "top5", "loss") if name in found]
    columns = [text_column("variant", "variant"), text_column("split", "split"), Column("images", "images", "{:,}".format), *measured]
    columns += [Column(name, name, plain=True) for name in ASSUMED]
    print_rows([row], columns, format=format, title=f"{weights.name} on {dataset}", caption=_seen_as(used, known))


def _exported_as(document: VariantDocument, weights: Path) -> dict[str, Any]:
    """Recipe and image size that an export of the variant says beside its weights; nothing where there is none."""
    try:
        beside = VariantDocument.from_dict(read_source(weights.parent / PROVENANCE_FILE).values)
    except (ValueError, TypeError):
        return {}
    fidelity = beside.provenance.get("fidelity")
    if beside.config != document.config or not isinstance(fidelity, Mapping):
        return {}
    return {name: fidelity[name] for name, usual in ASSUMED.items() if type(fidelity.get(name)) is type(usual)}


def _seen_as(used: Mapping[str, Any], known: Mapping[str, Any]) -> str:
    """How the network looked at the images, and what of it nobody said."""
    assumed = [f"--{name.replace('_', '-')}" for name in ASSUMED if name not in known]
    unsaid = f"; {' and '.join(assumed)} assumed: nothing with the weights says how they were trained" if assumed else ""
    return f"{used['image_size']} px, recipe {used['recipe']}{unsaid}"
