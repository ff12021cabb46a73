"""What each part of a variant costs, as a figure."""

from collections.abc import Mapping

import plotly.graph_objects as go

from dashboard.charts.theme import BLUE, VERMILLION, styled
from dashboard.quantities import shown
from searchspace.cost import Cost
from studies.records import METRICS

LOOKS: Mapping[str, Mapping[str, object]] = {  # told apart by a pattern too
    "params": {"color": BLUE},
    "flops": {"color": VERMILLION, "pattern": {"shape": "/", "size": 6, "solidity": 0.35}},
}


def breakdown_figure(parts: Mapping[str, Cost]) -> go.Figure:
    """The share of each part (`cost_by_part`) in parameters and FLOPs, with the amounts written beside the bars."""
    figure = go.Figure([_bars(parts, metric) for metric in LOOKS])
    styled(figure, x_title="share of the whole (%)", y_title="", keep="breakdown")
    figure.update_yaxes(autorange="reversed", showgrid=False, fixedrange=True)
    figure.update_xaxes(range=[0, 1.25 * max(value for bar in figure.data for value in bar.x)], fixedrange=True)
    return figure.update_layout(height=52 * len(parts) + 90, barmode="group", bargap=0.25, bargroupgap=0.08)


def _bars(parts: Mapping[str, Cost], metric: str) -> go.Bar:
    amounts = {part: getattr(size, metric) for part, size in parts.items()}
    whole = sum(amounts.values())
    return go.Bar(
        orientation="h",
        name=METRICS[metric].name,
        y=list(parts),
        x=[100 * amount / whole for amount in amounts.values()],
        text=[shown(metric, amount) for amount in amounts.values()],
        textposition="outside",
        cliponaxis=False,
        marker=LOOKS[metric],
        hovertext=[f"<b>{part}</b><br>{METRICS[metric].name} {amount:,}<br>{amount / whole:.1%}" for part, amount in amounts.items()],
        hoverinfo="text",
    )
