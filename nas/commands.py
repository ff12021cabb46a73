"""What the commands do: call the library and print; imported when a command runs, not for its help."""

import logging
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from shutil import which

import typer

from nas import output
from nas.api import Study, open_study
from nas.api import search as run_search
from nas.config import StudyConfig
from nas.errors import MissingExtra, NasError
from nas.export import Choice
from nas.export import export as write_exports
from nas.export_weights import WeightsSource
from nas.flags import Flags, parse_numbers, study_config
from nas.output import Column, Format, metric_column, percent_column, print_rows, text_column
from nas.trial_table import NUMBER, STATE, VARIANT, choice_columns, noise_text, trial_columns, trial_row
from searchspace.cost import cost as cost_of
from searchspace.formats import load_variant
from searchspace.memory import Training
from searchspace.scaling import compound_scale, effective_phi
from searchspace.styles import style_of, style_text
from searchspace.switch_flags import with_settings
from studies.database import shown
from studies.fidelity import fidelity_text
from studies.records import DEFAULT_STORE, TrialState
from studies.store import Store

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True, slots=True)
class RunFlags:
    """How a search runs; no part of the study."""

    trials: int | None
    workers: int | None
    engine: str
    dry_run: bool
    keep_weights: Path | None = None


@dataclass(frozen=True, slots=True)
class Coefficients:
    """How depth (α) and width (β) grow with φ."""

    alpha: float
    beta: float


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
                keep_weights=run.keep_weights,
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
    names = " against ".join(f"{objective.metric} ({objective.direction})" for objective in study.objectives)
    print_rows(
        [trial_row(space, trial) for trial in front],
        trial_columns(study),
        format=format,
        title=f"Pareto front of study {study.name!r}: {names}",
        caption=f"{len(front)} of {complete} complete trials; {measured}\n{noise_text(fidelity)}",
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


def cost(text: str, style: str | None, settings: Sequence[str], training: Training, format: Format) -> None:
    """Print what a variant costs and the memory of training it."""
    from nas.cost_table import print_cost

    print_cost(with_settings(load_variant(text, style=style), settings), training, format)


def scale(phi: str, base: str, by: Coefficients, group_channels: int | None, style: str | None, format: Format) -> None:
    """Print the variants that compound scaling gives."""
    start = load_variant(base)
    rows = []
    for value in parse_numbers(phi):
        config = compound_scale(start, value, alpha=by.alpha, beta=by.beta, group_channels=group_channels, style=style)
        size, asked = cost_of(config), 2**value * cost_of(start).params
        width, depth = effective_phi(start, config, alpha=by.alpha, beta=by.beta)
        shape = {"phi": value, "variant": config.short_name, "style": style_of(config), **asdict(size), "asked_params": asked}
        rows.append({**shape, "size_error": size.params / asked - 1, "phi_width": _finite(width), "phi_depth": _finite(depth)})
    columns = [
        Column("phi", "φ", "{:g}".format),
        text_column("variant", "C1,C',L1,L3"),
        text_column("style", "style"),
        *map(metric_column, ("params", "flops")),
        Column("asked_params", "asked (M)", metric_column("params").show),
        percent_column("size_error", "size error"),
        Column("phi_width", "φ of width", "{:.2f}".format),
        Column("phi_depth", "φ of depth", "{:.2f}".format),
    ]
    title = f"{start.short_name} (style {style_text(start)}) scaled by α = {by.alpha:g}, β = {by.beta:g}; FLOPs at 224 px"
    print_rows(rows, columns, format=format, title=title)


def _finite(value: float) -> float | None:
    return None if value != value else value  # NaN: a coefficient of 1 that did not keep its dimension


def export(choice: Choice, format: str, out: Path, store: str, weights: WeightsSource | None) -> None:
    """Write variants to files and print the path of each."""
    for path in write_exports(choice, format=format, out=out, store=store, weights=weights):
        typer.echo(path)


def doctor(store: str, format: Format) -> None:
    """Print what is active here."""
    from nas.doctor import examine

    rows = [asdict(finding) for finding in examine(store)]
    columns = [text_column("what", "what"), text_column("state", "state"), text_column("why", "why")]
    print_rows(rows, columns, format=format)


def dashboard(store: str, address: str, port: int) -> None:
    """Run Streamlit on a store until it is stopped."""

    if find_spec("streamlit") is None:
        raise MissingExtra("the dashboard", "dashboard")
    app = ROOT / "dashboard" / "app.py"
    options = {"server.address": address, "server.port": str(port), "server.headless": "true", "browser.gatherUsageStats": "false"}
    flags = [part for key, value in options.items() for part in (f"--{key}", value)]
    command = [sys.executable, "-m", "streamlit", "run", str(app), *flags]
    try:
        code = subprocess.run(command, env={**os.environ, "NAS_STORE": store}, check=False).returncode
    except KeyboardInterrupt:
        return
    if code:
        raise NasError(f"the dashboard ended with exit code {code}")
