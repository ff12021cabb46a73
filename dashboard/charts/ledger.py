"""Where the device-seconds of studies went, as a figure."""

import html
from collections.abc import Mapping

import plotly.graph_objects as go

from dashboard.charts.theme import GREY, PALETTE, styled
from dashboard.quantities import duration

# The categories of a search's ledger in reading order, useful work first; others that a store may hold come behind.
ORDER = ("training", "evaluation", "pruned", "start-up", "sampling", "retries", "idle", "unaccounted")
ROW_PX = 34


def ledger_figure(spent: Mapping[str, Mapping[str, float]]) -> go.Figure:
    """A bar a study, from top to bottom, of the device-hours by category that `spent` has in seconds."""
    names = list(spent)
    known = {category for categories in spent.values() for category in categories}
    figure = go.Figure()
    for category in [*(each for each in ORDER if each in known), *sorted(known - set(ORDER))]:
        seconds = [spent[name].get(category, 0.0) for name in names]
        figure.add_trace(_bar(category, names, seconds))
    styled(figure, x_title="device-hours", y_title="", keep="ledger")
    figure.update_yaxes(autorange="reversed", showgrid=False, tickvals=list(range(len(names))), ticktext=[_short(name) for name in names])
    return figure.update_layout(barmode="stack", bargap=0.35, legend_traceorder="normal", height=120 + ROW_PX * len(names))


def _bar(category: str, names: list[str], seconds: list[float]) -> go.Bar:
    place = ORDER.index(category) if category in ORDER else -1
    return go.Bar(
        y=list(range(len(names))),
        x=[each / 3600 for each in seconds],
        name=html.escape(category),
        orientation="h",
        marker={"color": PALETTE[place] if place >= 0 else GREY, "line": {"width": 0}},
        hovertext=[f"{html.escape(name)}<br>{html.escape(category)}: {duration(each)}" for name, each in zip(names, seconds, strict=True)],
        hoverinfo="text",
    )


def _short(name: str) -> str:
    return html.escape(name if len(name) <= 24 else f"{name[:22]}…")
