"""Where a trained network looks, as figures: sampling points over an image, and effective receptive fields."""

import base64
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray
from PIL import Image
from plotly.subplots import make_subplots

from dashboard.charts.theme import BLUE, CLEAR, styled

Array = NDArray[Any]
LEVELS = ("#D55E00", "#F0E442", "#56B4E9")  # vermillion, yellow and sky blue of Okabe and Ito, the points nearest to the output first
MOST_POINTS = 5000
LARGEST_MARK, SMALLEST_MARK = 15, 3  # px across
MOST_CELLS = 128  # of a receptive field, a side: eight of them stand on the page
BARE: Mapping[str, Any] = {"showgrid": False, "showline": False, "showticklabels": False, "ticks": "", "constrain": "domain"}
SPACING: Mapping[str, Any] = {"horizontal_spacing": 0.02, "vertical_spacing": 0.04}
FLOOR = 1e-3  # of a field's maximum; what is below is as good as nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """The output pixel (column, row) of a stage's map whose points are shown, in input pixels `stride` apart, on a map of `size` (H, W)."""

    pixel: tuple[int, int]
    stride: int
    size: tuple[int, int]


def chained_points(layers: Sequence[Array], pixel: tuple[int, int], groups: Sequence[int]) -> list[Array]:
    """What an output pixel (column, row) of the first of `layers` samples, and what is sampled there by the layers below it in turn.

    Each layer is (H, W, G, K, 3); for every layer an array (n, 3) of x, y and the product of the modulations on the way. A point is
    followed in its own group, from the pixel nearest to it; one outside the map reads zeros and is not followed.
    """
    height, width = layers[0].shape[:2]
    found = []
    start = np.array([[*pixel, 1.0]])
    for group in groups:
        reached, levels = start, []
        for layer in layers:
            column, row = (np.floor(reached[:, axis] + 0.5).astype(int) for axis in (0, 1))
            inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
            points = layer[row[inside], column[inside], group].astype(np.float64)
            points[..., 2] *= reached[inside, 2, None]
            reached = points.reshape(-1, 3)
            levels.append(reached)
        found.append(levels)
    return [np.concatenate(of_level) for of_level in zip(*found, strict=True)]


def most_levels(groups: int, points: int, below: int) -> int:
    """How many layers can be followed at most: those there are, and no more points than the eye and the page bear."""
    fitting = [level for level in range(1, len(LEVELS) + 1) if groups * points**level <= MOST_POINTS]
    return max(1, min(len(fitting), below))


def sampling_figure(image: Array, levels: Sequence[Array], query: Query) -> go.Figure:
    """An image uint8 (H, W, 3) with points in pixels of a stage's map over it, larger with their modulation.

    Behind them lies every pixel of the map, its number as `customdata`, so that a click chooses another one.
    """
    traces: list[Any] = [go.Image(source=_png(image), hoverinfo="skip"), _places(query)]
    last = len(levels) - 1
    traces += [_points(levels[level], query, level) for level in range(last, -1, -1)]  # the nearest ones on top
    traces.append(_star(query))
    figure = styled(go.Figure(traces), x_title="", y_title="", keep=f"sampling-{query.stride}", legend=True)
    everywhere = np.concatenate(levels)[:, :2] * query.stride
    side_y, side_x = image.shape[:2]
    x, y = (_range(everywhere[:, axis], side) for axis, side in ((0, side_x), (1, side_y)))
    figure.update_xaxes(range=x, **BARE)
    figure.update_yaxes(range=y[::-1], scaleanchor="x", **BARE)
    return figure.update_layout(height=560, hovermode="closest")


def receptive_figure(fields: Mapping[str, Array], rows: Sequence[Mapping[str, Any]], centres: Sequence[Sequence[int]]) -> go.Figure:
    """The effective receptive field of each stage, before training above after it, on a logarithmic scale of its own maximum.

    `fields` are (4, H, W); `rows` name the stages with the radii, drawn as circles, that hold half and nine tenths of the gradient.
    """
    whens = list(fields)
    figure = make_subplots(len(whens), len(rows), column_titles=[f"stage {row['stage']}" for row in rows], **SPACING)
    for down, when in enumerate(whens, start=1):
        for across, row in enumerate(rows, start=1):
            place = {"row": down, "col": across}
            figure.add_trace(_field(fields[when][row["stage"] - 1], first=down == across == 1), **place)
            for circle in _circles(row, when, centres[row["stage"] - 1]):
                figure.add_shape(circle, **place)
    styled(figure, x_title="", y_title="", keep="receptive", legend=False)
    side = fields[whens[0]].shape[-1]
    figure.update_xaxes(range=[-0.5, side - 0.5], fixedrange=True, **BARE)
    for down, when in enumerate(whens, start=1):
        for across in range(1, len(rows) + 1):
            anchor = figure.get_subplot(down, across).xaxis.plotly_name.replace("axis", "")
            look = {"title": f"{when} training" if across == 1 else "", "scaleanchor": anchor, "fixedrange": True, **BARE}
            figure.update_yaxes(range=[side - 0.5, -0.5], row=down, col=across, **look)
    figure.update_annotations(font_size=12)
    return figure.update_layout(height=470, margin={"t": 30})


def _circles(row: Mapping[str, Any], when: str, centre: Sequence[int]) -> Iterator[dict[str, Any]]:
    x, y = centre
    for share, dash in ((50, "solid"), (90, "dot")):
        if (radius := row[f"radius_{share}_{when}"]) is not None:
            box = {"x0": x - radius, "x1": x + radius, "y0": y - radius, "y1": y + radius}
            yield {"type": "circle", "line": {"color": "white", "width": 1.5, "dash": dash}, **box}


def _range(places: Array, side: int) -> list[float]:
    """The image and the points around it, up to half an image away."""
    low, high = -0.5, side - 0.5
    if len(places):
        low, high = min(low, float(places.min()) - 1), max(high, float(places.max()) + 1)
    return [max(low, -side / 2), min(high, 1.5 * side)]


def _places(query: Query) -> go.Heatmap:
    """Every pixel of the map as a place to click on, seen by nobody."""
    height, width = query.size
    return go.Heatmap(
        z=np.zeros((height, width)),
        x0=0,
        dx=query.stride,
        y0=0,
        dy=query.stride,
        colorscale=[[0, CLEAR], [1, CLEAR]],
        showscale=False,
        customdata=np.arange(height * width).reshape(height, width).tolist(),  # of an array the script would find no row
        hovertemplate="look from %{x}, %{y}<extra></extra>",
    )


def _points(points: Array, query: Query, level: int) -> go.Scatter:
    x, y = points[:, 0] * query.stride, points[:, 1] * query.stride
    share = points[:, 2] / max(points[:, 2].max(initial=0.0), 1e-12)
    texts = zip(x, y, points[:, 2], strict=True)
    height, width = query.size
    nearest = [(int(a + 0.5), int(b + 0.5)) if -0.5 <= a < width - 0.5 and -0.5 <= b < height - 0.5 else None for a, b in points[:, :2]]
    return go.Scatter(
        x=x,
        y=y,
        mode="markers",
        name="its points" if level == 0 else f"{level} block{'s' * (level > 1)} below",
        marker={
            "color": LEVELS[level],
            "size": np.maximum(SMALLEST_MARK, np.sqrt(share) * LARGEST_MARK / (level + 1)),
            "opacity": 0.85,
            "line": {"color": "black", "width": 0.75},
        },
        customdata=[place and place[1] * width + place[0] for place in nearest],
        hovertext=[f"{a:.1f}, {b:.1f}: modulation {weight:.3g}" for a, b, weight in texts],
        hoverinfo="text",
    )


def _star(query: Query) -> go.Scatter:
    x, y = (place * query.stride for place in query.pixel)
    look = {"symbol": "star", "size": 18, "color": BLUE, "line": {"color": "white", "width": 1.5}}
    return go.Scatter(
        x=[x], y=[y], mode="markers", name="output pixel", marker=look, hovertemplate="output pixel %{x}, %{y}<extra></extra>"
    )


def _field(field: Array, *, first: bool) -> go.Heatmap:
    coarse, step = _coarse(field)
    share = coarse / max(float(coarse.max()), 1e-30)
    ticks = [0, -1, -2, -3]
    return go.Heatmap(
        z=np.log10(np.maximum(share, FLOOR)).astype(np.float32),
        x0=(step - 1) / 2,
        dx=step,
        y0=(step - 1) / 2,
        dy=step,
        zmin=np.log10(FLOOR),
        zmax=0,
        colorscale="Cividis",
        showscale=first,
        colorbar={
            "tickvals": ticks, "ticktext": [f"{10.0**tick:g}" for tick in ticks], "thickness": 8, "outlinewidth": 0, "orientation": "h",
            "y": -0.02, "yanchor": "top", "title": {"text": "of the largest gradient", "side": "bottom"},
        },
        hovertemplate="%{x}, %{y}<extra></extra>",
    )  # fmt: skip


def _coarse(field: Array) -> tuple[Array, int]:
    """Means of squares of pixels, and how many pixels they are a side."""
    step = -(-max(field.shape) // MOST_CELLS)
    height, width = (side // step * step for side in field.shape)
    return field[:height, :width].reshape(height // step, step, width // step, step).mean((1, 3)), step


def _png(image: Array) -> str:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
