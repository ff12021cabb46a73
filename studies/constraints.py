"""What a trial must reach to stand on a front: a bound on any metric, measured or counted."""

import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

from searchspace.quantity import parse_quantity
from studies.records import METRICS, StudyRecord, Trial

Sense = Literal[">=", "<="]
_PERCENT = 0.01  # the scale of metrics that are fractions
_WRITTEN = re.compile(r"^\s*(\w+)\s*(>=|<=)\s*(\S+)\s*$")


@dataclass(frozen=True, slots=True)
class Constraint:
    """`metric` must be at least or at most `bound`, in the metric's plain unit (fractions, parameters, seconds)."""

    metric: str
    sense: Sense
    bound: float

    def __post_init__(self) -> None:
        if self.metric not in METRICS:
            raise ValueError(f"unknown metric {self.metric!r} in a constraint; known: {', '.join(METRICS)}")
        if self.sense not in (">=", "<="):
            raise ValueError(f"a constraint reads metric>=bound or metric<=bound, got {self.sense!r}")
        if not isinstance(self.bound, int | float) or not math.isfinite(self.bound):
            raise ValueError(f"the bound of {self.metric} must be a finite number, got {self.bound!r}")
        if METRICS[self.metric].scale == _PERCENT and not 0 <= self.bound <= 1:
            raise ValueError(f"{self.metric} is a fraction from 0 to 1, got the bound {self.bound:g}; write 90% or 0.9")

    @classmethod
    def parse(cls, text: str) -> Self:
        """The constraint that `top1>=0.9`, `top1>=90%`, `flops<=5G` or `latency_ms<=12.5` writes."""
        if (match := _WRITTEN.match(text)) is None:
            raise ValueError(f"malformed constraint {text!r}; write top1>=0.9, top1>=90% or flops<=5G")
        metric, sense, bound = match.groups()
        if bound.endswith("%") and metric in METRICS and METRICS[metric].scale != _PERCENT:
            raise ValueError(f"{metric} is no fraction, got the bound {bound!r} in {text!r}; write it in plain units, such as flops<=5G")
        return cls(metric, sense, _bound(bound))  # type: ignore[arg-type]  # the pattern lets no other sense through

    @property
    def text(self) -> str:
        """As `parse` reads it."""
        short = f"{self.bound:.12g}"
        return f"{self.metric}{self.sense}{short if float(short) == self.bound else repr(self.bound)}"

    def violation(self, trial: Trial) -> float:
        """By how much a trial misses the bound: at most 0 when it is met, infinite where the metric is not known."""
        value = trial.value(self.metric)
        if value is None:
            return math.inf
        return self.bound - value if self.sense == ">=" else value - self.bound

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The constraint that `to_dict` wrote; ValueError for other keys."""
        if set(values) != {"metric", "sense", "bound"}:
            raise ValueError(f"a constraint has metric, sense and bound, got {', '.join(map(str, values)) or 'nothing'}")
        return cls(**values)


def check_constraints(constraints: Sequence[Constraint], reported: Collection[str]) -> None:
    """ValueError for a constraint on what nobody reports (`reported` are the metrics that trials will have), and for contradictory ones."""
    for constraint in constraints:
        if constraint.metric not in reported:
            raise ValueError(
                f"nobody reports {constraint.metric}, so that no trial can meet {constraint.text}; reported: {', '.join(reported)}"
            )
        for other in constraints:
            if (constraint.metric, constraint.sense, other.sense) == (other.metric, ">=", "<=") and constraint.bound > other.bound:
                raise ValueError(f"no trial can meet both {constraint.text} and {other.text}")


def constraints_of(study: StudyRecord) -> tuple[Constraint, ...]:
    """The bounds for a study's front, as its configuration has them."""
    return tuple(map(Constraint.from_dict, study.config.get("require", ())))


def _bound(text: str) -> float:
    try:
        return float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        return parse_quantity(text)
