"""Scaling studies as figures: the plane of (α, β), the fitted law over cost, and what it predicts against what was measured."""

import html
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from dashboard.charts.theme import BLUE, CLEAR, EDGE, GREY, SEQUENTIAL, VERMILLION, axis_title, is_known, styled
from dashboard.quantities import shown
from dashboard.scaling_points import curve
from searchspace.exponents import Exponents
from searchspace.quantity import format_quantity
from searchspace.scaling import ALPHA, BETA
from studies.records import METRICS

SYMBOLS = ("circle", "square", "diamond", "triangle-up", "triangle-down", "pentagon", "hexagon", "star-square")
BAND = "rgba(0,114,178,0.18)"  # BLUE, let through
FITTED: Mapping[str, tuple[str, float]] = {"error": ("error (%)", 0.01), "loss": ("loss", 1.0)}  # label, and one unit on screen


def plane_figure(points: pd.DataFrame, by: Exponents, metric: str, *, fitted: Mapping[str, Any] | None = None) -> go.Figure:
    """`scaling_points` in the plane of (α, β) with the curve on which a step of φ doubles the size; brighter is better.

    Symbols tell φ apart. With a fit its best pair, the 90 % interval along the curve and the pairs tied with the best are marked.
    """
    fitted = fitted or {}
    figure = go.Figure()
    figure.add_trace(_constraint(by, [*points["alpha"], *(pair["alpha"] for pair in fitted.get("tied") or ())]))
    for trace in (_interval(by, fitted), _tied(fitted)):
        if trace is not None:
            figure.add_trace(trace)
    scale = METRICS[metric].scale
    colors = {"cmin": points["value"].min() / scale, "cmax": points["value"].max() / scale} if len(points) else {}
    for i, (phi, of_phi) in enumerate(points.groupby("phi")):
        figure.add_trace(_points(of_phi, metric, f"φ = {phi:g}", SYMBOLS[i % len(SYMBOLS)], bar=i == 0, **colors))
    figure.add_trace(_star("the paper's best", ALPHA, BETA, symbol="x-thin-open", color=EDGE))
    if best := fitted.get("best"):
        figure.add_trace(_star("best of the fit", best["alpha"], best["beta"], symbol="star-open", color=VERMILLION))
    styled(figure, x_title="α (depth a step of φ)", y_title="β (width a step of φ)", keep="plane")
    return figure.update_layout(height=480)


def law_figure(fitted: Mapping[str, Any]) -> go.Figure:
    """The law at its best pair over cost with its band, dashed beyond what was measured, and the measured points."""
    label, unit = FITTED.get(fitted["metric"], (_escaped(fitted["metric"]), 1.0))
    predicted = sorted(fitted["predictions"], key=lambda each: each["cost"])
    figure = go.Figure()
    if predicted:
        x = [each["cost"] for each in predicted]
        bounds = [[each[side] / unit for each in predicted] for side in ("low", "high")]
        edge = {"mode": "lines", "line": {"width": 0, "color": CLEAR}, "hoverinfo": "skip"}
        figure.add_trace(go.Scatter(x=x, y=bounds[0], showlegend=False, **edge))
        figure.add_trace(go.Scatter(x=x, y=bounds[1], fill="tonexty", fillcolor=BAND, name="90 % band", **edge))
        for places, name, dash in _stretches(predicted):
            new = name not in {trace.name for trace in figure.data}
            line = _law_line([predicted[i] for i in places], unit, label, dash)
            figure.add_trace(line.update(name=name, legendgroup=name, showlegend=new))
    figure.add_trace(_measured(fitted, unit, label))
    styled(figure, x_title=_cost_title(fitted["scale_metric"]), y_title=label, keep="law")
    ticks = [f"{format_quantity(each['cost'])}<br>φ {each['phi']:g}" for each in predicted]
    return figure.update_xaxes(type="log", tickvals=[each["cost"] for each in predicted] or None, ticktext=ticks or None)


def residual_figure(fitted: Mapping[str, Any]) -> go.Figure:
    """What the law predicts of each measured variant against what was measured; on the line they agree."""
    label, unit = FITTED.get(fitted["metric"], (_escaped(fitted["metric"]), 1.0))
    points = [point for point in fitted["points"] if is_known(point.get("predicted"))]
    measured, predicted = [point["value"] / unit for point in points], [point["predicted"] / unit for point in points]
    ends = [min([*measured, *predicted], default=0.0), max([*measured, *predicted], default=1.0)]
    figure = go.Figure(go.Scatter(x=ends, y=ends, mode="lines", line={"color": GREY, "dash": "dot"}, name="agreement", hoverinfo="skip"))
    figure.add_trace(
        go.Scatter(
            x=measured,
            y=predicted,
            mode="markers",
            name="variants",
            error_x={"type": "data", "array": [(point.get("std") or 0) / unit for point in points], "color": GREY, "thickness": 1},
            marker={"color": BLUE, "size": 9},
            customdata=[_trial(point) for point in points],
            hovertext=[
                f"{_where(point)}<br>measured {x:.2f}, predicted {y:.2f}" for point, x, y in zip(points, measured, predicted, strict=True)
            ],
            hoverinfo="text",
        )
    )
    return styled(figure, x_title=f"measured {label}", y_title=f"predicted {label}", keep="residuals")


def _constraint(by: Exponents, alphas: Sequence[float]) -> go.Scatter:
    x, y = curve(by, alphas)
    name = f"{_power('α', by.depth)} · {_power('β', by.width)} = 2"
    return go.Scatter(x=x, y=y, mode="lines", name=name, line={"color": GREY, "width": 2}, hoverinfo="skip")


def _power(symbol: str, exponent: float) -> str:
    return symbol if exponent == 1 else f"{symbol}<sup>{exponent:.4g}</sup>"


def _interval(by: Exponents, fitted: Mapping[str, Any]) -> go.Scatter | None:
    """The 90 % interval of the best pair, as the part of the curve that it covers."""
    best = fitted.get("best")
    if not best or not best.get("low") or not best.get("high"):
        return None
    ends = sorted((max(1.0, best["low"]["alpha"]), max(1.0, best["high"]["alpha"])))
    along = [ends[0] + (ends[1] - ends[0]) * i / 40 for i in range(41)]
    line = {"color": "rgba(213,94,0,0.45)", "width": 9}
    return go.Scatter(x=along, y=[by.beta_of(alpha) for alpha in along], mode="lines", name="90 % interval", line=line, hoverinfo="skip")


def _tied(fitted: Mapping[str, Any]) -> go.Scatter | None:
    tied = fitted.get("tied") or []
    if not tied:
        return None
    return go.Scatter(
        x=[pair["alpha"] for pair in tied],
        y=[pair["beta"] for pair in tied],
        mode="markers",
        name="tied with the best",
        marker={"symbol": "circle-open", "size": 19, "color": VERMILLION, "line": {"width": 2}},
        hoverinfo="skip",
    )


def _points(points: pd.DataFrame, metric: str, name: str, symbol: str, *, bar: bool, **colors: float) -> go.Scatter:
    maximize = METRICS[metric].direction == "maximize"
    return go.Scatter(
        x=points["alpha"],
        y=points["beta"],
        mode="markers",
        name=name,
        marker={
            "symbol": symbol, "size": 13, "color": points["value"] / METRICS[metric].scale, "colorscale": SEQUENTIAL, **colors,
            "reversescale": not maximize, "showscale": bar, "line": {"width": 1, "color": EDGE},
            "colorbar": {"title": {"text": axis_title(metric), "side": "right"}, "thickness": 10},
        },
        customdata=points["number"],
        hovertext=[_hover(point, metric) for point in points.to_dict("records")],
        hoverinfo="text",
    )  # fmt: skip


def _hover(point: Mapping[Any, Any], metric: str) -> str:
    spread = f" ± {shown(metric, point['spread'])} over {point['seeds']} seeds" if is_known(point["spread"]) else ""
    pair = f"φ {point['phi']:g}, α {point['alpha']:.3f}, β {point['beta']:.3f}"
    value = f"{METRICS[metric].name} {shown(metric, point['value'])}{spread}"
    return f"<b>{_escaped(point['variant'])}</b> · trial {point['number']}<br>{pair}<br>{value}"


def _star(name: str, alpha: float, beta: float, *, symbol: str, color: str) -> go.Scatter:
    look = {"symbol": symbol, "size": 17, "color": color, "line": {"width": 2.5, "color": color}}
    text = f"{name}: α {alpha:.3f}, β {beta:.3f}"
    return go.Scatter(x=[alpha], y=[beta], mode="markers", name=name, marker=look, hovertext=[text], hoverinfo="text")


def _stretches(predicted: Sequence[Mapping[str, Any]]) -> list[tuple[range, str, str]]:
    """The law in pieces: within the measured costs, and what lies below and above them."""
    inside = [i for i, each in enumerate(predicted) if each["extrapolation"] <= 1] or [len(predicted) - 1]
    pieces = [(range(inside[0] + 1), "extrapolated", "dash"), (range(inside[0], inside[-1] + 1), "law", "solid")]
    return [piece for piece in [*pieces, (range(inside[-1], len(predicted)), "extrapolated", "dash")] if len(piece[0]) > 1]


def _law_line(predicted: Sequence[Mapping[str, Any]], unit: float, label: str, dash: str) -> go.Scatter:
    texts = [
        f"φ {each['phi']:g}: {each['value'] / unit:.2f} ({each['low'] / unit:.2f} to {each['high'] / unit:.2f}) {label}"
        + (f"<br>{each['extrapolation']:.3g} × beyond the measured costs" if each["extrapolation"] > 1 else "")
        for each in predicted
    ]
    x, y = [each["cost"] for each in predicted], [each["value"] / unit for each in predicted]
    line = {"color": BLUE, "width": 2.5, "dash": dash}
    return go.Scatter(x=x, y=y, mode="lines+markers", line=line, marker={"size": 5}, hovertext=texts, hoverinfo="text")


def _measured(fitted: Mapping[str, Any], unit: float, label: str) -> go.Scatter:
    points = fitted["points"]
    return go.Scatter(
        x=[point["cost"] for point in points],
        y=[point["value"] / unit for point in points],
        mode="markers",
        name="measured",
        error_y={"type": "data", "array": [(point.get("std") or 0) / unit for point in points], "color": GREY, "thickness": 1},
        marker={"color": VERMILLION, "size": 8, "symbol": "diamond"},
        customdata=[_trial(point) for point in points],
        hovertext=[f"{_where(point)}<br>{point['value'] / unit:.2f} {label}" for point in points],
        hoverinfo="text",
    )


def _where(point: Mapping[str, Any]) -> str:
    pair = f", α {point['alpha']:.3f}, β {point['beta']:.3f}" if is_known(point.get("alpha")) else ", the base"
    return f"<b>{_escaped(point['variant'])}</b><br>φ {point['phi']:.2f}{pair}"


def _trial(point: Mapping[str, Any]) -> int | None:
    return next(iter(point.get("trials") or ()), None)


def _cost_title(metric: str) -> str:
    if metric == "latency_ms":
        return "latency, as a multiple of the base's"
    return METRICS[metric].name if metric in METRICS else _escaped(metric)


def _escaped(text: object) -> str:
    return html.escape(str(text), quote=False)
