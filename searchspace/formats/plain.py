"""Plain values (null, booleans, finite numbers, text, lists, mappings) within bounds that keep every reader's time and memory small."""

import json
import math
from collections.abc import Mapping
from typing import Any

MAX_DEPTH = 32
MAX_WHOLE = 2**63
MAX_MESSAGE = 300  # characters: a damaged file may hold one value of a megabyte


def check_plain(value: Any, where: str = "the file", depth: int = 0) -> None:
    """ValueError for what JSON cannot hold, numbers that are not finite or beyond 64 bits, keys that are not text, and deep nesting."""
    if depth > MAX_DEPTH:
        raise ValueError(f"{where} is nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise ValueError(f"keys of {where} must be text, got {key!r}")
            check_plain(inner, key, depth + 1)
    elif isinstance(value, list | tuple):
        for inner in value:
            check_plain(inner, where, depth + 1)
    else:
        _check_scalar(value, where)


def _check_scalar(value: Any, where: str) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{where} must be a finite number, got {value}")
    if isinstance(value, int) and abs(value) >= MAX_WHOLE:
        raise ValueError(f"{where} must be below 2^63, got a number of {value.bit_length()} bits")
    if not isinstance(value, str | int | float | None):
        raise ValueError(f"{where} must be plain (null, true, false, a number, text, a list or a mapping), got {type(value).__name__}")


def parse_json(text: str) -> Any:
    """The plain values of a JSON text; ValueError for malformed text, a key that appears twice, NaN and infinity."""
    try:
        return json.loads(text, object_pairs_hook=unique_keys)
    except json.JSONDecodeError as error:
        raise ValueError(f"not readable as JSON: {error}") from None
    except RecursionError:
        raise ValueError("not readable as JSON: nested too deep") from None


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The pairs as a dictionary; ValueError for a key that appears twice."""
    values: dict[str, Any] = {}
    for key, value in pairs:
        if key in values:
            raise ValueError(f"the key {key!r} appears twice")
        values[key] = value
    return values


def one_line(error: Exception) -> str:
    """An error's text on one line of at most 300 characters."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= MAX_MESSAGE else text[:MAX_MESSAGE] + " …"
