"""Sizes that a search must meet: a target to come near to, and limits never to exceed.

A size is a cost, or `memory`: the bytes of training a full-width variant under the settings of its space.
"""

import math
import re
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from searchspace.quantity import format_quantity, parse_quantity
from searchspace.size_form import SIZE_METRICS

_LIMIT = re.compile(r"^\s*(\w+)\s*<=\s*(\S+)\s*$")


@dataclass(frozen=True, slots=True)
class Target:
    """A size to hit: candidates further off than `tolerance` (a fraction of `value`) are infeasible."""

    value: int
    metric: str = "params"
    tolerance: float = 0.02

    def __post_init__(self) -> None:
        _check_size("target", self.metric, self.value)
        if not isinstance(self.tolerance, int | float) or not 0 <= self.tolerance < 1:
            raise ValueError(f"tolerance must lie in [0, 1), got {self.tolerance!r}")

    @classmethod
    def parse(cls, text: str, tolerance: float = 0.02) -> Self:
        """`30M` and `params=30M` ask for parameters, `5G` and `flops=5G` for FLOPs, `memory=4G` for bytes; B (billions): parameters."""
        metric, equals, quantity = text.rpartition("=")
        if not equals:
            metric = "flops" if quantity.strip()[-1:].upper() in ("G", "T") else "params"
        return cls(parse_quantity(quantity), metric.strip(), tolerance)

    def reached_by(self, sizes: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which sizes are near enough; in the same arithmetic as `violation`."""
        near: NDArray[np.bool_] = np.abs(sizes.astype(np.float64) / float(self.value) - 1) <= self.tolerance
        return near

    def violation(self, got: int) -> str | None:
        """How far off a size is when that is too far."""
        error = float(got) / float(self.value) - 1
        if abs(error) <= self.tolerance:
            return None
        return (
            f"off target: {self.metric} {format_quantity(got)} is {error:+.2%} from {format_quantity(self.value)}, "
            f"tolerance {self.tolerance:.1%}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Limit:
    """A size that no candidate may exceed."""

    metric: str
    value: int

    def __post_init__(self) -> None:
        _check_size("limit", self.metric, self.value)

    @classmethod
    def parse(cls, text: str) -> Self:
        """The limit that `params<=30M` or `flops<=5G` writes."""
        match = _LIMIT.match(text)
        if match is None:
            raise ValueError(f"malformed limit {text!r}; write a metric and a quantity such as params<=30M, flops<=5G or memory<=4G")
        return cls(match[1], parse_quantity(match[2]))

    def violation(self, got: int) -> str | None:
        """By how much a size exceeds the limit when it does."""
        return None if got <= self.value else f"over the limit: {self.metric} {format_quantity(got)} > {format_quantity(self.value)}"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def _check_size(role: str, metric: str, value: int) -> None:
    if metric not in SIZE_METRICS:
        raise ValueError(f"unknown {role} metric {metric!r}; known: {', '.join(SIZE_METRICS)}")
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
        raise ValueError(f"a {role} must be a positive number, got {metric}={value!r}")
