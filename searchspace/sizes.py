"""Sizes that a search must meet: a target to come near to, and limits never to exceed."""

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from searchspace.cost import COST_METRICS, Cost
from searchspace.quantity import format_quantity, parse_quantity

_LIMIT = re.compile(r"^\s*(\w+)\s*<=\s*(\S+)\s*$")


@dataclass(frozen=True, slots=True)
class Target:
    """A size to hit: candidates further off than `tolerance` (a fraction of `value`) are infeasible."""

    value: int
    metric: str = "params"
    tolerance: float = 0.02

    def __post_init__(self) -> None:
        _check_size("target", self.metric, self.value)
        if not 0 <= self.tolerance < 1:
            raise ValueError(f"tolerance must lie in [0, 1), got {self.tolerance}")

    @classmethod
    def parse(cls, text: str, tolerance: float = 0.02) -> Self:
        """`30M` and `params=30M` ask for parameters, `5G` and `flops=5G` for FLOPs; B (billions) always means parameters."""
        metric, equals, quantity = text.rpartition("=")
        if not equals:
            metric = "flops" if quantity.strip()[-1:].upper() in ("G", "T") else "params"
        return cls(parse_quantity(quantity), metric.strip(), tolerance)

    def violation(self, cost: Cost) -> str | None:
        """How far off `cost` is when that is too far."""
        got = getattr(cost, self.metric)
        error = got / self.value - 1
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
            raise ValueError(f"malformed limit {text!r}; write a metric and a quantity such as params<=30M or flops<=5G")
        return cls(match[1], parse_quantity(match[2]))

    def violation(self, cost: Cost) -> str | None:
        """By how much `cost` exceeds the limit when it does."""
        got = getattr(cost, self.metric)
        return None if got <= self.value else f"over the limit: {self.metric} {format_quantity(got)} > {format_quantity(self.value)}"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def sizes_from_dict(target: Mapping[str, Any] | None, limits: list[Mapping[str, Any]]) -> tuple[Target | None, tuple[Limit, ...]]:
    """The target and limits that their `to_dict` wrote."""
    return (None if target is None else Target(**target)), tuple(Limit(**limit) for limit in limits)


def _check_size(role: str, metric: str, value: int) -> None:
    if metric not in COST_METRICS:
        raise ValueError(f"unknown {role} metric {metric!r}; known: {', '.join(COST_METRICS)}")
    if not math.isfinite(value) or value <= 0:
        raise ValueError(f"a {role} must be positive, got {metric}={value}")
