"""Tables on standard output, for people, programs and spreadsheets: `table`, `json` or `csv`."""

import csv
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from studies.records import METRICS

Format = Literal["table", "json", "csv"]
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Column:
    """A key of the rows, its heading, and how its values read in a table; JSON and CSV carry plain values."""

    key: str
    label: str
    show: Callable[[Any], str] = str
    left: bool = False


def text_column(key: str, label: str) -> Column:
    """A column of words."""
    return Column(key, label, lambda value: "" if value is None else str(value), left=True)


def metric_column(name: str) -> Column:
    """A column of a known metric in its unit."""
    return Column(name, METRICS[name].label, METRICS[name].show)


def percent_column(key: str, label: str) -> Column:
    """A column of signed relative errors."""
    return Column(key, label, lambda value: "–" if value is None else f"{value:+.1%}")


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


def print_with_reasons(rows: Sequence[Row], columns: Sequence[Column], about: Sequence[Column], *, format: Format, title: str) -> None:
    """Print rows of which some carry a reason for what they lack: people get those in a table of their own with the columns `about`."""
    reason = text_column("reason", "reason")
    if format != "table":
        every = {column.key: column for column in [*columns, *about, reason]}
        print_rows(rows, list(every.values()), format=format)
        return
    print_rows([row for row in rows if not row["reason"]], columns, format=format, title=title)
    if without := [row for row in rows if row["reason"]]:
        print_rows(without, [*about, reason], format=format, title="and those that cannot be trained, or failed")


def print_json(values: Any) -> None:
    """Print a JSON document alone."""
    sys.stdout.write(json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False, default=str) + "\n")


def print_text(text: str) -> None:
    """Print a line for people."""
    from rich.console import Console

    Console(highlight=False, soft_wrap=True).print(text, markup=False)


def _print_table(rows: Sequence[Row], columns: Sequence[Column], title: str, caption: str) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, title=title or None, caption=caption or None, title_justify="left", caption_justify="left")
    for column in columns:
        table.add_column(column.label, justify="left" if column.left else "right", overflow="fold")
    for row in rows:  # Text, not markup: a study may be called [bold]
        table.add_row(*(Text(_shown(column, row.get(column.key))) for column in columns))
    Console(highlight=False, width=None if sys.stdout.isatty() else 140).print(table)


def _shown(column: Column, value: Any) -> str:
    return "–" if value is None and not column.left else column.show(value)
