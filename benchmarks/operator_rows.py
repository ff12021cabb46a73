"""Times of the operator at one shape, and what they are worth: ratios to the baseline, shares of the bound."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from benchmarks import operator_contenders as contenders
from benchmarks.grid_sample import SPELLINGS
from benchmarks.load_rate import bounds
from benchmarks.operator_shapes import Shape, draw
from benchmarks.timing import Run, Timing, interleaved, milliseconds
from benchmarks.traffic import streaming

STREAMING = "streaming"  # as many bytes as the pass has to move, in order
FORWARD, BOTH, BACKWARD = "forward", "forward+backward", "backward"
Times = Mapping[str, Timing]


@dataclass(frozen=True, slots=True)
class Row:
    """One shape: times by pass and contender, and least seconds by pass and variant; variants come the fastest first."""

    shape: Shape
    variants: tuple[str, ...]
    times: Mapping[str, Times]
    bounds: Mapping[str, Mapping[str, float]]

    def baseline(self, way: str) -> str:
        """The fastest spelling of grid_sample there."""
        return min(SPELLINGS, key=lambda spelling: self.seconds(way, spelling))

    def seconds(self, way: str, name: str) -> float:
        """The median."""
        return self.times[way][name].median

    def flops(self, way: str) -> int:
        """The backward pass counts twice, as PyTorch counts convolutions."""
        return {FORWARD: 1, BACKWARD: 2, BOTH: 3}[way] * self.shape.forward_flops

    def moved_bytes(self, way: str) -> int:
        """At least."""
        forward, backward = self.shape.forward_bytes, self.shape.backward_bytes
        return {FORWARD: forward, BACKWARD: backward, BOTH: forward + backward}[way]

    def ratio(self, way: str, variant: str, spelling: str | None = None) -> float:
        """How many times as fast as a spelling of grid_sample, the fastest unless one is named."""
        return self.seconds(way, spelling or self.baseline(way)) / self.seconds(way, variant)

    def share(self, way: str, variant: str) -> float:
        """How much of what the first-level cache allows is reached."""
        return self.bounds[way][variant] / self.seconds(way, variant)


def measure(shape: Shape, variants: tuple[str, ...], repeats: int) -> Row:
    """Every contender in turns; AssertionError when one of them computes something else."""
    inputs, operators = draw(shape), contenders.contenders(shape, variants)
    contenders.check(inputs, operators)
    runs: dict[str, dict[str, Run]] = {
        FORWARD: {name: partial(contenders.forward, run, inputs) for name, run in operators.items()},
        BOTH: {name: partial(contenders.forward_backward, run, inputs) for name, run in operators.items()},
        BACKWARD: {variant: contenders.backward(shape, inputs, variant) for variant in variants},
    }
    for way, moved in ((FORWARD, shape.forward_bytes), (BACKWARD, shape.backward_bytes)):
        runs[way][STREAMING] = streaming(moved)
    times = {way: interleaved(group, repeats) for way, group in runs.items()}
    least = {variant: bounds(shape, variant) for variant in variants}
    by_pass = {way: {variant: least[variant][index] for variant in variants} for index, way in enumerate((FORWARD, BACKWARD))}
    return Row(shape, variants, times, by_pass)


def as_json(row: Row) -> dict[str, Any]:
    """All of a row in plain types."""
    shape = row.shape
    return {
        "shape": str(shape),
        "family": shape.family,
        "flops": {way: row.flops(way) for way in row.times},
        "bytes": {way: row.moved_bytes(way) for way in row.times},
        "times": {way: {name: milliseconds(timing) for name, timing in times.items()} for way, times in row.times.items()},
        "baselines": {way: row.baseline(way) for way in (FORWARD, BOTH)},
        "ratios": {way: {variant: row.ratio(way, variant) for variant in row.variants} for way in (FORWARD, BOTH)},
        "bounds_ms": {way: {variant: 1000 * bound for variant, bound in least.items()} for way, least in row.bounds.items()},
        "shares": {way: {variant: row.share(way, variant) for variant in row.variants} for way in row.bounds},
    }
