"""Fit a scaling study's law and print what it tells."""

from collections.abc import Mapping
from typing import Any

import typer

from nas.api import open_study
from nas.commands.scale import parse_phis
from nas.errors import NasError
from nas.output import Column, Format, print_json, print_rows, text_column
from nas.scaling_law import fit_study
from nas.scaling_points import LawMetric
from searchspace.quantity import format_quantity
from studies.records import METRICS
from studies.store import Store

Content = Mapping[str, Any]
UNITS: Mapping[str, tuple[str, float, int]] = {"error": ("error (%)", 0.01, 2), "loss": ("loss", 1.0, 3)}  # label, one unit, decimals


def fit(name: str, metric: LawMetric, predict: str, store: str, format: Format) -> None:
    """Fit, store and print: everything as JSON, the predictions as CSV, law, pairs, points and predictions for people.

    NasError, after all that, where no best pair can be named.
    """
    phis = parse_phis(predict)
    study = open_study(name, store=Store(store, create=False))
    content = fit_study(study, metric, phis=phis).content
    if format == "json":
        print_json(content)
    else:
        _print_fit(name, content, format)
    if content["refused"]:
        raise NasError(f"study {name!r} tells no best pair: {content['refused']}")


def _print_fit(name: str, content: Content, format: Format) -> None:
    label, unit, decimals = UNITS[content["metric"]]
    value = Column("value", label, lambda number: f"{number / unit:.{decimals}f}")
    if format == "table":
        _print_points(name, content, value)
    if format == "csv" or content["predictions"]:
        _print_predictions(content, value, format)
    if format == "table":
        for line in _conclusions(content):
            typer.echo(line)


def _print_points(name: str, content: Content, value: Column) -> None:
    tied = {each["variant"] for each in content["tied"]}
    rows = [{**point, "tied": "tied" if point["variant"] in tied else None} for point in content["points"]]
    columns = [
        text_column("variant", "C1,C',L1,L3"),
        Column("asked_phi", "φ", "{:g}".format),
        Column("alpha", "α", "{:.3f}".format),
        Column("beta", "β", "{:.3f}".format),
        _cost_column(content),
        value,
        Column("std", "±", value.show, optional=True),
        Column("seeds", "seeds", optional=True),
        Column("predicted", "by the law", value.show),
        text_column("tied", "with the best"),
    ]
    left_out = f"too close to the base to have a pair, left out: {'; '.join(content['left_out'])}" if content["left_out"] else ""
    print_rows(rows, columns, format="table", title=f"Study {name}: {len(rows)} variants", caption=left_out)


def _print_predictions(content: Content, value: Column, format: Format) -> None:
    columns = [
        Column("phi", "φ", "{:g}".format),
        _cost_column(content),
        value,
        Column("low", "90 % from", value.show),
        Column("high", "to", value.show),
        Column("extrapolation", "extrapolated by", lambda factor: "–" if factor == 1 else f"{factor:.3g}×"),
    ]
    shape = "the best pair" if content["best"] else "the pair that fits best"
    caption = "bands are for one training: what the law leaves open, and the noise; extrapolated by: cost beyond the measured"
    print_rows(content["predictions"], columns, format=format, title=f"Predicted for {shape}", caption=caption)


def _conclusions(content: Content) -> list[str]:
    if content["law"] is None:
        return []
    return [_law_text(content), *(_pair_texts(content) if content["best"] else []), _noise_text(content)]


def _law_text(content: Content) -> str:
    _, unit, decimals = UNITS[content["metric"]]
    law, sign = content["law"], "%" if content["metric"] == "error" else ""
    floor, amplitude = (f"{law[name] / unit:.{decimals}f}{sign}" for name in ("floor", "amplitude"))
    best_depth = f"{abs(law['share']):.3f}·φ"
    away = f"x {'-' if law['share'] >= 0 else '+'} {best_depth}"
    power, shape = f"2^(-{law['decay']:.3f}·φ)", f"exp({law['curvature']:.3f}·({away})²)"
    size = METRICS[content["scale_metric"]].name
    return (
        f"Law: {content['metric']} = {floor} + {amplitude} · {power} · {shape}\n"
        f"  φ is {size} in doublings of those of {content['base']}, x how many of them went into depth"
    )


def _pair_texts(content: Content) -> list[str]:
    best, paper = content["best"], content["paper"]
    alpha, beta = (f"{symbol} = {best[name]:.3f} ({_interval(best, name)})" for symbol, name in (("α", "alpha"), ("β", "beta")))
    searched = " to ".join(f"{alpha:.3f}" for alpha in content["searched"]["alpha"])
    tied = "tied with the best" if paper["tied"] else "worse than the best"
    return [
        f"Best pair: {alpha}, {beta}, intervals of 90 %; α was searched from {searched}",
        f"The paper's pair, α = {paper['alpha']:g}, β = {paper['beta']:g}: {tied}",
    ]


def _interval(best: Content, name: str) -> str:
    low, high = sorted((best["low"][name], best["high"][name]))
    return f"{low:.3f} to {high:.3f}"


def _noise_text(content: Content) -> str:
    _, unit, decimals = UNITS[content["metric"]]
    source = {"seeds": "from the spread over seeds", "residuals": "from the residuals, so with what the law gets wrong"}
    deviation = f"{content['noise'] / unit:.{decimals}f}{' points' if content['metric'] == 'error' else ''}"
    return f"Noise of one training: {deviation}, {source[content['noise_source']]}; R² {content['r2']:.3f}"


def _cost_column(content: Content) -> Column:
    metric = content["scale_metric"]
    if metric == "latency_ms":
        return Column("cost", "latency of the base's", "{:.3g}×".format)
    return Column("cost", METRICS[metric].name, format_quantity)
