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


@dataclass(frozen=True, slots=True)
class Column:
    """A key of the rows, its heading, and how its values read in a table; JSON and CSV carry plain values.

    A table leaves `optional` columns out, the last first, where the terminal is too narrow, and never shows `plain` ones.
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


def _print_table(rows: Sequence[Row], columns: Sequence[Column], title: str, caption: str) -> None:
    from rich.console import Console

    console = _console(Console)
    shown = [column for column in columns if not column.plain]
    table = _table(rows, shown, title, caption)
    unbounded = console.options.update_width(10_000)
    while console.measure(table, options=unbounded).maximum > console.width and any(column.optional for column in shown):
        shown.remove([column for column in shown if column.optional][-1])
        table = _table(rows, shown, title, f"{caption}\n(a wider terminal shows more; --format csv shows all)".strip())
    console.print(table)


def _console(console: Callable[..., "Console"]) -> "Console":
    return console(highlight=False, width=None if sys.stdout.isatty() else PAGE)


def _table(rows: Sequence[Row], columns: Sequence[Column], title: str, caption: str) -> "Table":
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, title=title or None, caption=caption or None, title_justify="left", caption_justify="left")
    for column in columns:
        table.add_column(column.label, justify="left" if column.left else "right", overflow="fold", no_wrap=not column.folds)
    for row in rows:  # Text, not markup: a study may be called [bold]
        table.add_row(*(Text(_shown(column, row.get(column.key))) for column in columns))
    return table


def _words(value: Any) -> str:
    return "" if value is None else str(value)


def _shown(column: Column, value: Any) -> str:
    return "–" if value is None and not column.left else column.show(value)


VARIANT = (text_column("variant", "C1,C',L1,L3"), text_column("style", "style", optional=True))
_REASONS = (
    Column("count", "how many"),
    text_column("which", "which"),
    text_column("state", "state"),
    text_column("reason", "reason", folds=True),
)
