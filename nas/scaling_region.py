"""The laws that a sample does not reject, and what they leave open: intervals and bands by profile likelihood, without linearising.

Errors of equal normal noise are taken for granted. A value of any quantity lies in its interval when some law that has it explains the
sample nearly as well as the best law does: its sum of squares is larger by at most the noise's variance times the square of Student's t.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np

from nas.scaling_form import Floats, Sample, decayed, strayed
from nas.scaling_grid import Box, Line, Surface, surface

KEPT = 0.005  # of a grid's cells the next, finer one spans at least so many, for a thin region slips through a coarse grid
ROUNDS = 12
SHORTER = 0.75  # a finer grid is worth its time when it shortens a side by so much


@dataclass(frozen=True)
class Region:
    """The laws whose weighted sum of squares is at most `limit`: cells of a grid that spans them, in the `box` that was searched."""

    box: Box
    surface: Surface
    limit: float

    @classmethod
    def of(cls, sample: Sample, limit: float) -> Self:
        """The region, by ever finer grids around what the coarser one does not reject."""
        whole = box = Box.around(sample)
        for _ in range(ROUNDS):
            found = surface(sample, box.axes())
            finer, shorter = _around(found, max(limit, float(np.quantile(found.loss, KEPT))))
            if not shorter:
                break
            box = finer
        return cls(whole, found, max(limit, float(found.loss.min())))  # thinner than the finest grid: its best law at least

    @cached_property
    def share(self) -> tuple[float, float]:
        """The interval of the best share; infinite where nothing that was tried is rejected."""
        profile = self.surface.loss.min(axis=(0, 1))
        inside = np.flatnonzero(profile <= self.limit)
        return self._end(profile, int(inside[0]), -1), self._end(profile, int(inside[-1]), +1)

    def _end(self, profile: Floats, last: int, step: int) -> float:
        """Where the profile crosses the limit behind the last share that is not rejected."""
        shares = self.surface.axes[-1]
        beyond = last + step
        if not 0 <= beyond < len(shares):
            return step * np.inf if shares[last] in self.box.share else float(shares[last])
        part = (self.limit - profile[last]) / (profile[beyond] - profile[last])
        return float(shares[last] + part * (shares[beyond] - shares[last]))

    def band(self, phi: float, depth: float, *, trainings: int = 1) -> tuple[float, float]:
        """The interval of the mean of so many further trainings of a variant at cost φ with x = `depth`."""
        ends = [end for line in self.surface.lines for end in self._ends(line, phi, depth, trainings)]
        ends += self._constant_ends(trainings)
        return min(ends), max(ends)

    def _ends(self, line: Line, phi: float, depth: float, trainings: int) -> Iterator[float]:
        """The lowest and highest value that laws of a line bear: each law's band is that of a straight line within what it leaves.

        A law whose floor would be negative at an end of its band does not count there: the end lies on the other line, of floor 0.
        """
        cells = np.nonzero(line.loss <= self.limit)
        decay, curvature, share = (axis[index] for axis, index in zip(self.surface.axes, cells, strict=True))
        chosen = line.at(cells)
        basis = decayed(decay, phi) * strayed(curvature, share, phi, depth)
        away = basis - chosen.mean
        variance = 1 / trainings + chosen.level + away**2 / chosen.spread
        left = np.sqrt(self.limit - chosen.loss)
        for sign in (-1.0, 1.0):
            floor = chosen.floor + sign * left * (chosen.level - chosen.mean * away / chosen.spread) / np.sqrt(variance)
            value = chosen.floor + chosen.amplitude * basis + sign * left * np.sqrt(variance)
            bears = (floor >= 0) & (chosen.amplitude >= 0)
            if bears.any():
                yield float((sign * value[bears]).max() * sign)

    def _constant_ends(self, trainings: int) -> list[float]:
        """The same of a constant, unless it is rejected."""
        sample = self.surface.sample
        if sample.constant_loss > self.limit:
            return []
        reach = float((self.limit - sample.constant_loss) * (1 / trainings + 1 / sample.weight.sum())) ** 0.5
        return [sample.mean - reach, sample.mean + reach]


def _around(found: Surface, limit: float) -> tuple[Box, bool]:
    """The box that spans the cells up to a limit, a cell wider on every side, and whether a side is much shorter."""
    inside = found.loss <= limit
    sides, shorter = [], False
    for i, axis in enumerate(found.axes):
        cells = np.flatnonzero(inside.any(axis=tuple(j for j in range(3) if j != i)))
        first, last = max(0, int(cells[0]) - 1), min(len(axis) - 1, int(cells[-1]) + 1)
        sides.append((float(axis[first]), float(axis[last])))
        shorter |= last - first < SHORTER * (len(axis) - 1)
    return Box(*sides), shorter
