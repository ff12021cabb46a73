"""Numbers as people write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from searchspace.quantity import format_quantity, parse_fraction, parse_integers, parse_quantity


@pytest.mark.parametrize(
    ("text", "value"), [("30M", 30_000_000), ("4.9G", 4_900_000_000), ("1.08b", 1_080_000_000), ("12", 12), (".5k", 500)]
)
def test_a_suffix_multiplies(text: str, value: int) -> None:
    assert parse_quantity(text) == value


@pytest.mark.parametrize("text", ["", "M", "-3M", "30MM", "3e6", "nan", "inf", "30 M M", "0"])
def test_anything_else_is_refused_by_its_text(text: str) -> None:
    with pytest.raises(ValueError, match="quantity"):
        parse_quantity(text)


@given(st.integers(1, 10**13))
def test_a_shown_quantity_reads_back_within_its_three_digits(value: int) -> None:
    assert parse_quantity(format_quantity(value)) == pytest.approx(value, rel=0.006)


@pytest.mark.parametrize(
    ("value", "text"), [(29_918_424, "29.9M"), (4_903_577_856, "4.90G"), (999_700, "1.00M"), (12, "12"), (2.7e12, "2.70T")]
)
def test_three_digits_are_shown(value: float, text: str) -> None:
    assert format_quantity(value) == text


def test_ranges_lists_and_steps_are_sorted_without_repeats() -> None:
    assert parse_integers("80,48:64:16,64") == (48, 64, 80)
    assert parse_integers("1:5") == (1, 2, 3, 4, 5)


@pytest.mark.parametrize("text", ["", "a", "5:1", "1:5:0", "0:3", "1:2:3:4", "1,,2", "1:99999999999"])
def test_a_malformed_range_says_how_to_write_one(text: str) -> None:
    with pytest.raises(ValueError, match=r"malformed range .*write 48,64,80"):
        parse_integers(text)


def test_percentages_and_numbers_are_fractions() -> None:
    assert parse_fraction("2%") == parse_fraction("0.02") == 0.02
    for text in ("two", "100%", "-1%", "nan"):
        with pytest.raises(ValueError, match=r"fraction.*; write .*2%.* or .*0\.02"):
            parse_fraction(text)
    with pytest.raises(ValueError, match=r"must lie in \(0, 1\] here, got '2'; write 50% or 0.5"):
        parse_fraction("2", whole=True)
