"""Print all variants of one size."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from nas.output import Column, Format, metric_column, percent_column, print_json, print_rows, text_column
from searchspace.formats import load_variant
from searchspace.iso import Bound, IsoSize, doublings, iso_size, widths_for
from searchspace.iso_cells import RULES
from searchspace.model_config import ModelConfig
from searchspace.quantity import format_quantity, parse_fraction, parse_integers
from searchspace.sizes import Limit, Target
from searchspace.space import SearchSpace
from searchspace.spaces import stacking_space

ALWAYS = ("params", "flops")
LISTED = 500  # in a table


@dataclass(frozen=True, slots=True, kw_only=True)
class Lattice:
    """Which stacks are looked at, as written on the command line."""

    channels: str | None
    group_channels: str
    l1: str
    l3: str
    limits: Sequence[str]
    style: str | None

    def space(self, target: Target) -> SearchSpace:
        """The stacks with their style and limits; without widths, all that can have the size."""
        style = self.style or "t"
        return stacking_space(
            channels=widths_for(target, style) if self.channels is None else parse_integers(self.channels),
            group_channels=parse_integers(self.group_channels),
            l1=parse_integers(self.l1),
            l3=parse_integers(self.l3),
            limits=[Limit.parse(text) for text in self.limits],
            style=style,
        )


def iso(size: str, tolerance: str, lattice: Lattice, base: str, format: Format) -> None:
    """Print the variants within the tolerance of a size, and which rules leave none elsewhere; as CSV only the variants."""
    target, start = Target.parse(size, parse_fraction(tolerance)), load_variant(base)
    space = lattice.space(target)
    found = iso_size(space, target)
    rows, columns = _rows(found, target, start), _columns(target.metric)
    if format == "json":
        variants = [{column.key: row[column.key] for column in columns} for row in rows]
        print_json({"target": target.to_dict(), "base": start.short_name, "variants": variants, "bounds": list(map(asdict, found.bounds))})
        return
    title = (
        f"{len(found)} variants of style {space.style} with {target.metric} {format_quantity(target.value)} ± {target.tolerance:.1%}"
        f"{space.memory_setting if target.metric == 'memory' else ''}; doublings from {start.short_name}; FLOPs at {space.image_size} px"
    )
    caption = "L1 + 1 and wider: the rule that leaves no variant of the size one step further there"
    if format == "table" and len(rows) > LISTED:
        caption = f"{caption}\nthe first {LISTED}; --format csv has all"
        rows = rows[:LISTED]
    print_rows(rows, columns, format=format, title=title, caption=caption)
    if format == "table":
        print_rows(list(map(_bound_row, found.bounds)), BOUNDS, format=format, title="Where no L3 has the size, and which rule binds")


def _rows(found: IsoSize, target: Target, base: ModelConfig) -> list[Mapping[str, Any]]:
    depth, width, share = doublings(found, base, target)
    return [
        {
            "variant": f"{found.channels[i]},{found.group_channels[i]},{found.l1[i]},{found.l3[i]}",
            "params": int(found.params[i]),
            "flops": int(found.flops[i]),
            target.metric: int(found.size[i]),
            "size_error": float(found.size[i] / target.value - 1),
            "depth": float(depth[i]),
            "width": float(width[i]),
            "depth_share": None if math.isnan(share[i]) else float(share[i]),
            "next_l1": RULES[found.next_l1[i]] or None,
            "next_channels": RULES[found.next_channels[i]] or None,
        }
        for i in range(len(found))
    ]


def _columns(metric: str) -> list[Column]:
    return [
        text_column("variant", "C1,C',L1,L3"),
        *map(metric_column, dict.fromkeys((*ALWAYS, metric))),
        percent_column("size_error", "size error"),
        Column("depth", "of depth", "{:+.2f}".format),
        Column("width", "of width", "{:+.2f}".format),
        Column("depth_share", "depth share", "{:.0%}".format, optional=True),
        text_column("next_l1", "L1 + 1", optional=True),
        text_column("next_channels", "wider", optional=True),
    ]


def _bound_row(bound: Bound) -> Mapping[str, Any]:
    return {**asdict(bound), "first": ",".join(map(str, bound.first))}


BOUNDS = [
    text_column("rule", "rule"),
    Column("count", "C1,C',L1"),
    text_column("first", "first"),
    text_column("reason", "there", folds=True),
]
