"""What the operator is asked to reach, and whether it does."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.grid_sample import RELEASED
from benchmarks.operator_rows import BACKWARD, BOTH, FORWARD, Row


@dataclass(frozen=True, slots=True)
class Target:
    """A measured number that is to be at least `must`, and hoped to be `aim`."""

    name: str
    measured: float
    must: float
    aim: float

    @property
    def verdict(self) -> str:
        """In words."""
        if self.measured >= self.aim:
            return "met, aim reached"
        return "met" if self.measured >= self.must else "not met"


# Variant: geometric means of the ratios to be reached and hoped for, and the least at any shape; forward, then forward and backward.
RATIOS = {"avx512": ((12.0, 20.0, 10.0), (10.0, 15.0, 7.0)), "avx2": ((6.0, 10.0, None), (4.0, 7.0, None))}
SHARES = {FORWARD: (0.5, 0.7), BACKWARD: (0.3, 0.5)}


def ratio_targets(rows: Sequence[Row]) -> list[Target]:
    """Of every variant measured that has any, over the fastest spelling of grid_sample at each shape and over the released one."""
    return [
        target
        for spelling in (None, RELEASED)
        for variant in rows[0].variants
        if variant in RATIOS
        for way, numbers in zip((FORWARD, BOTH), RATIOS[variant], strict=True)
        for target in _ratio_targets(
            f"{variant} {way} over {spelling or 'fastest'}", [row.ratio(way, variant, spelling) for row in rows], *numbers
        )
    ]


def share_targets(rows: Sequence[Row]) -> list[Target]:
    """Of the fastest variant, as geometric means over the four stages of T at 224²; shorter calls are mostly the dispatcher's."""
    variant, large = rows[0].variants[0], [row for row in rows if row.shape.family == rows[0].shape.family]
    return [
        Target(f"{variant} {way}: share of the bound, {large[0].shape.family}", _mean([row.share(way, variant) for row in large]), *numbers)
        for way, numbers in SHARES.items()
    ]


def _ratio_targets(name: str, ratios: list[float], must: float, aim: float, least: float | None) -> list[Target]:
    mean = Target(f"{name}: ratio, geometric mean", _mean(ratios), must, aim)
    return [mean] if least is None else [mean, Target(f"{name}: ratio, least", min(ratios), least, aim)]


def _mean(values: list[float]) -> float:
    return statistics.geometric_mean(values)
