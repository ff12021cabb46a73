"""All laws on a grid over what they are not linear in, each with its best floor and amplitude, and the law of least squares."""

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
from scipy.optimize import least_squares

from nas.scaling_form import Floats, Law, Sample, decayed, strayed

DECAYS = (0.02, 2.0)  # per doubling of the cost: slower is flat over any range of sizes, faster is at the floor after one doubling
STEEPEST = 3.0  # the log of what the excess is multiplied by, at most, half the searched range away from the best depth
NARROWEST = 0.05  # shares searched over less than this count as searched over this
CELLS = (32, 28, 48)  # of a grid over decay, curvature and share
FINE = 400  # decays of laws without a shape
STARTS = 4
TINY = 1e-300


@dataclass(frozen=True, slots=True)
class Box:
    """Bounds of the three parameters that a law is not linear in."""

    decay: tuple[float, float]
    curvature: tuple[float, float]
    share: tuple[float, float]

    @classmethod
    def around(cls, sample: Sample) -> Self:
        """Where laws are looked for, with shares beyond the searched ones: an interval that reaches there is not cut off."""
        low, high = sample.shares
        width = max(high - low, NARROWEST)
        steepest = STEEPEST / (float(abs(sample.phi).max()) * width / 2) ** 2
        return cls(DECAYS, (0.0, steepest), (min(0.0, low - width), max(1.0, high + width)))

    def axes(self) -> tuple[Floats, Floats, Floats]:
        """Decays even in their logarithms, curvatures in their roots, shares themselves."""
        decays, curvatures, shares = CELLS
        return (
            np.geomspace(*self.decay, decays),
            np.linspace(self.curvature[0] ** 0.5, self.curvature[1] ** 0.5, curvatures) ** 2,
            np.linspace(*self.share, shares),
        )


@dataclass(frozen=True, slots=True)
class Line:
    """The best floor and amplitude for given other parameters, what they leave unexplained, and how well they are known.

    Arrays of one shape. `mean` is that of the basis which the amplitude multiplies, 1 / `spread` the variance of the amplitude and `level`
    that of the line at the mean, both for a noise of 1. On a line through the origin the floor is held at 0.
    """

    floor: Floats
    amplitude: Floats
    loss: Floats
    mean: Floats
    spread: Floats
    level: float

    def at(self, cells: Any) -> "Line":
        """The same for a part of the laws."""
        floor, amplitude, loss, mean, spread = (array[cells] for array in (self.floor, self.amplitude, self.loss, self.mean, self.spread))
        return Line(floor, amplitude, loss, mean, spread, self.level)


@dataclass(frozen=True)
class Surface:
    """Every law on a grid, each with the floor and amplitude that fit the sample best: arrays (decays, curvatures, shares)."""

    sample: Sample
    axes: tuple[Floats, Floats, Floats]
    lines: tuple[Line, Line]

    @cached_property
    def loss(self) -> Floats:
        """What is left unexplained with a floor of at least 0 and an amplitude that is not negative."""
        free, origin = self.lines
        return np.where(free.amplitude <= 0, self.sample.constant_loss, np.where(free.floor < 0, origin.loss, free.loss))

    def law(self, cell: Sequence[int]) -> Law:
        """The law of a cell."""
        i, j, k = cell
        free, origin = (line.at((i, j, k)) for line in self.lines)
        line = origin if free.floor < 0 else free
        decays, curvatures, shares = self.axes
        return Law(float(line.floor), max(0.0, float(line.amplitude)), float(decays[i]), float(curvatures[j]), float(shares[k]))


def surface(sample: Sample, axes: tuple[Floats, Floats, Floats]) -> Surface:
    """The laws of a grid of decays, curvatures and shares: given these, floor and amplitude are a straight line through the basis."""
    decays, curvatures, shares = axes
    by_cost = decayed(decays[:, None], sample.phi)
    by_shape = strayed(curvatures[:, None, None], shares[:, None], sample.phi, sample.depth).reshape(-1, len(sample))
    shape = (len(decays), len(curvatures), len(shares))
    weight, total = sample.weight, float(sample.weight.sum())
    ones, with_value, squares = (
        (by_cost**power @ (factor * by_shape**power).T).reshape(shape)
        for power, factor in ((1, weight), (1, weight * sample.value), (2, weight))
    )
    mean = ones / total
    spread, together = np.maximum(squares - total * mean**2, TINY), with_value - ones * sample.mean
    slope = together / spread
    free = Line(sample.mean - slope * mean, slope, _unexplained(sample.constant_loss, slope, together), mean, spread, 1 / total)
    slope, none = with_value / squares, np.zeros(shape)
    origin = Line(none, slope, _unexplained(float(weight @ sample.value**2), slope, with_value), none, squares, 0.0)
    return Surface(sample, axes, (free, origin))


def fit(sample: Sample, box: Box) -> Law:
    """The law of least squares, its floor at least 0: the best cells of a grid over everything, each followed down to its minimum."""
    coarse = surface(sample, box.axes())
    blocks = np.array_split(np.arange(CELLS[-1]), STARTS)
    cells = [np.unravel_index(coarse.loss[..., block].argmin(), (*CELLS[:2], len(block))) for block in blocks]
    starts = [coarse.law((int(i), int(j), int(block[k]))) for (i, j, k), block in zip(cells, blocks, strict=True)]
    return min([*starts, *(_followed(sample, box, start) for start in starts)], key=sample.loss)


def shapeless_loss(sample: Sample) -> float:
    """What the best law that knows no shape, of curvature 0, leaves unexplained."""
    nothing = np.zeros(1)
    return float(surface(sample, (np.geomspace(*DECAYS, FINE), nothing, nothing)).loss.min())


def _followed(sample: Sample, box: Box, start: Law) -> Law:
    root = np.sqrt(sample.weight)
    lower, upper = zip((0.0, np.inf), (0.0, np.inf), box.decay, box.curvature, box.share, strict=True)
    found = least_squares(
        lambda values: root * (Law(*values).at(sample.phi, sample.depth) - sample.value),
        np.clip(astuple(start), lower, upper),
        jac=lambda values: root[:, None] * Law(*values).slopes(sample.phi, sample.depth),
        bounds=(lower, upper),
        x_scale="jac",
        xtol=1e-10,
        ftol=1e-10,
    )
    return Law(*map(float, found.x))


def _unexplained(total: float, amplitude: Floats, together: Floats) -> Floats:
    return np.maximum(total - amplitude * together, 0.0)
