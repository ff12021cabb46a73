"""Print what one variant has over another."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import typer

from nas.output import Column, Format, print_json, print_rows, text_column
from searchspace.explain import Change, Explanation, Growth, Part
from searchspace.explain import explain as explain_variants
from searchspace.formats import load_variant
from searchspace.model_config import ModelConfig
from searchspace.quantity import format_quantity
from searchspace.styles import style_of, style_text
from studies.records import METRICS

COUNTS = ("params", "flops", "activations")


def explain(before: str, after: str, pair: tuple[float, float], format: Format) -> None:
    """Print what a variant has over another in the scaling rule's terms; as CSV only what each change costs."""
    alpha, beta = pair
    found = explain_variants(load_variant(before), load_variant(after), alpha=alpha, beta=beta)
    if format == "json":
        print_json(_document(found, pair))
    elif format == "csv":
        print_rows([_change_row(change, found) for change in found.changes], CHANGES, format=format)
    elif found.same:
        typer.echo(f"{_called(found.before)} twice: nothing differs")
    else:
        _print_tables(found, pair)


def _print_tables(found: Explanation, pair: tuple[float, float]) -> None:
    phi = [f"φ of {name} {'–' if value is None else format(value, '.2f')}" for name, value in _phis(found).items()]
    over = f"{_called(found.after)} over {_called(found.before)}"
    title = f"{over}\n{', '.join(phi)} (α = {pair[0]:g}, β = {pair[1]:g})"
    rest = "rest: groups, switches, head, and what the power law leaves out"
    print_rows([_growth_row(growth) for growth in found.growth], GROWTH, format="table", title=title, caption=rest)
    changes = [_change_row(change, found) for change in found.changes]
    beyond = "together: beyond the sum of each alone" if len(changes) > 1 else ""
    print_rows(changes, CHANGES, format="table", title=f"{found.before.short_name} with one change alone", caption=beyond)
    if found.switches:
        rows = [{"switch": name, "before": str(a), "after": str(b)} for name, (a, b) in found.switches.items()]
        columns = [text_column("switch", "switch"), text_column("before", "before"), text_column("after", "after", folds=True)]
        print_rows(rows, columns, format="table", title="Switches that differ")
    print_rows([_part_row(part) for part in found.parts], PARTS, format="table", title="By part, FLOPs at 224 px")


def _called(config: ModelConfig) -> str:
    return f"{config.short_name} (style {style_text(config)})"


def _phis(found: Explanation) -> Mapping[str, float | None]:
    return {"width": found.phi_width, "depth": found.phi_depth}


def _growth_row(growth: Growth) -> dict[str, Any]:
    metric = METRICS[growth.metric]
    sizes = {"before": growth.before, "after": growth.after, "shown": f"{metric.show(growth.before)} → {metric.show(growth.after)}"}
    doublings = {"doublings": growth.doublings, "depth": growth.depth, "width": growth.width}
    return {"size": metric.label, **sizes, **doublings, "rest": growth.doublings - growth.depth - growth.width}


def _change_row(change: Change, found: Explanation) -> dict[str, Any]:
    variant = None if change.config is None else change.config.short_name
    phi = _phis(found).get(change.what)
    return {"change": change.what, "variant": variant, "phi": phi, **asdict(change.cost)}


def _part_row(part: Part) -> dict[str, Any]:
    shapes = {
        name: _arrow(None if part.before is None else part.before[index], None if part.after is None else part.after[index])
        for index, name in enumerate(("channels", "groups", "blocks"))
    }
    return {"part": part.name, **shapes, **asdict(part.cost_after - part.cost_before)}


def _arrow(before: int | None, after: int | None) -> str:
    if before is None:
        return ""
    return str(before) if before == after else f"{before} → {after}"


def _document(found: Explanation, pair: tuple[float, float]) -> dict[str, Any]:
    variants = {
        name: {"variant": config.short_name, "style": style_of(config), "model": config.to_dict()}
        for name, config in (("before", found.before), ("after", found.after))
    }
    return {
        **variants,
        "alpha": pair[0],
        "beta": pair[1],
        "phi_width": found.phi_width,
        "phi_depth": found.phi_depth,
        "growth": [asdict(growth) for growth in found.growth],
        "changes": [_change_row(change, found) for change in found.changes],
        "switches": {name: list(values) for name, values in found.switches.items()},
        "parts": [_part_document(part) for part in found.parts],
    }


def _part_document(part: Part) -> dict[str, Any]:
    shapes = ((part.before, part.cost_before), (part.after, part.cost_after))
    names = ("channels", "groups", "blocks")
    before, after = ({**(dict(zip(names, shape, strict=True)) if shape else {}), **asdict(size)} for shape, size in shapes)
    return {"part": part.name, "before": before, "after": after}


def _signed(value: float) -> str:
    return f"{'+' if value > 0 else ''}{format_quantity(value)}"


_COUNTED = [Column(name, METRICS[name].name, _signed) for name in COUNTS]
GROWTH = [
    text_column("size", "size"),
    text_column("shown", "from → to"),
    Column("doublings", "doublings", "{:+.2f}".format),
    Column("depth", "of depth", "{:+.2f}".format),
    Column("width", "of width", "{:+.2f}".format),
    Column("rest", "rest", "{:+.2f}".format),
]
CHANGES = [text_column("change", "change"), text_column("variant", "variant"), Column("phi", "φ", "{:.2f}".format), *_COUNTED]
PARTS = [
    text_column("part", "part"),
    *(text_column(name, name) for name in ("channels", "groups", "blocks")),
    *_COUNTED,
]
