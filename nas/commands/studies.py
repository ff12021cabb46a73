"""Run and show searches."""

import logging
import os
import shlex
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from shutil import which

import typer

from nas import output
from nas.api import Study, open_study
from nas.api import search as run_search
from nas.config import StudyConfig
from nas.flags import Flags, study_config
from nas.kept_weights import Keep
from nas.output import VARIANT, Column, Format, metric_column, percent_column, print_rows, text_column
from nas.trial_table import NUMBER, STATE, choice_columns, noise_text, trial_columns, trial_row
from searchspace.styles import style_of
from studies.database import shown
from studies.fidelity import fidelity_text
from studies.records import DEFAULT_STORE, TrialState
from studies.store import Store


@dataclass(frozen=True, slots=True)
class KeptFlags:
    """Whose trained networks stay, and where."""

    weights: Keep
    folder: Path | None


@dataclass(frozen=True, slots=True)
class RunFlags:
    """How a search runs; no part of the study."""

    trials: int | None
    workers: int | None
    engine: str
    dry_run: bool
    kept: KeptFlags


def search(flags: Flags, file: str | None, name: str | None, run: RunFlags, store: str, format: Format) -> None:
    """Run or list a search and print its front."""
    config = study_config(file, flags)
    if run.dry_run:
        _print_candidates(config, format)
        return
    study = _search_with_progress(config, name, run, store)
    _print_front(study, format)
    if format == "table":
        _print_next(study)


def _search_with_progress(config: StudyConfig, name: str | None, run: RunFlags, store: str) -> Study:
    from nas.progress import ProgressView

    logging.basicConfig(format="nas: %(message)s", level=logging.INFO if os.environ.get("NAS_DEBUG") else logging.ERROR)
    logging.getLogger("trainer.packing").setLevel(logging.WARNING)  # decoding a folder of images takes a while, and says so
    try:
        with ProgressView(config.objectives[0]) as view:
            return run_search(
                config,
                name=name,
                store=store,
                trials=run.trials,
                workers=run.workers,
                engine=run.engine,
                listener=view,
                keep_weights=run.kept.weights,
                weights_folder=run.kept.folder,
            )
    except KeyboardInterrupt:
        typer.echo("nas: stopped; what is finished is stored, and the same command goes on from here", err=True)
        if run.engine == "ray":  # interrupted, Ray's native threads may crash while Python takes itself apart
            sys.stdout.flush()
            os._exit(130)
        raise typer.Exit(130) from None


def _print_candidates(config: StudyConfig, format: Format) -> None:
    candidates = config.space.enumerate()
    rows = [
        {
            **candidate.params,
            "variant": candidate.config.short_name if candidate.config else None,
            "style": style_of(candidate.config) if candidate.config else config.space.style,
            **(asdict(candidate.cost) if candidate.cost else {}),
            "size_error": candidate.size_error,
            "feasible": candidate.feasible,
            "reason": candidate.reason,
        }
        for candidate in candidates
    ]
    choice = choice_columns(config.space.domains)
    sizes = [*map(metric_column, ("params", "flops")), percent_column("size_error", "size error")]
    feasible = Column("feasible", "feasible", plain=True)
    counted = f"costs at {config.space.image_size} px with {config.space.num_classes} classes"
    title = f"{len(rows)} candidates, {len(config.space.feasible())} feasible ({counted})"
    output.print_with_reasons(rows, [*choice, *VARIANT, *sizes, feasible], named_by=choice, format=format, title=title)


def _print_front(study: Study, format: Format) -> None:
    front, complete = study.front(), sum(trial.state is TrialState.COMPLETE for trial in study.trials())
    space, fidelity = study.config.space, front[0].fidelity if front else {}
    measured = fidelity_text([fidelity]) or "nothing measured yet"
    noise = noise_text(fidelity) if study.config.trains else ""
    names = " against ".join(f"{objective.metric} ({objective.direction})" for objective in study.objectives)
    print_rows(
        [trial_row(space, trial) for trial in front],
        trial_columns(study),
        format=format,
        title=f"Pareto front of study {study.name!r}: {names}",
        caption=f"{len(front)} of {complete} complete trials; {measured}\n{noise}".rstrip(),
    )


def _print_next(study: Study) -> None:
    url, front = shown(study.store.url), study.front()
    store = [] if study.store.url == os.environ.get("NAS_STORE", DEFAULT_STORE) else ["--store", url]
    best = [str(trial.number) for trial in front[:1]]
    export = ["export", study.name, "--trial", *best, "--format", "yaml", "--out", "variants", *store]
    commands = [
        (["show", study.name, *store], "every trial, infeasible ones with their reason"),
        *([(export, "the best variant as a file")] if front else []),
        (["scale", "--phi", "3"], "a larger member of the family"),
        (["dashboard", *store], "fronts, trials and learning curves in the browser"),
    ]
    output.print_commands([(shlex.join([_program(), *command]), why) for command, why in commands])


def _program() -> str:
    """How this program was called, where `nas` alone would not find it."""
    called = Path(sys.argv[0])
    return str(called) if called.name == "nas" and which("nas") is None else "nas"


def studies(store: str, format: Format) -> None:
    """List studies."""
    rows = [
        {
            "study": summary.study.name,
            "space": summary.study.config["space"]["name"],
            "objectives": ", ".join(objective.metric for objective in summary.study.objectives),
            **{state.value.lower(): summary.counts.get(state, 0) for state in TrialState},
            "updated_at": summary.updated_at.isoformat(timespec="seconds"),
        }
        for summary in Store(store, create=False).studies()
    ]
    states = ("complete", "running", "queued", "infeasible", "failed")
    columns = [text_column("study", "study"), text_column("space", "space"), text_column("objectives", "objectives")]
    print_rows(rows, [*columns, *(Column(state, state) for state in states), text_column("updated_at", "updated")], format=format)


def show(name: str, store: str, format: Format) -> None:
    """List a study's trials."""
    study = open_study(name, store=Store(store, create=False))
    space = study.config.space
    rows = [trial_row(space, trial) for trial in study.trials()]
    columns = [NUMBER, STATE, *trial_columns(study)[1:]]
    measured = fidelity_text(row.fidelity for row in study.trials())
    choice, title = choice_columns(space.domains), f"Trials of study {study.name!r}"
    output.print_with_reasons(rows, columns, named_by=choice, format=format, title=title, caption=measured)


def pareto(name: str, store: str, format: Format) -> None:
    """Print a front."""
    _print_front(open_study(name, store=Store(store, create=False)), format)


def artifacts(name: str, store: str, format: Format) -> None:
    """List the files of a study's trials."""
    study = open_study(name, store=Store(store, create=False))
    rows = [{**asdict(artifact), "path": str(artifact.path)} for artifact in study.artifacts()]
    columns = [
        NUMBER,
        text_column("kind", "kind"),
        Column("size", "size (MB)", lambda size: f"{size / 1e6:,.1f}"),
        text_column("sha256", "sha256", folds=True),
        text_column("path", "path", folds=True),
    ]
    caption = "" if rows else "none is recorded; a search keeps the weights of the networks on its front unless told otherwise"
    print_rows(rows, columns, format=format, title=f"Files of study {study.name!r}", caption=caption)
