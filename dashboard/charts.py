"""Figures from data frames: the Pareto front and the learning curves, legible on light and on dark pages."""

import html
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from dashboard.quantities import shown
from studies.records import METRICS, Objective

# Okabe and Ito's palette, safe for colour-blind readers; the grey lies half-way between both pages.
BLUE, VERMILLION, GREY = "#0072B2", "#D55E00", "#8A939B"
CLEAR = "rgba(0,0,0,0)"


def front_figure(frame: pd.DataFrame, objectives: Sequence[Objective]) -> go.Figure:
    """The measured trials of a `trials_frame` with its front: first objective upwards, second (or parameters) to the right."""
    y, x = _axes(objectives)
    measured = frame[frame["state"].isin(["COMPLETE", "PRUNED"])].dropna(subset=[x.metric, y.metric])
    front = measured["on_front"].astype(bool)
    partial = _partly_trained(measured) & ~front
    figure = go.Figure()
    for name, symbol, faint in (("dominated", "circle", ~front & ~partial), ("partly trained", "x-thin-open", partial)):
        if faint.any():
            figure.add_trace(_points(measured[faint], x, y, name=name, marker=_marker(GREY, 9, symbol=symbol, opacity=0.75)))
    figure.add_trace(_front(measured[front].sort_values(x.metric), x, y, joined=len(objectives) == 2))
    return _styled(figure, x_title=_title(x.metric), y_title=_title(y.metric), keep=f"{x.metric}/{y.metric}")


def curves_figure(
    reports: pd.DataFrame, *, metric: str = "top1", names: Mapping[int, str] | None = None, chosen: int | None = None
) -> go.Figure:
    """One learning curve a trial of a `reports_frame`; the chosen trial lies on top in colour, `names` are shown on hovering."""
    known = reports.dropna(subset=[metric]) if metric in reports else reports.iloc[:0]
    figure = go.Figure()
    for number, of_trial in sorted(known.groupby("number"), key=lambda item: item[0] == chosen):
        label = _heading(number, (names or {}).get(number))
        figure.add_trace(_curve(of_trial, metric, label, highlighted=number == chosen))
    last = int(known["epoch"].max()) if len(known) else 1
    figure.update_xaxes(dtick=max(1, -(-last // 10)), tickformat="d")
    return _styled(figure, x_title="epoch", y_title=_title(metric), keep=metric, legend=chosen is not None)


def hover_text(trial: Mapping[Hashable, Any]) -> str:
    """What hovering over a trial tells: variant, number, costs and metrics; text of the store is escaped."""
    lines = [f"{METRICS[metric].name} {shown(metric, trial.get(metric))}" for metric in METRICS if _is_known(trial.get(metric))]
    return "<br>".join([_heading(trial["number"], trial["variant"]), "<i>(C1, C′, L1, L3)</i>", *map(html.escape, lines)])


def _heading(number: object, variant: object) -> str:
    where = f"trial {html.escape(str(number))}"
    return f"<b>{html.escape(str(variant))}</b> · {where}" if variant else where


def _axes(objectives: Sequence[Objective]) -> tuple[Objective, Objective]:
    if len(objectives) > 1:
        return objectives[0], objectives[1]
    return objectives[0], Objective.of("flops" if objectives[0].metric == "params" else "params")


def _partly_trained(measured: pd.DataFrame) -> "pd.Series[bool]":
    pruned = measured["state"] == "PRUNED"
    if "fidelity_epochs" not in measured:
        return pruned
    return pruned | (measured["fidelity_epochs"] < measured.loc[~pruned, "fidelity_epochs"].max())


def _points(trials: pd.DataFrame, x: Objective, y: Objective, **look: object) -> go.Scatter:
    return go.Scatter(
        x=trials[x.metric] / METRICS[x.metric].scale,
        y=trials[y.metric] / METRICS[y.metric].scale,
        **{"mode": "markers", **look},
        customdata=trials["number"],
        hovertext=[hover_text(trial) for trial in trials.to_dict("records")],
        hoverinfo="text",
    )


def _front(trials: pd.DataFrame, x: Objective, y: Objective, *, joined: bool) -> go.Scatter:
    """The front, joined by the steps that bound what has been reached."""
    line = {"color": BLUE, "width": 2, "shape": "hv" if x.direction == "minimize" else "vh"}
    return _points(trials, x, y, name="Pareto front", mode="lines+markers" if joined else "markers", line=line, marker=_marker(BLUE, 12))


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


def _marker(color: str, size: int, *, symbol: str = "circle", opacity: float = 1.0) -> dict[str, object]:
    return {"color": color, "size": size, "symbol": symbol, "opacity": opacity, "line": {"width": 1.5 if "thin" in symbol else 0}}


def _title(metric: str) -> str:
    return METRICS[metric].label


def _is_known(value: object) -> bool:
    return value is not None and value == value


def _styled(figure: go.Figure, *, x_title: str, y_title: str, keep: str, legend: bool = True) -> go.Figure:
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
