"""Learning curves as a figure."""

from collections.abc import Mapping

import pandas as pd
import plotly.graph_objects as go

from dashboard.charts.theme import GREY, VERMILLION, axis_title, heading, styled
from dashboard.quantities import shown
from studies.records import METRICS


def curves_figure(
    reports: pd.DataFrame, *, metric: str = "top1", names: Mapping[int, str] | None = None, chosen: int | None = None
) -> go.Figure:
    """One learning curve a trial of a `reports_frame`; the chosen trial lies on top in colour, `names` are shown on hovering."""
    known = reports.dropna(subset=[metric]) if metric in reports else reports.iloc[:0]
    figure = go.Figure()
    for number, of_trial in sorted(known.groupby("number"), key=lambda item: item[0] == chosen):
        label = heading(number, (names or {}).get(number))
        figure.add_trace(_curve(of_trial, metric, label, highlighted=number == chosen))
    last = int(known["epoch"].max()) if len(known) else 1
    figure.update_xaxes(dtick=max(1, -(-last // 10)), tickformat="d")
    return styled(figure, x_title="epoch", y_title=axis_title(metric), keep=metric, legend=chosen is not None)


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
