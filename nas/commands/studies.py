"""Show searches."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from nas import output
from nas.api import Study, open_study
from nas.output import Column, Format, print_rows, text_column
from nas.trial_table import NUMBER, STATE, choice_columns, noise_text, spread_text, trial_columns, trial_row
from studies.fidelity import fidelity_text
from studies.pareto import pareto_front
from studies.records import METRICS, TrialState
from studies.seeds import Spread, gathered, spread
from studies.store import Store


def print_front(study: Study, format: Format) -> None:
    """Print a study's Pareto front; with several seeds that of the means over them."""
    seeds = study.config.seeds
    choices = gathered(study.trials(), seeds=seeds)
    front = pareto_front([standing for standing, _ in choices], study.objectives, study.constraints)
    complete = [standing for standing, _ in choices if standing.state is TrialState.COMPLETE]
    space, fidelity = study.config.space, next((trial.fidelity for trial in (*front, *complete)), {})
    measured = fidelity_text([fidelity]) or "nothing measured yet"
    spreads = {standing.number: spread(trials) for standing, trials in choices} if seeds > 1 else {}
    names = " against ".join(f"{objective.metric} ({objective.direction})" for objective in study.objectives)
    kind = "complete trials" if seeds == 1 else f"candidates that have all of their {seeds} seeds"
    counted = f"{len(front)} of {len(complete)} {kind}"
    if complete and not front and study.constraints:
        counted = f"none of the {len(complete)} {kind} meets {' and '.join(bound.text for bound in study.constraints)}"
    print_rows(
        [trial_row(space, trial, spreads.get(trial.number)) for trial in front],
        trial_columns(study, averages=True),
        format=format,
        title=f"Pareto front of study {study.name!r}: {names}" + (f", means over {seeds} seeds" if seeds > 1 else ""),
        caption=f"{counted}; {measured}\n{_noise(study, fidelity, spreads.values())}".rstrip(),
    )


def _noise(study: Study, fidelity: Mapping[str, Any], spreads: Iterable[Spread]) -> str:
    """Which differences on a front are noise, where anything is trained."""
    config = study.config
    if config.seeds == 1:
        return noise_text(fidelity) if config.trains else ""
    trained = next(objective.metric for objective in study.objectives if METRICS[objective.metric].origin == "trained")
    return f"± is the standard deviation over seeds; {spread_text(spreads, trained, seeds=config.seeds)}"


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
    about = [text_column("study", "study"), *(text_column(what, what, optional=True) for what in ("space", "objectives"))]
    states = ("complete", "running", "queued", "infeasible", "failed")
    counts = [Column(state, state, optional=state in ("queued", "infeasible")) for state in states]
    print_rows(rows, [*about, *counts, text_column("updated_at", "updated", optional=True)], format=format)


def show(name: str, store: str, format: Format) -> None:
    """List a study's trials."""
    study = open_study(name, store=Store(store, create=False))
    space = study.config.space
    trials = study.trials()
    rows = [trial_row(space, trial) for trial in trials]
    columns = [NUMBER, STATE, *trial_columns(study)[1:]]
    measured = fidelity_text(trial.fidelity for trial in trials)
    choice, title = choice_columns(space.domains), f"Trials of study {study.name!r}"
    output.print_with_reasons(rows, columns, named_by=choice, format=format, title=title, caption=measured)


def pareto(name: str, store: str, format: Format) -> None:
    """Print a front."""
    print_front(open_study(name, store=Store(store, create=False)), format)


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


def ledger(name: str, store: str, format: Format) -> None:
    """Print where a study's device-seconds went."""
    from nas.ledger import CATEGORIES

    study = open_study(name, store=Store(store, create=False))
    spent = study.ledger()
    total = sum(spent.values())
    rows = [
        {"category": category, "seconds": spent[category], "share": spent[category] / total, "what": what}
        for category, what in CATEGORIES.items()
        if spent.get(category)
    ]
    seconds = Column("seconds", "device-seconds", "{:,.1f}".format)
    columns = [
        text_column("category", "category"),
        seconds,
        Column("share", "share", "{:.1%}".format),
        text_column("what", "what it is", folds=True),
    ]
    caption = f"{total:,.0f} device-seconds: wall clock × trials at a time" if rows else "nothing has been spent yet"
    print_rows(rows, columns, format=format, title=f"Where the time of study {study.name!r} went", caption=caption)
