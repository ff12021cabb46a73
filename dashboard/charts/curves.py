"""Learning curves as figures: one trial among many, and a few side by side."""

import html
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from dashboard.charts.theme import BLUE, GREEN, GREY, ORANGE, VERMILLION, axis_title, heading, styled
from dashboard.quantities import shown
from studies.records import METRICS

# Colour, dash and marker: told apart without colour too.
LOOKS = ((BLUE, "solid", "circle"), (VERMILLION, "dash", "square"), (GREEN, "dot", "diamond"), (ORANGE, "dashdot", "triangle-up"))


def curves_figure(
    reports: pd.DataFrame,
    *,
    metric: str = "top1",
    names: Mapping[int, str] | None = None,
    chosen: int | None = None,
    rungs: Sequence[int] = (),
) -> go.Figure:
    """One learning curve a trial of a `reports_frame`; the chosen trial lies on top in colour, `names` are shown on hovering.

    `rungs` are the epochs at which trials were compared, drawn as lines.
    """
    known = _known(reports, metric)
    figure = go.Figure()
    curves: dict[Any, pd.DataFrame] = dict(iter(known.groupby("number")))
    for number in sorted(curves, key=lambda number: number == chosen):
        label = heading(number, (names or {}).get(number))
        figure.add_trace(_curve(curves[number], metric, label, highlighted=number == chosen))
    for epoch in rungs:
        figure.add_vline(x=epoch, line={"color": GREY, "width": 1, "dash": "dot"})
    return _styled(figure, known, metric, legend=chosen is not None)


def compared_curves_figure(reports: pd.DataFrame, names: Mapping[int, str], *, metric: str) -> go.Figure:
    """The curves of the trials in `names`, in its order, each with a colour, dash and marker of its own; at most four."""
    known = _known(reports, metric)
    figure = go.Figure()
    for (number, name), (color, dash, symbol) in zip(names.items(), LOOKS, strict=False):
        of_trial = known[known["number"] == number]
        trace = _curve(of_trial, metric, html.escape(name, quote=False), highlighted=True)
        figure.add_trace(trace.update(line={"color": color, "dash": dash, "width": 2.5}, marker={"symbol": symbol}))
    return _styled(figure, known, metric, legend=True)


def _known(reports: pd.DataFrame, metric: str) -> pd.DataFrame:
    return reports.dropna(subset=[metric]) if metric in reports else reports.iloc[:0]


def _styled(figure: go.Figure, known: pd.DataFrame, metric: str, *, legend: bool) -> go.Figure:
    last = int(known["epoch"].max()) if len(known) else 1
    figure.update_xaxes(dtick=max(1, -(-last // 10)), tickformat="d")
    return styled(figure, x_title="epoch", y_title=axis_title(metric), keep=metric, legend=legend)


def _curve(reports: pd.DataFrame, metric: str, label: str, *, highlighted: bool) -> go.Scatter:
    values = zip(reports["epoch"], reports[metric], strict=True)
    color, width, size, opacity = (VERMILLION, 3, 9, 1.0) if highlighted else (GREY, 1.5, 5, 0.45)
    return go.Scatter(
        x=reports["epoch"],
        y=reports[metric] / METRICS[metric].scale,
        mode="lines+markers",
        name=label,
        showlegend=highlighted,
        opacity=opacity,
        line={"color": color, "width": width},
        marker={"size": size},
        hovertext=[f"{label}<br>epoch {epoch}: {shown(metric, value)}" for epoch, value in values],
        hoverinfo="text",
    )
