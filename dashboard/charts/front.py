"""The Pareto front as a figure."""

from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go

from dashboard.charts.theme import BLUE, GREY, axis_title, hover_text, styled
from studies.records import METRICS, Objective


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
    return styled(figure, x_title=axis_title(x.metric), y_title=axis_title(y.metric), keep=f"{x.metric}/{y.metric}")


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


def _marker(color: str, size: int, *, symbol: str = "circle", opacity: float = 1.0) -> dict[str, object]:
    return {"color": color, "size": size, "symbol": symbol, "opacity": opacity, "line": {"width": 1.5 if "thin" in symbol else 0}}
