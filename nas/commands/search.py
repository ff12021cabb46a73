"""Run searches."""

import logging
import os
import shlex
import signal
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from shutil import which

import typer

from nas import output
from nas.api import Study
from nas.api import search as run_search
from nas.budget import Budget, parse_duration
from nas.commands.stopping import terminable
from nas.commands.studies import print_front
from nas.config import StudyConfig
from nas.flags import Flags, study_config
from nas.kept_weights import Keep
from nas.output import VARIANT, Column, Format, metric_column, percent_column
from nas.premeasure import LISTED
from nas.scaling_sources import sources
from nas.trial_table import choice_columns
from searchspace.scaling_rule import scaling_point
from searchspace.space import Candidate, SearchSpace
from searchspace.styles import style_of
from studies.constraints import Constraint
from studies.database import shown
from studies.records import DEFAULT_STORE

COEFFICIENTS = {"alpha": "effective α", "beta": "effective β"}
SHOWN = 20  # of a space too large to list
AS_WRITTEN = (
    *("engine", "workers", "cpus_per_trial", "gpus_per_trial", "ray_address", "checkpoints", "max_retries"),
    *("keep_weights", "weights_folder"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFlags:
    """How a search runs, as written on the command line; no part of the study."""

    trials: int | None
    time_limit: str | None
    device_time: str | None
    until: list[str] | None
    reuse: list[str] | None
    engine: str
    dry_run: bool
    keep_weights: Keep
    weights_folder: Path | None
    workers: int | None
    cpus_per_trial: float | None
    gpus_per_trial: float | None
    ray_address: str | None
    checkpoints: str | None
    max_retries: int
    step_timeout: str | None

    @property
    def budget(self) -> Budget:
        """When the search ends."""
        return Budget(
            trials=self.trials,
            seconds=_seconds(self.time_limit),
            device_seconds=_seconds(self.device_time),
            until=tuple(map(Constraint.parse, self.until or [])),
        )


def _seconds(text: str | None) -> float | None:
    return None if text is None else parse_duration(text)


def search(flags: Flags, file: str | None, name: str | None, run: RunFlags, store: str, format: Format) -> None:
    """Run or list a search and print its front."""
    config = study_config(file, flags, sources(store, name or str(flags.get("space")), _tell))
    if run.dry_run:
        _print_candidates(config, format)
        return
    study = _search_with_progress(config, name, run, store)
    print_front(study, format)
    if format == "table":
        _print_next(study)


def _tell(what: str) -> None:
    typer.echo(f"nas: {what}", err=True)


def _search_with_progress(config: StudyConfig, name: str | None, run: RunFlags, store: str) -> Study:
    from nas.progress import ProgressView

    logging.basicConfig(format="nas: %(message)s", level=logging.INFO if os.environ.get("NAS_DEBUG") else logging.ERROR)
    # Decoding a folder of images and a server that is down take a while; a cluster that is open, or smaller than asked for, weights that go
    # elsewhere or are not kept, and a store that older programs can no longer read, are to be known.
    for telling in ("trainer.packing", "studies.outages", "studies.database", "nas.engine.cluster", "nas.kept_weights"):
        logging.getLogger(telling).setLevel(logging.WARNING)
    with terminable() as terminated:
        try:
            with ProgressView(config.objectives[0]) as view:
                return run_search(
                    config,
                    name=name,
                    store=store,
                    budget=run.budget,
                    reuse=run.reuse or (),
                    listener=view,
                    step_timeout=_seconds(run.step_timeout),
                    **{flag: getattr(run, flag) for flag in AS_WRITTEN},
                )
        except KeyboardInterrupt:
            code = 128 + (terminated or [signal.SIGINT])[0]
            typer.echo("nas: stopped; what is finished is stored, and the same command goes on from here", err=True)
            if run.engine == "ray":  # interrupted, Ray's native threads may crash while Python takes itself apart
                sys.stdout.flush()
                os._exit(code)
            raise typer.Exit(code) from None


def _print_candidates(config: StudyConfig, format: Format) -> None:
    space, feasible = config.space, config.space.feasible_set()
    if len(space) <= LISTED:
        candidates, listed = space.enumerate(), ""
    else:
        shown = SHOWN if format == "table" else len(feasible)
        candidates, listed = [feasible.candidate(index) for index in _spread(len(feasible), shown)], f", {min(shown, len(feasible))} listed"
    rows = [
        {
            **candidate.params,
            "variant": candidate.config.short_name if candidate.config else None,
            "style": style_of(candidate.config) if candidate.config else space.style,
            **(asdict(candidate.cost) if candidate.cost else {}),
            "size_error": candidate.size_error,
            **_pair(space, candidate),
            "feasible": candidate.feasible,
            "reason": candidate.reason,
        }
        for candidate in candidates
    ]
    choice = choice_columns(space.domains)
    sizes = [*map(metric_column, ("params", "flops")), percent_column("size_error", "size error")]
    if space.name == "scaling":
        sizes += [Column(name, symbol, "{:.3f}".format, optional=True) for name, symbol in COEFFICIENTS.items()]
    counted = f"costs at {space.image_size} px with {space.num_classes} classes"
    total = len(space) if listed else len(candidates)
    title = f"{total:,} candidates, {len(feasible):,} feasible{listed} ({counted})"
    columns = [*choice, *VARIANT, *sizes, Column("feasible", "feasible", plain=True)]
    output.print_with_reasons(rows, columns, named_by=choice, format=format, title=title)


def _pair(space: SearchSpace, candidate: Candidate) -> dict[str, float | None]:
    """The effective coefficients of a scaled candidate; None for the base."""
    if space.name != "scaling" or candidate.config is None:
        return {}
    point = scaling_point(space, candidate.params, candidate.config)
    return {"alpha": point.alpha, "beta": point.beta}


def _spread(total: int, shown: int) -> list[int]:
    """`shown` numbers of 0..total-1, evenly spaced; all where there are no more."""
    return [index * total // min(shown, total) for index in range(min(shown, total))]


def _print_next(study: Study) -> None:
    url, front = shown(study.store.url), study.front()
    store = [] if study.store.url == os.environ.get("NAS_STORE", DEFAULT_STORE) else ["--store", url]
    best = [str(trial.number) for trial in front[:1]]
    export = ["export", study.name, "--trial", *best, "--format", "yaml", "--out", "variants", *store]
    commands = [
        (["show", study.name, *store], "every trial, infeasible ones with their reason"),
        *([(export, "the best variant as a file")] if front else []),
        _family(study, store),
        (["dashboard", *store], "fronts, trials and learning curves in the browser"),
    ]
    output.print_commands([(shlex.join([_program(), *command]), why) for command, why in commands])


def _family(study: Study, store: list[str]) -> tuple[list[str], str]:
    """What comes next for a family: its law where it was searched, else a first larger member."""
    if study.config.space.name == "scaling":
        return ["fit", study.name, *store], "how the error falls with size, and the best pair"
    return ["scale", "--phi", "3"], "a larger member of the family"


def _program() -> str:
    """How this program was called, where `nas` alone would not find it."""
    called = Path(sys.argv[0])
    return str(called) if called.name == "nas" and which("nas") is None else "nas"
