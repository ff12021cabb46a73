"""Numbers as people write them: `30M`, `4.9G`, `2%`, `1:5`, `48,64,80`."""

import math
import re
from collections.abc import Iterable

SUFFIXES = {"": 1, "K": 1e3, "M": 1e6, "G": 1e9, "B": 1e9, "T": 1e12}
_QUANTITY = re.compile(r"^\s*(\d+(?:\.\d*)?|\.\d+)\s*([KMGBT]?)\s*$", re.IGNORECASE)
MAX_RANGE = 100_000


def parse_quantity(text: str) -> int:
    """The whole number that `text` writes with an optional suffix K, M, G (or B) or T; ValueError otherwise."""
    match = _QUANTITY.match(text)
    if match is None:
        raise ValueError(f"not a quantity: {text!r}; write a positive number with K, M, G or T, such as 30M or 4.9G")
    number = float(match[1]) * SUFFIXES[match[2].upper()]
    if not 0.5 < number < 1e18:
        raise ValueError(f"a quantity must be at least 1 and below 1e18, got {text[:40]!r}")
    return round(number)


def format_quantity(value: float) -> str:
    """Three significant digits and a suffix: 29918424 becomes `29.9M`, 4904000000 becomes `4.90G`."""
    for suffix in ("T", "G", "M", "K"):
        scaled = value / SUFFIXES[suffix]
        if abs(scaled) >= 0.9995:
            return f"{scaled:.{max(0, 2 - math.floor(math.log10(abs(scaled) * 1.0005)))}f}{suffix}"
    return f"{value:g}"


def parse_fraction(text: str, *, whole: bool = False) -> float:
    """The fraction that `2%` or `0.02` writes: in [0, 1), or with `whole` in (0, 1]; ValueError otherwise."""
    number = text.strip()
    try:
        value = float(number[:-1]) / 100 if number.endswith("%") else float(number)
    except ValueError:
        raise ValueError(f"not a fraction: {text!r}; write a percentage such as 2% or a number such as 0.02") from None
    if not (0 < value <= 1 if whole else 0 <= value < 1):
        interval, example = ("(0, 1]", "50% or 0.5") if whole else ("[0, 1)", "2% or 0.02")
        raise ValueError(f"a fraction must lie in {interval} here, got {text!r}; write {example}")
    return value


def parse_integers(text: str) -> tuple[int, ...]:
    """The ascending whole numbers of `48,64,80`, of `1:5` (both ends included) or of `16:160:16` (with a step)."""
    try:
        parts = [_expand(part) for part in text.split(",")]
    except ValueError as error:
        raise ValueError(f"malformed range {text!r}: {_plain(error)}; write 48,64,80 or 1:5 or 16:160:16") from None
    return tuple(sorted({value for part in parts for value in part}))


def _plain(error: ValueError) -> str:
    return "not whole numbers" if "invalid literal" in str(error) else str(error)


def _expand(part: str) -> Iterable[int]:
    bounds = [int(number) for number in part.split(":")]
    if len(bounds) == 1:
        low, high, step = bounds[0], bounds[0], 1
    elif len(bounds) in (2, 3):
        low, high, step = bounds[0], bounds[1], bounds[2] if len(bounds) == 3 else 1
    else:
        raise ValueError(f"too many colons in {part!r}")
    if low < 1 or step < 1:
        raise ValueError(f"values and step must be at least 1, got {part!r}")
    if high < low:
        raise ValueError(f"the range is empty, {low} > {high}")
    if (high - low) // step >= MAX_RANGE:
        raise ValueError(f"more than {MAX_RANGE} values in {part!r}")
    return range(low, high + 1, step)
