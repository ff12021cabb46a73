"""The front of a study by two or three metrics, how it grew, and the table of its trials."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from dashboard.charts.front import DEFAULT_KINDS, KINDS, front_figure, split_kinds
from dashboard.charts.hypervolume import TITLES, hypervolume_figure
from dashboard.charts.references import MARKED, are_marked
from dashboard.page import Page, choice, choices, open_trial, stamp
from dashboard.plain import as_text
from dashboard.plot import draw, is_drawn
from dashboard.quantities import number_format
from dashboard.standing import candidates, front_of, reached
from dashboard.tables import fidelities, trials_table
from dashboard.views.headline import show_numbers
from dashboard.views.left_out import show_left_out
from searchspace.cost import Cost, cost
from searchspace.presets import PRESETS
from studies.fidelity import fidelity_text
from studies.records import METRICS, Objective

PUBLISHED = "published"
COUNTED = tuple(field.name for field in fields(Cost))  # what is known of them
NO_AXIS = "none"
FLAT = 2  # axes
COUNTED_AT = (224, 1000)  # image side and classes of the published tables
TABLE = "trials"
KEPT = 64  # figures


def show_front(page: Page) -> None:
    """Numbers, the figure with its switches, the hypervolume and the trials behind them."""
    show_numbers(page)
    rows = candidates(page.frame, page.study)
    if len(metrics := _metrics(page, rows)) > 1:
        axes = _show_figure(page, rows, metrics)
        if len(axes) == FLAT and not is_drawn("front"):  # a scene would lose a click on it that the page grows under
            return
        _show_hypervolume(page, rows)
    else:
        st.info("No trial is complete yet: the front appears with the first one.", icon=":material/hourglass_empty:")
    if len(rows):
        show_trials(trials_table(rows, page.objectives), page.objectives)
    show_left_out(page.frame)


def _metrics(page: Page, rows: pd.DataFrame) -> list[str]:
    """What may be an axis: what is known of a complete trial, objectives first."""
    complete = rows[rows["state"] == "COMPLETE"]
    known = [name for name in METRICS if complete[name].notna().any()]
    first = [objective.metric for objective in page.objectives]
    return [*(name for name in first if name in known), *(name for name in known if name not in first)]


def _show_figure(page: Page, rows: pd.DataFrame, metrics: Sequence[str]) -> Sequence[Objective]:
    """The front with its switches; returns its axes."""
    axes = _choose_axes(page, metrics)
    rows = front_of(rows, page.study, axes)
    kinds = _choose_kinds(rows)
    references = _references(page) if PUBLISHED in kinds and are_marked(axes, COUNTED) else {}
    figure = _figure(page, rows, references, stamp(page.summary), tuple(axes), tuple(kinds), page.selected)
    names = [METRICS[axis.metric].name for axis in axes]
    draw(figure, "front", alt=f"Pareto front of {int(rows['on_front'].sum())} trials, {' against '.join(names)}", on_click=open_trial)
    _show_caption(page, rows, names, marked=bool(references))
    return axes


@st.cache_resource(max_entries=KEPT, show_spinner=False)
def _figure(
    _page: Page,
    _rows: pd.DataFrame,
    _references: Mapping[str, Mapping[str, float]],
    stamp: tuple[object, ...],
    axes: tuple[Objective, ...],
    kinds: tuple[str, ...],
    selected: int | None,
) -> go.Figure:
    """The figure of the front, made again only when something has changed."""
    return front_figure(_rows, _page.objectives, axes=axes, kinds=kinds, selected=selected, references=_references)


@st.cache_resource(max_entries=KEPT, show_spinner=False)
def _reached(_page: Page, _rows: pd.DataFrame, stamp: tuple[object, ...]) -> pd.DataFrame:
    """How the hypervolume grew."""
    return reached(_rows, _page.study)


def _choose_axes(page: Page, metrics: Sequence[str]) -> list[Objective]:
    """The metrics upwards, to the right and, if wanted, in depth; at first the objectives, beside a single one its parameters."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        y = choice("y", metrics, metrics[0], label="Upwards", show=_name, kind="list")
        beside = [metric for metric in metrics if metric != y]
        usual = [*(each.metric for each in page.objectives), "params", "flops", *beside]
        x = choice("x", beside, next(metric for metric in usual if metric in beside), label="To the right", show=_name, kind="list")
        behind = [NO_AXIS, *(metric for metric in beside if metric != x)]
        z = choice("z", behind, NO_AXIS, label="In depth", show=_name, kind="list")
    directions = {objective.metric: objective for objective in page.objectives}
    return [directions.get(metric) or Objective.of(metric) for metric in (y, x, z) if metric != NO_AXIS]


def _choose_kinds(rows: pd.DataFrame) -> list[str]:
    counts = {kind: len(trials) for kind, trials in split_kinds(rows).items()}
    there = [kind for kind in KINDS if counts[kind]]
    labels = {kind: f"{KINDS[kind].name} ({counts[kind]:,})" for kind in there} | {PUBLISHED: "published T S B L XL"}
    return choices("show", [*there, PUBLISHED], [*DEFAULT_KINDS, PUBLISHED], label="Show", show=labels.__getitem__)


def _references(page: Page) -> Mapping[str, Mapping[str, float]]:
    """The exact costs of the published variants, counted as the study's are."""
    image_size, classes = _counted_at(page.study.config)
    return {name: asdict(cost(PRESETS[name].config, image_size=image_size, num_classes=classes)) for name in MARKED}


def _counted_at(config: Mapping[str, Any]) -> tuple[int, int]:
    space = config.get("space") or {}
    return space.get("image_size", COUNTED_AT[0]), space.get("num_classes", COUNTED_AT[1])


def _show_caption(page: Page, rows: pd.DataFrame, names: Sequence[str], *, marked: bool) -> None:
    """What the front is of, and at what effort it was measured."""
    told = [f"The front of {' and '.join(names)}. A click on a point opens its trial."]
    if effort := fidelity_text(fidelities(rows[rows["on_front"]])):
        told.append(f"Fidelity: {as_text(effort)}. Costs are those of the full-size variant.")
    if page.seeds > 1:
        told.append(f"A point is a candidate, with the mean and the standard deviation over up to {page.seeds} seeds.")
    if marked:
        told.append("Published variants are marked by their costs alone: their accuracy is not a proxy's.")
    st.caption(" ".join(told))


def _show_hypervolume(page: Page, rows: pd.DataFrame) -> None:
    grown = _reached(page, rows, stamp(page.summary))
    for column, over in zip(st.columns(2), TITLES, strict=True):
        with column:
            alt = f"Hypervolume over {TITLES[over]}"
            draw(hypervolume_figure(grown, over=over), f"hypervolume-{over}", alt=alt, on_click=open_trial)


def show_trials(table: pd.DataFrame, objectives: Sequence[Objective]) -> None:
    """The table of trials with every metric in its unit; a click on a row opens the trial."""
    if table.empty:
        return
    aims = {objective.metric: objective.direction for objective in objectives}
    columns = {
        "number": st.column_config.NumberColumn("trial", width=60, pinned=True),
        "front": st.column_config.TextColumn("front", width=55, help="★ stands on the front of the study's objectives"),
        "variant": st.column_config.TextColumn("variant", help="C1, C′, L1, L3: channels, group channels, depths of stages 1 and 3"),
        **{m: st.column_config.NumberColumn(METRICS[m].name, format=number_format(m), help=_aim(aims.get(m))) for m in METRICS},
        **{f"{m}_std": st.column_config.NumberColumn(f"± {METRICS[m].name}", format=number_format(m)) for m in METRICS},
    }
    numbers = table["number"].tolist()
    st.dataframe(
        table,
        hide_index=True,
        column_config=columns,
        key=TABLE,
        height=min(420, 38 + 35 * len(table)),
        alt="Table of trials",
        on_select=lambda: _open(numbers),
        selection_mode="single-cell",
    )


def _open(numbers: Sequence[int]) -> None:
    if cells := st.session_state[TABLE].selection.cells:
        open_trial(numbers[cells[0][0]])


def _aim(direction: str | None) -> str | None:
    return None if direction is None else f"an objective: {direction}"


def _name(metric: str) -> str:
    return metric if metric == NO_AXIS else METRICS[metric].name
