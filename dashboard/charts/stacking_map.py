"""The stacking map as figures: L1 against C' for each C1, as Figure 6 of the InternImage paper has it."""

import html
import textwrap
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self, TypeGuard

import pandas as pd
import plotly.graph_objects as go

from dashboard.charts.theme import CLEAR, GREY, SEQUENTIAL, axis_title, is_known, styled
from dashboard.quantities import shown
from studies.records import METRICS

MARKS: Mapping[str, str] = {
    "COMPLETE": "–", "RUNNING": "running", "PAUSED": "paused", "QUEUED": "queued", "PRUNED": "pruned", "FAILED": "failed"
}  # fmt: skip
CELL_PX = 46
MIDDLE = 0.45  # of the scale: above it black is read more easily than white
Cell = Mapping[Hashable, Any]
Grid = Sequence[Sequence[Cell | None]]


def stacking_figures(cells: pd.DataFrame, metric: str) -> dict[int, go.Figure]:
    """A heat map a C1 of `cells`, all on one colour scale and the same axes; ★ marks the best cell, hatching the infeasible ones."""
    shades = Shades.of(cells, metric)
    return {int(channels): _figure(cells[cells["channels"] == channels], cells, shades) for channels in sorted(cells["channels"].unique())}


def scale_figure(cells: pd.DataFrame, metric: str) -> go.Figure:
    """The colour scale of all the maps, as a strip of its own."""
    shades = Shades.of(cells, metric)
    along = [shades.low + (shades.high - shades.low) * i / 100 for i in range(101)]
    figure = go.Figure(go.Heatmap(x=along, z=[along], **shades.look, hoverinfo="skip"))
    styled(figure, x_title=axis_title(metric), y_title="", keep="stacking", legend=False)
    figure.update_xaxes(fixedrange=True, showgrid=False, showline=False)
    figure.update_yaxes(visible=False, fixedrange=True)
    return figure.update_layout(height=60, margin={"l": 8, "r": 8, "t": 2, "b": 46})


@dataclass(frozen=True, slots=True)
class Shades:
    """The colour scale of a metric between the lowest and highest value, in the unit of its label; brighter is better."""

    metric: str
    low: float
    high: float

    @classmethod
    def of(cls, cells: pd.DataFrame, metric: str) -> Self:
        """The scale that spans all cells."""
        known = cells["value"].dropna().astype(float) / METRICS[metric].scale
        low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
        return cls(metric, low, high if high > low else low + 1)

    @property
    def maximize(self) -> bool:
        """Whether more is better."""
        return METRICS[self.metric].direction == "maximize"

    @property
    def look(self) -> dict[str, Any]:
        """The settings of a heat map."""
        shared = {"colorscale": SEQUENTIAL, "reversescale": not self.maximize, "showscale": False}
        return {**shared, "zmin": self.low, "zmax": self.high}

    def value(self, cell: Cell | None) -> float | None:
        """A cell's value in the unit of the scale."""
        return cell["value"] / METRICS[self.metric].scale if cell is not None and is_known(cell["value"]) else None

    def ink(self, value: float) -> str:
        """Black on the bright part of the scale, white on the dark one."""
        share = (value - self.low) / (self.high - self.low)
        return "#000000" if (share if self.maximize else 1 - share) > MIDDLE else "#FFFFFF"


def _figure(of_width: pd.DataFrame, cells: pd.DataFrame, shades: Shades) -> go.Figure:
    columns, rows = sorted(set(cells["l1"])), sorted(set(cells["group_channels"]))
    at = {(cell["group_channels"], cell["l1"]): cell for cell in of_width.to_dict("records")}
    grid = [[at.get((group, l1)) for l1 in columns] for group in rows]
    best = cells["value"].max() if shades.maximize else cells["value"].min()
    figure = go.Figure([_values(grid, shades), _numbers(grid, shades, best), _hatched(grid), _marks(grid)])
    styled(figure, x_title="L1", y_title="C′", keep="stacking", legend=False)
    lines = {"showgrid": False, "showline": False, "fixedrange": True}
    figure.update_xaxes(tickvals=list(range(len(columns))), ticktext=columns, range=[-0.5, len(columns) - 0.5], **lines)
    figure.update_yaxes(tickvals=list(range(len(rows))), ticktext=rows, range=[-0.5, len(rows) - 0.5], **lines)
    margin = {"l": 8, "r": 8, "t": 4, "b": 4}
    return figure.update_layout(height=CELL_PX * len(rows) + 64, margin=margin, barmode="overlay", bargap=0)


def _values(grid: Grid, shades: Shades) -> go.Heatmap:
    return go.Heatmap(
        z=[[shades.value(cell) for cell in row] for row in grid],
        customdata=[[int(cell["number"]) if _has_value(cell) else None for cell in row] for row in grid],
        hovertext=[[_hover(cell, shades.metric) if _has_value(cell) else "" for cell in row] for row in grid],
        hoverinfo="text",
        hoverongaps=False,
        xgap=2,
        ygap=2,
        **shades.look,
    )


def _numbers(grid: Grid, shades: Shades, best: float) -> go.Scatter:
    """The value in each cell; a heat map's own text would be grey on its middle tones."""
    found = [(x, y, cell, shades.value(cell)) for x, y, cell in _each(grid) if _has_value(cell)]
    return go.Scatter(
        x=[x for x, *_ in found],
        y=[y for _, y, *_ in found],
        mode="text",
        text=[METRICS[shades.metric].show(cell["value"]) + ("<br>★" if cell["value"] == best else "") for *_, cell, _ in found],
        textfont={"size": 12, "color": [shades.ink(value) for *_, value in found if value is not None]},
        hoverinfo="skip",
    )


def _hatched(grid: Grid) -> go.Bar:
    """Bars of one cell's size: a heat map knows no pattern."""
    found = [(x, y, cell) for x, y, cell in _each(grid) if cell["state"] == "INFEASIBLE"]
    return go.Bar(
        x=[x for x, _, _ in found],
        y=[0.94] * len(found),
        base=[y - 0.47 for _, y, _ in found],
        width=0.96,
        marker={"color": CLEAR, "line": {"width": 0}, "pattern": {"shape": "/", "size": 7, "solidity": 0.25, "fgcolor": GREY}},
        hovertext=[_hover(cell, None) for *_, cell in found],
        hoverinfo="text",
    )


def _marks(grid: Grid) -> go.Scatter:
    """What became of feasible cells without a value."""
    found = [(x, y, cell) for x, y, cell in _each(grid) if not _has_value(cell) and cell["state"] in MARKS]
    return go.Scatter(
        x=[x for x, _, _ in found],
        y=[y for _, y, _ in found],
        mode="text",
        text=[MARKS[cell["state"]] for *_, cell in found],
        textfont={"size": 11},
        hovertext=[_hover(cell, None) for *_, cell in found],
        hoverinfo="text",
    )


def _each(grid: Grid) -> Iterator[tuple[int, int, Cell]]:
    """The cells that there are, with their places in the grid."""
    return ((x, y, cell) for y, row in enumerate(grid) for x, cell in enumerate(row) if cell is not None)


def _has_value(cell: Cell | None) -> TypeGuard[Cell]:
    return cell is not None and is_known(cell["value"])


def _hover(cell: Cell, metric: str | None) -> str:
    lines = [f"<b>C1 {cell['channels']}, C′ {cell['group_channels']}, L1 {cell['l1']}</b>"]
    if metric is not None:
        spread = f" ± {shown(metric, cell['spread'])} over {cell['seeds']:.0f} seeds" if is_known(cell["spread"]) else ""
        several = f" of {cell['choices']:.0f} choices" if cell["choices"] > 1 else ""
        lines += [f"{METRICS[metric].name} {shown(metric, cell['value'])}{spread if not several else ''}"]
        lines += [f"best{several}: {_escaped(cell['variant'])}, trial {cell['number']:.0f}{spread if several else ''}"]
    if metric is None and is_known(cell["reason"]):
        lines.append(_wrapped(str(cell["reason"])))
    return "<br>".join([*lines, *([cell["trials"]] if cell["trials"] else [])])


def _wrapped(text: str, width: int = 60) -> str:
    """Words of the store on lines that fit beside the pointer."""
    return "<br>".join(_escaped(line) for line in textwrap.wrap(text, width)[:8])


def _escaped(text: object) -> str:
    return html.escape(str(text), quote=False)
