"""The published variants as marks in a figure whose axes are costs: an accuracy of theirs would not be comparable with a proxy's."""

from collections.abc import Collection, Mapping, Sequence

import plotly.graph_objects as go

from dashboard.charts.theme import EDGE, GREY
from studies.records import METRICS, Objective

MARKED = ("T", "S", "B", "L", "XL")
MARGIN = 0.15  # beyond the range of the trials within which a mark is still of interest


def are_marked(axes: Sequence[Objective], known: Collection[str]) -> bool:
    """Whether these axes allow marks of what only these costs are `known` of."""
    costs = [axis.metric in known for axis in axes]
    return all(costs) or (len(axes) == 2 and costs[1])


def mark_references(figure: go.Figure, axes: Sequence[Objective], references: Mapping[str, Mapping[str, float]]) -> None:
    """Points where every axis is a cost that is known of the references, lines where the one to the right is; else nothing."""
    known = set.intersection(*map(set, references.values())) if references else set()
    if not are_marked(axes, known):
        return
    if all(axis.metric in known for axis in axes):
        _points(figure, axes, references)
    elif (span := _span(figure)) is not None:
        _lines(figure, axes[1].metric, references, span)


def _points(figure: go.Figure, axes: Sequence[Objective], references: Mapping[str, Mapping[str, float]]) -> None:
    y, x, *depth = ([costs[axis.metric] / METRICS[axis.metric].scale for costs in references.values()] for axis in axes)
    marker = {"color": GREY, "symbol": "diamond-open", "size": 5 if depth else 11, "line": {"width": 2}}
    look = {"name": "published", "mode": "markers+text", "text": list(references), "marker": marker, "textposition": "top center"}
    hover = {"hovertext": [f"InternImage-{name}, published" for name in references], "hoverinfo": "text"}
    figure.add_trace(go.Scatter3d(x=x, y=depth[0], z=y, **look, **hover) if depth else go.Scatter(x=x, y=y, **look, **hover))


def _lines(figure: go.Figure, metric: str, references: Mapping[str, Mapping[str, float]], span: tuple[float, float]) -> None:
    """An upright line for each that lies near the trials: the axis must not reach out to one far away."""
    for name, costs in references.items():
        at = costs[metric] / METRICS[metric].scale
        if span[0] <= at <= span[1]:
            figure.add_shape(type="line", x0=at, x1=at, y0=0, y1=1, yref="y domain", layer="below", line={"color": EDGE, "dash": "dot"})
            figure.add_annotation(x=at, y=1, yref="y domain", text=name, showarrow=False, xanchor="left", yanchor="top", xshift=3)


def _span(figure: go.Figure) -> tuple[float, float] | None:
    values = [value for trace in figure.data if trace.x is not None and len(trace.x) for value in (min(trace.x), max(trace.x))]
    if not values:
        return None
    low, high = min(values), max(values)
    reach = MARGIN * (high - low or abs(high))
    return low - reach, high + reach
