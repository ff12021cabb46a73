"""What the scaling space holds fixed: which size a step of φ doubles, how depth is split, and how near the size must come."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from searchspace.depth_split import check_split
from searchspace.exponents import SCALE_METRICS, Exponents


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaling:
    """How candidates of a scaling space are made.

    The depth is solved so that `metric` comes within `tolerance` of 2^φ times the base's, or with `formula` rounded as in the paper and
    the size left as it comes out. `exponents` are those measured for `latency_ms`; the other metrics have computed ones. `alpha` bounds
    the effective α of candidates that are chosen by width.
    """

    metric: str = "params"
    exponents: Exponents | None = None
    split: str = "ratio"
    formula: bool = False
    alpha: tuple[float, float] = (1.0, 1.4)
    tolerance: float = 0.015

    def __post_init__(self) -> None:
        if self.metric not in SCALE_METRICS:
            raise ValueError(f"a scaling metric is one of {', '.join(SCALE_METRICS)}, got {self.metric!r}")
        if not isinstance(self.exponents, Exponents | None):
            raise ValueError(f"exponents must be Exponents, as latency_exponents measures them, got {self.exponents!r}")
        if (self.exponents is None) == (self.metric == "latency_ms"):
            given = "none" if self.exponents is None else "some"
            raise ValueError(f"latency_ms needs measured exponents and the other metrics compute theirs, got {given} for {self.metric}")
        check_split(self.split)
        if not isinstance(self.formula, bool):
            raise ValueError(f"formula must be true or false, got {self.formula!r}")
        object.__setattr__(self, "alpha", _range(self.alpha))
        if not isinstance(self.tolerance, int | float) or not 0 < self.tolerance < 1:
            raise ValueError(f"tolerance must lie in (0, 1), got {self.tolerance!r}")

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; `from_dict` reads them back."""
        exponents = {} if self.exponents is None else {"exponents": asdict(self.exponents)}
        plain = {
            "metric": self.metric,
            "split": self.split,
            "formula": self.formula,
            "alpha": list(self.alpha),
            "tolerance": self.tolerance,
        }
        return {**plain, **exponents}

    @classmethod
    def from_dict(cls, values: Any) -> Self:
        """The setting of a mapping, which may leave out what has a default; ValueError for what it cannot be."""
        if not isinstance(values, Mapping):
            raise ValueError(f"expected a mapping of metric, split, formula, alpha, tolerance, exponents; got {values!r}")
        try:
            rest = dict(values)
            exponents = rest.pop("exponents", None)
            return cls(exponents=exponents if exponents is None else Exponents(**exponents), **rest)
        except TypeError as error:
            raise ValueError(str(error)) from None


def _range(values: Any) -> tuple[float, float]:
    """The lowest and the highest α."""
    try:
        low, high = map(float, values)
    except (TypeError, ValueError):
        raise ValueError(f"alpha must be a range such as [1, 1.4], got {values!r}") from None
    if not 1 <= low < high <= 4:
        raise ValueError(f"alpha must ascend from at least 1 to at most 4, got {low:g} to {high:g}")
    return low, high
