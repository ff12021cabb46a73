"""How every figure looks, legible on light and on dark pages: palette, axes, and the words that hovering shows."""

import html
from collections.abc import Hashable, Mapping
from typing import Any

import plotly.graph_objects as go

from dashboard.quantities import shown
from studies.records import METRICS

# Okabe and Ito's palette, safe for colour-blind readers; the grey lies half-way between both pages.
BLUE, VERMILLION, GREY = "#0072B2", "#D55E00", "#8A939B"
CLEAR = "rgba(0,0,0,0)"


def hover_text(trial: Mapping[Hashable, Any]) -> str:
    """What hovering over a trial tells: variant, number, costs and metrics; text of the store is escaped."""
    lines = [f"{METRICS[metric].name} {shown(metric, trial.get(metric))}" for metric in METRICS if is_known(trial.get(metric))]
    return "<br>".join([heading(trial["number"], trial["variant"]), "<i>(C1, C′, L1, L3)</i>", *map(html.escape, lines)])


def heading(number: object, variant: object) -> str:
    """Variant and trial as HTML for hovering, text of the store escaped."""
    where = f"trial {html.escape(str(number))}"
    return f"<b>{html.escape(str(variant))}</b> · {where}" if variant else where


def axis_title(metric: str) -> str:
    """The metric with its unit."""
    return METRICS[metric].label


def is_known(value: object) -> bool:
    """Whether a cell of a frame holds a value."""
    return value is not None and value == value


def styled(figure: go.Figure, *, x_title: str, y_title: str, keep: str, legend: bool = True) -> go.Figure:
    """Transparent, with thin grey lines, and the same zoom after a refresh as long as `keep` stays the same."""
    grid = {"gridcolor": "rgba(138,147,155,0.22)", "zeroline": False, "automargin": True}
    figure.update_xaxes(title=x_title, showline=True, linecolor="rgba(138,147,155,0.6)", **grid)
    figure.update_yaxes(title=y_title, **grid)
    return figure.update_layout(
        height=430,
        margin={"l": 8, "r": 12, "t": 40, "b": 8},
        paper_bgcolor=CLEAR,
        plot_bgcolor=CLEAR,
        showlegend=legend,
        legend={"orientation": "h", "x": 0, "xanchor": "left", "y": 1.02, "yanchor": "bottom", "bgcolor": CLEAR},
        hoverlabel={"align": "left"},
        dragmode=False,  # a finger on the chart scrolls the page; the tool bar still zooms
        uirevision=keep,
    )
