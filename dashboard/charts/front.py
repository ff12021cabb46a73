"""The trials of a study and their front as a figure, in two or three dimensions."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from dashboard.charts.layout_3d import styled_3d
from dashboard.charts.references import mark_references
from dashboard.charts.theme import BLUE, GREEN, GREY, ORANGE, PURPLE, VERMILLION, axis_title, hover_texts, styled
from studies.records import METRICS, Objective

GL_FROM = 400  # points; above, a mark each in the page's tree would be slow
STRIP = 0.06  # of the height, below the plot, for trials without a value upwards
WORDLESS_FROM = 30_000  # dominated points; hovering then names the trial alone, since words for all would be tens of megabytes


@dataclass(frozen=True, slots=True)
class Kind:
    """How trials of one kind are drawn, and which they are."""

    name: str
    color: str
    symbol: str
    size: int = 9
    opacity: float = 0.8


KINDS: Mapping[str, Kind] = {
    "dominated": Kind("dominated", GREY, "circle", opacity=0.75),
    "pruned": Kind("partly trained", ORANGE, "x"),
    "running": Kind("running", GREEN, "circle-open"),
    "infeasible": Kind("infeasible", PURPLE, "triangle-down"),
    "failed": Kind("failed", VERMILLION, "cross"),
}
DEFAULT_KINDS = ("dominated", "pruned")  # what runs began low: it would press the others together
_FRONT = Kind("Pareto front", BLUE, "circle", size=12, opacity=1.0)


def front_figure(
    frame: pd.DataFrame,
    objectives: Sequence[Objective],
    *,
    axes: Sequence[Objective] = (),
    kinds: Collection[str] = DEFAULT_KINDS,
    selected: int | None = None,
    references: Mapping[str, Mapping[str, float]] | None = None,
) -> go.Figure:
    """The trials of a `trials_frame` by two or three `axes`: upwards, to the right, and in depth.

    Without `axes` they are the first two objectives (the parameters stand in for a second one) and `on_front` is the objectives'; with
    `axes` it must be theirs. Each of the `kinds` has a trace; what cannot be placed upwards stands on a strip below, of three dimensions it
    is left out. `references` are exact costs by name, marked where costs are drawn.
    """
    drawn = tuple(axes) or _axes(objectives)
    groups = split_kinds(frame)
    figure = go.Figure()
    for kind, trials in groups.items():
        if kind in kinds:
            _add(figure, trials, drawn, KINDS[kind])
    joined = len(drawn) == 2 and (bool(axes) or len(objectives) == 2)
    _add(figure, frame[frame["on_front"].astype(bool)], drawn, _FRONT, joined=joined)
    if selected is not None:
        _ring(figure, frame[frame["number"] == selected], drawn)
    mark_references(figure, drawn, references or {})
    return _laid_out(figure, drawn)


def split_kinds(frame: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The trials that do not stand on the front by what they are: the keys of KINDS."""
    state, front = frame["state"], frame["on_front"].astype(bool)
    partly = _partly_trained(frame)
    which = {
        "dominated": (state == "COMPLETE") & ~partly & ~front,
        "pruned": partly & ~front,
        "running": state.isin(["RUNNING", "PAUSED"]),
        "infeasible": state == "INFEASIBLE",
        "failed": state == "FAILED",
    }
    return {kind: frame[of_kind] for kind, of_kind in which.items()}


def _axes(objectives: Sequence[Objective]) -> tuple[Objective, ...]:
    if len(objectives) > 1:
        return tuple(objectives[:2])
    return objectives[0], Objective.of("flops" if objectives[0].metric == "params" else "params")


def _partly_trained(frame: pd.DataFrame) -> "pd.Series[bool]":
    pruned, complete = frame["state"] == "PRUNED", frame["state"] == "COMPLETE"
    if "fidelity_epochs" not in frame:
        return pruned
    return pruned | (complete & (frame["fidelity_epochs"] < frame.loc[complete, "fidelity_epochs"].max()))


def _add(figure: go.Figure, trials: pd.DataFrame, axes: Sequence[Objective], kind: Kind, *, joined: bool = False) -> None:
    """The trials as a trace; of two dimensions, those without a value upwards on the strip."""
    y, x = axes[0].metric, axes[1].metric
    placed = trials.dropna(subset=[axis.metric for axis in axes])
    if joined:
        placed = placed.sort_values(x)
    if len(placed):
        figure.add_trace(_points(placed, axes, kind, joined=joined))
    if len(axes) == 2 and len(adrift := trials[trials[y].isna() & trials[x].notna()]):
        strip = _points(adrift.assign(**{y: 0.0}), axes, kind)
        figure.add_trace(strip.update(yaxis="y2", name=f"{kind.name}, no {METRICS[y].name}"))


def _points(
    trials: pd.DataFrame, axes: Sequence[Objective], kind: Kind, *, joined: bool = False
) -> go.Scatter | go.Scattergl | go.Scatter3d:
    y, x = (trials[axis.metric].astype(float) / METRICS[axis.metric].scale for axis in axes[:2])
    worded = len(trials) < WORDLESS_FROM
    look: dict[str, Any] = {
        "name": kind.name,
        "customdata": trials["number"],
        "hovertext": hover_texts(trials) if worded else None,
        "hovertemplate": None if worded else "trial %{customdata}<extra></extra>",
        "hoverinfo": "text" if worded else None,
        "mode": "lines+markers" if joined else "markers",
    }
    marker = {"color": kind.color, "size": kind.size, "symbol": kind.symbol, "opacity": kind.opacity}
    if len(axes) == 3:
        z = trials[axes[2].metric].astype(float) / METRICS[axes[2].metric].scale
        return go.Scatter3d(
            x=x, y=z, z=y, marker={**marker, "size": kind.size / 2.2, "symbol": _SOLID.get(kind.symbol, kind.symbol)}, **look
        )
    if joined:  # by the steps that bound what has been reached
        look["line"] = {"color": kind.color, "width": 2, "shape": "hv" if axes[1].direction == "minimize" else "vh"}
        spread = f"{axes[0].metric}_std"
        if spread in trials and trials[spread].notna().any():
            look["error_y"] = {"array": trials[spread] / METRICS[axes[0].metric].scale, "thickness": 1.2, "width": 3, "color": kind.color}
    draws = go.Scatter if joined or len(trials) < GL_FROM else go.Scattergl
    return draws(x=x, y=y, marker={**marker, "line": {"width": 0}}, **look)


_SOLID: Mapping[str, str] = {"triangle-down": "diamond"}  # three dimensions know fewer symbols


def _ring(figure: go.Figure, trial: pd.DataFrame, axes: Sequence[Objective]) -> None:
    """A ring about the selected trial; it lets the mouse through to the point."""
    ring = Kind("selected", VERMILLION, "circle-open", size=22, opacity=1.0)
    if len(trial.dropna(subset=[axis.metric for axis in axes])):
        trace = _points(trial, axes, ring).update(hoverinfo="skip", hovertext=None, customdata=None)
        figure.add_trace(trace if len(axes) == 3 else trace.update(marker_line_width=3))


def _laid_out(figure: go.Figure, axes: Sequence[Objective]) -> go.Figure:
    keep = "/".join(axis.metric for axis in axes)
    titles = [axis_title(axis.metric) for axis in axes]
    if len(axes) == 3:
        return styled_3d(figure, titles=(titles[1], titles[2], titles[0]), keep=keep)
    styled(figure, x_title=titles[1], y_title=titles[0], keep=keep)
    if any(trace.yaxis == "y2" for trace in figure.data):
        figure.update_layout(yaxis={"domain": [STRIP + 0.04, 1]}, xaxis={"anchor": "y2"})
        figure.update_layout(yaxis2={"domain": [0, STRIP], "visible": False, "fixedrange": True, "range": [-1, 1], "anchor": "x"})
    return figure
