"""How much of a difference between two trials is noise: the measured spread over seeds, by fidelity."""

import json
import math
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

RECORD = Path(__file__).with_name("noise.json")
LEVEL = 0.95


def noise_points(fidelity: Mapping[str, Any]) -> float | None:
    """Points of top-1 (percent) below which two single-seed trials of one fidelity cannot be told apart; None where not measured.

    Two trials of the same variant with different seeds differ by less in 95 % of cases: t(n − 1) · √2 · s for the spread s over n seeds.
    """
    measured = [record["top1"] for record in _records() if _same(record["fidelity"], fidelity)]
    return least_significant_difference(measured[0]) * 100 if measured else None


def least_significant_difference(values: list[float]) -> float:
    """The 95 % bound on the difference of two single draws, from `values` of one variant over seeds; ValueError below two of them."""
    n = len(values)
    if n < 2:
        raise ValueError(f"a spread needs at least two seeds, got {n}")
    from scipy.stats import t  # half a second to import, for one quantile

    mean = sum(values) / n
    spread = math.sqrt(sum((value - mean) ** 2 for value in values) / (n - 1))
    return float(t.ppf((1 + LEVEL) / 2, n - 1)) * math.sqrt(2) * spread


@cache
def _records() -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = json.loads(RECORD.read_text(encoding="utf-8"))
    return records


def _same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two fidelities differ in nothing but their seed."""
    return {**one, "seed": None} == {**other, "seed": None}
