"""Print costs and scaled variants, write files."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import typer

from nas.export import Choice
from nas.export import export as write_exports
from nas.export_weights import WeightsSource
from nas.flags import parse_numbers
from nas.output import Column, Format, metric_column, percent_column, print_rows, text_column
from searchspace.cost import cost as cost_of
from searchspace.formats import load_variant
from searchspace.memory import Training
from searchspace.scaling import compound_scale, effective_phi
from searchspace.styles import style_of, style_text
from searchspace.switch_flags import with_settings


@dataclass(frozen=True, slots=True)
class Coefficients:
    """How depth (α) and width (β) grow with φ."""

    alpha: float
    beta: float


def cost(text: str, style: str | None, settings: Sequence[str], training: Training, format: Format) -> None:
    """Print what a variant costs and the memory of training it."""
    from nas.cost_table import print_cost

    print_cost(with_settings(load_variant(text, style=style), settings), training, format)


def scale(phi: str, base: str, by: Coefficients, group_channels: int | None, style: str | None, format: Format) -> None:
    """Print the variants that compound scaling gives."""
    start = load_variant(base)
    rows = []
    for value in parse_numbers(phi):
        config = compound_scale(start, value, alpha=by.alpha, beta=by.beta, group_channels=group_channels, style=style)
        size, asked = cost_of(config), 2**value * cost_of(start).params
        width, depth = effective_phi(start, config, alpha=by.alpha, beta=by.beta)
        shape = {"phi": value, "variant": config.short_name, "style": style_of(config), **asdict(size), "asked_params": asked}
        rows.append({**shape, "size_error": size.params / asked - 1, "phi_width": _finite(width), "phi_depth": _finite(depth)})
    columns = [
        Column("phi", "φ", "{:g}".format),
        text_column("variant", "C1,C',L1,L3"),
        text_column("style", "style"),
        *map(metric_column, ("params", "flops")),
        Column("asked_params", "asked (M)", metric_column("params").show),
        percent_column("size_error", "size error"),
        Column("phi_width", "φ of width", "{:.2f}".format),
        Column("phi_depth", "φ of depth", "{:.2f}".format),
    ]
    title = f"{start.short_name} (style {style_text(start)}) scaled by α = {by.alpha:g}, β = {by.beta:g}; FLOPs at 224 px"
    print_rows(rows, columns, format=format, title=title)


def _finite(value: float) -> float | None:
    return None if value != value else value  # NaN: a coefficient of 1 that did not keep its dimension


def export(choice: Choice, format: str, out: Path, store: str, weights: WeightsSource | None) -> None:
    """Write variants to files and print the path of each."""
    for path in write_exports(choice, format=format, out=out, store=store, weights=weights):
        typer.echo(path)
