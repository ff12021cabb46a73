"""How much of the objectives' box a search has come to dominate, over trials or over device-seconds, as a figure."""

from collections.abc import Hashable, Mapping
from typing import Any, Literal

import pandas as pd
import plotly.graph_objects as go

from dashboard.charts.theme import BLUE, styled
from dashboard.quantities import duration

Spent = Literal["trials", "seconds"]
KILO = 10_000  # from here on axes count in thousands
TITLES: Mapping[Spent, str] = {"trials": "trials that ended", "seconds": "device-seconds"}


def hypervolume_figure(reached: pd.DataFrame, *, over: Spent) -> go.Figure:
    """The steps of a `standing.reached` frame: `over` trials or device-seconds."""
    rises = reached[reached["hypervolume"].diff().fillna(1.0) > 0]
    drawn = pd.concat([rises, reached.tail(1)]).drop_duplicates("number") if len(reached) else reached
    figure = go.Figure(
        go.Scatter(
            x=drawn[over],
            y=drawn["hypervolume"],
            mode="lines+markers",
            line={"color": BLUE, "width": 2, "shape": "hv"},
            marker={"size": 6},
            customdata=drawn["number"],
            hovertext=[_hover(row) for row in drawn.to_dict("records")],
            hoverinfo="text",
        )
    )
    styled(figure, x_title=TITLES[over], y_title="hypervolume (share of the box)", keep=f"hypervolume/{over}", legend=False)
    figure.update_yaxes(rangemode="tozero")
    figure.update_xaxes(rangemode="tozero", tickformat="d" if over == "trials" else "~s" if drawn[over].max() >= KILO else "~g")
    return figure.update_layout(height=280, margin={"t": 12})


def _hover(row: Mapping[Hashable, Any]) -> str:
    return f"trial {row['number']:.0f}<br>{row['hypervolume']:.3f} after {row['trials']:.0f} trials, {duration(row['seconds'])} of devices"
