"""How every figure looks, legible on light and on dark pages: palette, axes, and the words that hovering shows."""

import html
import textwrap
from collections.abc import Hashable, Iterator, Mapping
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from dashboard.quantities import shown
from studies.records import METRICS

# Okabe and Ito's palette, safe for colour-blind readers; the grey lies half-way between both pages.
BLUE, VERMILLION, GREY = "#0072B2", "#D55E00", "#8A939B"
ORANGE, GREEN, PURPLE, SKY, YELLOW = "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#F0E442"
PALETTE = (BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILLION, YELLOW, GREY)  # for series side by side, in this order
SEQUENTIAL = "Cividis"  # even steps to the eye, for colour-blind readers too
CLEAR = "rgba(0,0,0,0)"
GRID, EDGE = "rgba(138,147,155,0.22)", "rgba(138,147,155,0.6)"
CHOICE = "(C1, C′, L1, L3)"


def hover_text(trial: Mapping[Hashable, Any]) -> str:
    """What hovering over a trial tells: variant, number, style, costs and metrics; text of the store is escaped."""
    return hover_texts(pd.DataFrame([dict(trial)]))[0]


def hover_texts(frame: pd.DataFrame) -> list[str]:
    """`hover_text` of every row of a `trials_frame`, column by column: ten thousand rows take a tenth of a second."""
    parts = [_column(frame, "number", heading, frame["variant"]), *_described(frame), *_measured(frame), *_ended(frame)]
    return ["<br>".join(line for line in lines if line) for lines in zip(*parts, strict=True)] if len(frame) else []


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
    grid = {"gridcolor": GRID, "zeroline": False, "automargin": True}
    figure.update_xaxes(title=x_title, showline=True, linecolor=EDGE, **grid)
    figure.update_yaxes(title=y_title, **grid)
    return figure.update_layout(
        height=430,
        margin={"l": 8, "r": 12, "t": 40, "b": 8},
        paper_bgcolor=CLEAR,
        plot_bgcolor=CLEAR,
        showlegend=legend,
        legend={"orientation": "h", "x": 0, "xanchor": "left", "y": 1.02, "yanchor": "bottom", "bgcolor": CLEAR},
        hoverlabel={"align": "left"},
        hovermode="closest",
        dragmode=False,  # a finger on the chart scrolls the page; the tool bar still zooms
        uirevision=keep,
    )


def _column(frame: pd.DataFrame, name: str, write: Any, *others: "pd.Series[Any]") -> list[str]:
    """A line for every row, empty where the column has no value."""
    return [write(*values) if is_known(values[0]) else "" for values in zip(frame[name], *others, strict=True)]


def _described(frame: pd.DataFrame) -> Iterator[list[str]]:
    named = f"<i>{CHOICE}</i>"
    if "style" not in frame:
        yield [named] * len(frame)
        return
    yield [f"<i>{CHOICE}, style {html.escape(str(style))}</i>" if is_known(style) else "" for style in frame["style"]]


def _measured(frame: pd.DataFrame) -> Iterator[list[str]]:
    """A line for each metric that a row has, with its spread where its choice has several seeds."""
    for name in (name for name in METRICS if name in frame and frame[name].notna().any()):
        metric, spread = METRICS[name], f"{name}_std"
        if spread in frame:
            yield _column(frame, name, lambda value, std, seeds, name=name: _spread(name, value, std, seeds), frame[spread], frame["seeds"])
        else:
            yield _column(frame, name, lambda value, metric=metric: f"{metric.name} {metric.show(value)}{metric.unit}")


def _spread(name: str, value: float, std: float, seeds: int) -> str:
    written = f"{METRICS[name].name} {shown(name, value)}"
    return f"{written} ± {shown(name, std)} over {seeds:.0f} seeds" if is_known(std) else written


def _ended(frame: pd.DataFrame) -> Iterator[list[str]]:
    """What became of trials that are not complete, and why."""
    if "state" in frame:
        epochs = frame["fidelity_epochs"] if "fidelity_epochs" in frame else pd.Series(None, frame.index, dtype=object)
        yield [_state(state, after) for state, after in zip(frame["state"], epochs, strict=True)]
    if "reason" in frame and frame["reason"].notna().any():
        yield _column(frame, "reason", lambda reason: "<br>".join(map(html.escape, textwrap.wrap(str(reason), 60)[:4])))


def _state(state: str, epochs: Any) -> str:
    if state == "COMPLETE":
        return ""
    return state.lower() + (f" after epoch {epochs:g}" if is_known(epochs) and state != "INFEASIBLE" else "")
