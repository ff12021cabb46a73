"""Tables on standard output, for people, programs and spreadsheets: `table`, `json` or `csv`."""

import csv
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from studies.records import METRICS

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

Format = Literal["table", "json", "csv"]
Row = Mapping[str, Any]
PAGE = 140  # columns where nobody has a terminal
FOLDED = 20  # characters that a folding value is given at least


@dataclass(frozen=True, slots=True)
class Column:
    """A key of the rows, its heading, and how its values read in a table; JSON and CSV carry plain values.

    A table leaves `optional` columns out, the last first, where the terminal is too narrow, and never shows `plain` ones. What `folds` may
    take several lines, and headings where nothing else helps; all values else stand whole, in a table wider than the terminal if need be.
    """

    key: str
    label: str
    show: Callable[[Any], str] = str
    left: bool = False
    folds: bool = False
    optional: bool = False
    plain: bool = False


def text_column(key: str, label: str, *, folds: bool = False, optional: bool = False, plain: bool = False) -> Column:
    """A column of words."""
    return Column(key, label, _words, left=True, folds=folds, optional=optional, plain=plain)


def metric_column(name: str, *, optional: bool = False) -> Column:
    """A column of a known metric in its unit."""
    return Column(name, METRICS[name].label, METRICS[name].show, optional=optional)


def percent_column(key: str, label: str) -> Column:
    """A column of signed relative errors."""
    return Column(key, label, "{:+.1%}".format, optional=True)


def print_rows(rows: Sequence[Row], columns: Sequence[Column], *, format: Format, title: str = "", caption: str = "") -> None:
    """Print the rows in one of the formats; JSON and CSV print nothing else, so that a program can read them."""
    if format == "json":
        print_json([{column.key: row.get(column.key) for column in columns} for row in rows])
    elif format == "csv":
        writer = csv.DictWriter(sys.stdout, [column.key for column in columns], extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    else:
        _print_table(rows, columns, title, caption)


def print_with_reasons(
    rows: Sequence[Row], columns: Sequence[Column], *, named_by: Sequence[Column], format: Format, title: str, caption: str = ""
) -> None:
    """Print rows of which some carry a `reason` for what they lack; people get each reason once, with the rows it holds for."""
    if format != "table":
        print_rows(rows, [*columns, text_column("reason", "reason")], format=format)
        return
    print_rows([row for row in rows if not row["reason"]], columns, format=format, title=title, caption=caption)
    if any(row["reason"] for row in rows):
        print_rows(_by_reason(rows, named_by), _REASONS, format=format, title="Not trained to the end, and why")


def _by_reason(rows: Sequence[Row], named_by: Sequence[Column]) -> list[Row]:
    groups: dict[str, list[Row]] = {}
    for row in rows:
        if row["reason"]:
            groups.setdefault(row["reason"], []).append(row)
    return [
        {
            "count": len(group),
            "which": ", ".join(f"{column.label}={group[0][column.key]}" for column in named_by) + (" …" if len(group) > 1 else ""),
            "state": group[0].get("state", "INFEASIBLE"),
            "reason": reason,
        }
        for reason, group in groups.items()
    ]


def print_json(values: Any) -> None:
    """Print a JSON document alone."""
    sys.stdout.write(json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False, default=str) + "\n")


def print_commands(commands: Sequence[tuple[str, str]]) -> None:
    """Print commands to try, each with what it is for: beside it, or above it where the terminal is narrow."""
    from rich.console import Console

    console = _console(Console)
    wide = max(len(command) for command, _ in commands)
    beside = [f"  {command:<{wide}}  {why}" for command, why in commands]
    above = [line for command, why in commands for line in (f"  # {why}", f"  {command}")]
    lines = beside if max(map(len, beside)) <= console.width else above
    console.print("\n".join(["Next:", *lines]), markup=False, soft_wrap=True)


def print_text(text: str) -> None:
    """Print a sentence, broken between words where a terminal ends and nowhere else."""
    from rich.console import Console

    _console(Console).print(text, markup=False, emoji=False, soft_wrap=not sys.stdout.isatty())


def _print_table(rows: Sequence[Row], columns: Sequence[Column], title: str, caption: str) -> None:
    from rich.console import Console

    console = _console(Console)
    shown = [column for column in columns if not column.plain]
    least = _least_widths(rows, shown)
    while _total(least) > console.width and len(shown) > 1 and any(column.optional for column in shown):
        shown.remove([column for column in shown if column.optional][-1])
        least = _least_widths(rows, shown)
    if len(shown) < sum(not column.plain for column in columns):
        caption = f"{caption}\n(a wider terminal shows more; --format csv shows all)".strip()
    if _total(least) > console.width:
        least = _least_widths(rows, shown, folded_headings=True)
    console.size = (max(_total(least), console.width), console.height)  # rich would cut off what goes beyond
    console.print(_table(rows, shown, least, title, caption))


def _least_widths(rows: Sequence[Row], columns: Sequence[Column], *, folded_headings: bool = False) -> list[int]:
    """What each column needs so that nothing but what folds is broken, in characters of a terminal."""
    from rich.cells import cell_len

    widths = []
    for column in columns:
        values = max((cell_len(_shown(column, row.get(column.key))) for row in rows), default=0)
        heading = max(map(cell_len, column.label.split() if folded_headings else [column.label]), default=0)
        widths.append(max(1, heading, min(values, FOLDED) if column.folds else values))  # a skin tone alone has no width, and is to be seen
    return widths


def _total(widths: Sequence[int]) -> int:
    """The width of a table with such columns: each has a space on either side, and one stands between two and at either edge."""
    return sum(widths) + 3 * len(widths) + 1


def _console(console: Callable[..., "Console"]) -> "Console":
    return console(highlight=False, width=None if sys.stdout.isatty() else PAGE)


def _table(rows: Sequence[Row], columns: Sequence[Column], widths: Sequence[int], title: str, caption: str) -> "Table":
    """A table of columns with these widths; what folds takes what is left of the terminal."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    # Text, not markup: a study may be called [bold]
    above, below = (Text(text, style) if text else None for text, style in ((title, "table.title"), (caption, "table.caption")))
    table = Table(box=box.SIMPLE_HEAD, title=above, caption=below, title_justify="left", caption_justify="left")
    for column, width in zip(columns, widths, strict=True):
        justify: Literal["left", "right"] = "left" if column.left else "right"
        table.add_column(Text(column.label), justify=justify, overflow="fold", width=None if column.folds else width, min_width=1)
    for row in rows:
        table.add_row(*(Text(_shown(column, row.get(column.key))) for column in columns))
    return table


def _words(value: Any) -> str:
    return "" if value is None else str(value)


def _shown(column: Column, value: Any) -> str:
    return "–" if value is None and not column.left else column.show(value)


VARIANT = (text_column("variant", "C1,C',L1,L3"), text_column("style", "style", optional=True))
_REASONS = (
    Column("count", "how many"),
    text_column("which", "which", folds=True),
    text_column("state", "state"),
    text_column("reason", "reason", folds=True),
)
