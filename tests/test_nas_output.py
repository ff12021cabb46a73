"""Tables: what a reader must find whole in them, however narrow the terminal."""

import io
import re
import sys
from collections import Counter
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nas.output import Column, print_rows

WORDS = st.text(st.characters(categories=["L", "Nd", "P", "S"], include_characters=" "), max_size=60).map(str.strip)
Drawn = tuple[list[Column], list[dict[str, Any]]]
TONE = "\N{EMOJI MODIFIER FITZPATRICK TYPE-6}"  # alone it has no width


@st.composite
def tables(draw: st.DrawFn) -> Drawn:
    """Columns that stand whole, fold or may be left out, with some rows."""
    columns = [
        Column(f"key {i}", draw(WORDS), left=draw(st.booleans()), folds=kind == "folds", optional=kind == "optional")
        for i, kind in enumerate(draw(st.lists(st.sampled_from(["whole", "folds", "optional"]), min_size=1, max_size=10)))
    ]
    return columns, draw(st.lists(st.fixed_dictionaries({column.key: WORDS for column in columns}), max_size=3))


def printed(drawn: Drawn, terminal: int, *, title: str = "", kind: str = "xterm") -> str:
    """A table as a terminal of so many columns gets it, without what makes it bold."""
    out = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(out, "isatty", lambda: True)
        patch.setattr(sys, "stdout", out)
        patch.setenv("COLUMNS", str(terminal))
        patch.setenv("TERM", kind)
        columns, rows = drawn
        print_rows(rows, columns, format="table", title=title)
    return re.sub(r"\x1b\[[\d;]*m", "", out.getvalue())


@given(tables(), WORDS, st.integers(20, 200), st.sampled_from(["xterm", "dumb"]))
@example(([Column("whole", TONE), Column("folds", TONE, folds=True)], [{"whole": TONE, "folds": TONE}]), TONE, 20, "xterm")
def test_values_stand_whole_in_a_table_unless_their_column_folds_or_is_left_out_and_no_letter_is_lost(
    drawn: Drawn, title: str, terminal: int, kind: str
) -> None:
    columns, rows = drawn
    shown = printed(drawn, terminal, title=title, kind=kind)
    always = [column for column in columns if not column.optional]
    for value in (row[column.key] for row in rows for column in always if not column.folds):
        assert any(value in line for line in shown.splitlines()), value
    texts = [title, *(column.label for column in always), *(row[column.key] for row in rows for column in always)]
    assert not set(Counter("".join(texts)) - Counter(shown)) - {" "}


def test_a_terminal_too_narrow_folds_what_folds_then_loses_what_is_optional_then_folds_headings() -> None:
    columns = [
        Column("variant", "C1,C',L1,L3"),
        Column("phi", "φ of the depth", optional=True),
        Column("why", "why", left=True, folds=True),
    ]
    table = columns, [{"variant": "160,16,5,24", "phi": 3, "why": "a reason of several words that are long together"}]
    for terminal, reason, optional in ((90, True, True), (60, False, True), (50, False, False)):
        assert ("several words that are long together" in printed(table, terminal)) is reason
        assert ("φ of the depth" in printed(table, terminal)) is optional
    for terminal in (90, 60, 50, 40):
        lines = printed(table, terminal).splitlines()
        assert max(map(len, lines)) <= terminal
        assert any("160,16,5,24" in line for line in lines)
    narrow = [Column("size", "size error", "{:+.1%}".format), Column("width", "φ of width")]
    assert max(map(len, printed((narrow, [{"size": -0.027, "width": 2.98}]), 20).splitlines())) <= 20
