"""A study as one file that opens offline: the dashboard's figures, its trials and where they come from."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import pandas as pd

from dashboard.charts.curves import compared_curves_figure
from dashboard.charts.front import DEFAULT_KINDS, front_figure
from dashboard.charts.hypervolume import TITLES, hypervolume_figure
from dashboard.charts.ledger import ledger_figure
from dashboard.charts.references import MARKED
from dashboard.charts.scaling import law_figure, plane_figure, residual_figure
from dashboard.charts.stacking_map import scale_figure, stacking_figures
from dashboard.quantities import duration, shown
from dashboard.report_page import Section, beside, details, escaped, figure, numbers, page, paragraph, table
from dashboard.scaling_points import exponents_of, family_table, scaling_points
from dashboard.stacking_cells import cells, infeasible_places, placed
from dashboard.standing import candidates, reached, standing
from dashboard.tables import fidelities, reasons_table, trials_table
from searchspace.cost import cost
from searchspace.family import PHIS, ScaleRule, scaled_family
from searchspace.model_config import ModelConfig
from searchspace.presets import PRESETS
from searchspace.scaling import ALPHA, BETA
from studies.fidelity import fidelity_text
from studies.frames import reports_frame
from studies.page_data import read_trials
from studies.provenance import versions
from studies.records import METRICS, StudyRecord, StudySummary, TrialState
from studies.spaces import space_of
from studies.store import Store

MOST_TRIALS = 2000  # rows of a table
MOST_MAPS = 12
CURVES = 4  # as many as can be told apart


@dataclass(frozen=True)
class Told:
    """What a report is made of: `frame` has a row a trial, `rows` one a candidate, with means over its seeds."""

    store: Store
    summary: StudySummary
    frame: pd.DataFrame
    rows: pd.DataFrame

    @property
    def study(self) -> StudyRecord:
        """The study's record."""
        return self.summary.study

    @property
    def metric(self) -> str | None:
        """What colours stand for: the first objective that complete trials have a value of, or else the accuracy or the loss."""
        complete = self.frame[self.frame["state"] == TrialState.COMPLETE.value]
        wanted = [*(objective.metric for objective in self.study.objectives), "top1", "loss"]
        trained = [name for name in wanted if METRICS[name].origin != "cost"]
        return next((name for name in (*trained, *wanted) if name in complete and complete[name].notna().any()), None)


def study_report(store: Store, name: str) -> str:
    """The report of a study as HTML; StoreError for one that the store does not have.

    It is self-contained: Plotly's script is inside, nothing is fetched, and all text of the store stays text.
    """
    study = store.study(name)
    summary = next(each for each in store.studies() if each.study.id == study.id)
    frame = read_trials(store, study)
    told = Told(store, summary, frame, candidates(frame, study))
    sections = [section for make in SECTIONS if (section := make(told)) is not None]
    return page(f"{study.name} – study report", _head(told), sections)


def _head(told: Told) -> str:
    study, counts = told.study, told.summary.counts
    where, first = standing(told.frame, study), study.objectives[0]
    known = {
        f"best {METRICS[first.metric].name}": shown(first.metric, where.best),
        "on the front": f"{int(told.rows['on_front'].sum()):,}",
        **{state.value.lower(): f"{counts[state]:,}" for state in TrialState if counts.get(state)},
        "hypervolume": "–" if where.hypervolume is None else f"{where.hypervolume:.3f}",
        "device time": duration(sum(told.store.ledger.of(study).values())),
    }
    aims = " and ".join(f"{METRICS[each.metric].name} ({each.direction})" for each in study.objectives)
    effort = fidelity_text(fidelities(told.frame))
    lines = [aims, *([f"Measured on {effort}."] if effort else []), f"As of {datetime.now(UTC):%Y-%m-%d %H:%M} UTC."]
    return f"<h1>{escaped(study.name)}</h1>{''.join(paragraph(line, dim=True) for line in lines)}{numbers(known)}"


def _front(told: Told) -> Section | None:
    rows = told.rows
    if not rows["on_front"].any():
        return Section("Pareto front", paragraph("No trial is complete yet."))
    space = told.study.config.get("space") or {}
    size = {name: space[name] for name in ("image_size", "num_classes") if name in space}
    references = {name: asdict(cost(PRESETS[name].config, **size)) for name in MARKED}
    drawn = front_figure(rows, told.study.objectives, kinds=DEFAULT_KINDS, references=references)
    grown = reached(rows, told.study)
    volumes = beside(figure(hypervolume_figure(grown, over=over), alt=f"Hypervolume over {TITLES[over]}") for over in TITLES)
    names = " against ".join(METRICS[objective.metric].name for objective in told.study.objectives)
    effort = fidelity_text(fidelities(rows[rows["on_front"]]))
    said = (
        f"{f'Fidelity: {effort}. ' if effort else ''}Costs are those of the full-size variants; published ones are marked by theirs alone."
    )
    return Section("Pareto front", figure(drawn, alt=f"Pareto front, {names}") + paragraph(said, dim=True) + volumes)


def _curves(told: Told) -> Section | None:
    """The curves of the best on the front, those that were trained."""
    first = told.study.objectives[0]
    front = told.rows[told.rows["on_front"]].sort_values([first.metric, "number"], ascending=[first.direction == "minimize", True])
    names = {int(row["number"]): f"{row['variant']} · trial {row['number']}" for row in front.head(CURVES).to_dict("records")}
    reports = reports_frame(told.store.reports(told.study, numbers=list(names)))
    wanted = told.metric or "top1"
    metric = wanted if wanted in reports and METRICS[wanted].origin == "trained" else "top1"
    if reports.empty or metric not in reports:
        return None
    drawn = compared_curves_figure(reports, names, metric=metric)
    return Section("Learning curves of the front", figure(drawn, alt=f"{METRICS[metric].name} by epoch of {len(names)} trials"))


def _stacking(told: Told) -> Section | None:
    space, metric = space_of(told.study.config), told.metric
    trials = placed(told.frame)
    if metric is None or trials.empty or (space is not None and space.name == "scaling"):
        return None
    grid = cells(trials, metric, "best", infeasible_places(space))
    maps = list(stacking_figures(grid, metric).items())[:MOST_MAPS]
    drawn = [
        f"<h3>C1 = {channels}</h3>" + figure(each, alt=f"{METRICS[metric].name} by L1 and C′ at C1 = {channels}") for channels, each in maps
    ]
    scale = figure(scale_figure(grid, metric), alt=f"Colour scale of {METRICS[metric].name}")
    said = f"{METRICS[metric].label} of complete trials; ★ is the best, hatched cells are infeasible, empty ones have not been tried."
    return Section("Stacking map", beside(drawn) + scale + paragraph(said, dim=True))


def _scaling(told: Told) -> Section | None:
    space, metric = space_of(told.study.config), told.metric
    if space is None or space.name != "scaling" or space.base is None or metric is None:
        return None
    newest = next(iter(told.store.fits.of(told.study)), None)
    content = None if newest is None else newest.content
    best = (content or {}).get("best")
    points = scaling_points(told.frame, space.base, metric)
    plane = plane_figure(points, exponents_of(space, content), metric, fitted=content)
    parts = [figure(plane, alt=f"{METRICS[metric].name} of {len(points)} variants by α and β")]
    if content is None:
        parts.append(paragraph("No law has been fitted to this study.", dim=True))
    elif not best:
        parts.append(paragraph(f"No best pair: {content.get('refused') or 'the fit was refused'}"))
    else:
        parts.append(paragraph(f"Best pair of the fit: α = {best['alpha']:.3f}, β = {best['beta']:.3f}."))
    if content is not None and content.get("points"):
        drawn = ((law_figure(content), "The fitted law over cost"), (residual_figure(content), "Predicted against measured"))
        parts.append(beside(f"<h3>{title}</h3>" + figure(each, alt=title) for each, title in drawn))
    parts.append(_family(space.base, best))
    return Section("Scaling", "".join(parts))


def _family(base: ModelConfig, best: Mapping[str, Any] | None) -> str:
    """The base scaled by the fitted pair, or the paper's."""
    alpha, beta = (best["alpha"], best["beta"]) if best else (ALPHA, BETA)
    title = f"<h3>The family by {'the fitted pair' if best else 'the paper’s pair'}</h3>"
    try:
        return title + table(family_table(scaled_family(base, PHIS, ScaleRule(alpha=alpha, beta=beta))), words=[""])
    except ValueError as error:
        return title + paragraph(f"{base.short_name} cannot be scaled so far: {error}", dim=True)


def _ledger(told: Told) -> Section | None:
    spent = told.store.ledger.of(told.study)
    if not sum(spent.values()):
        return None
    total = sum(spent.values())
    kept = {category: seconds for category, seconds in sorted(spent.items(), key=lambda item: -item[1]) if seconds}
    rows = pd.DataFrame(
        {"category": list(kept), "time": map(duration, kept.values()), "share": [f"{seconds / total:.1%}" for seconds in kept.values()]}
    )
    drawn = figure(ledger_figure({told.study.name: spent}), alt="Device-hours by category")
    return Section("Device time", drawn + table(rows, words=["category"]))


def _trials(told: Told) -> Section | None:
    if told.rows.empty:
        return None
    found = trials_table(told.rows, told.study.objectives)
    shown_rows = found.head(MOST_TRIALS)
    plain = pd.DataFrame({_title(name): _written(name, shown_rows[name]) for name in map(str, shown_rows)})
    left = f" The best {MOST_TRIALS:,} of {len(found):,}; `nas trials` writes all." if len(found) > MOST_TRIALS else ""
    said = f"★ stands on the front.{left} Variants as C1, C′, L1, L3."
    return Section("Trials", paragraph(said, dim=True) + table(plain, words=["front", "variant", "state"]))


def _left_out(told: Told) -> Section | None:
    parts = []
    for state, title in ((TrialState.INFEASIBLE, "Infeasible, never trained"), (TrialState.FAILED, "Failed")):
        found = reasons_table(told.frame, state)
        if len(found):
            parts.append(
                f"<h3>{title} ({len(found):,})</h3>" + table(found.head(MOST_TRIALS).astype(str), words=["choice"], long=["reason"])
            )
    return Section("Left out, and why", "".join(parts)) if parts else None


def _provenance(told: Told) -> Section | None:
    files = told.store.artifacts.of(told.study)
    made = {"study made": f"{told.study.created_at:%Y-%m-%d %H:%M} UTC", "last change": f"{told.summary.updated_at:%Y-%m-%d %H:%M} UTC"}
    facts = {**made, **{f"{package} here": number for package, number in versions().items()}}
    parts = [table(pd.DataFrame({"": list(facts), "value": list(facts.values())}), words=["", "value"])]
    parts.append(details("Configuration of the study", dict(told.study.config)))
    if files:
        rows = [
            {"trial": each.trial, "kind": each.kind, "file": each.path.name, "bytes": f"{each.size:,}", "SHA-256": each.sha256}
            for each in files
        ]
        parts += ["<h3>Files that trials left</h3>", table(pd.DataFrame(rows), words=["kind", "file", "SHA-256"])]
    return Section("Provenance", "".join(parts))


SECTIONS: Sequence[Callable[[Told], Section | None]] = (
    _front, _stacking, _scaling, _curves, _trials, _left_out, _ledger, _provenance
)  # fmt: skip


def _title(name: str) -> str:
    metric = name.removesuffix("_std")
    if metric not in METRICS:
        return name
    return METRICS[metric].label if metric == name else f"± {METRICS[metric].name}"


def _written(name: str, column: "pd.Series[Any]") -> list[str]:
    """A column of `trials_table` as it is read: metrics with their decimals, an en dash where there is none."""
    metric = METRICS.get(name.removesuffix("_std"))
    if metric is None:
        return [str(value) for value in column]
    return ["–" if pd.isna(value) else f"{value:,.{metric.decimals}f}" for value in column]
