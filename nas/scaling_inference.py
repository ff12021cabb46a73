"""What a sample says of the scaling law: the best one, how noisy the sample is, what is left open, and why a best share may not be told."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, Self

import numpy as np
from scipy.special import fdtrc, stdtrit

from nas.scaling_form import PARAMETERS, Law, Sample
from nas.scaling_grid import Box, fit, shapeless_loss
from nas.scaling_region import Region

LEVEL = 0.9
SIGNIFICANT = 0.05
SHAPE_PARAMETERS = 2  # curvature and share
FEWEST = PARAMETERS + 2
FEWEST_REPEATS = 5  # degrees of freedom: fewer tell the noise worse than the residuals do
Source = Literal["seeds", "residuals"]


@dataclass(frozen=True, slots=True)
class Repeats:
    """How far trainings of the same variants lie apart: the sum of squares about their means and its degrees of freedom."""

    squares: float
    freedom: int

    @classmethod
    def of(cls, values: Sequence[Sequence[float]]) -> Self:
        """Of every variant's values."""
        return cls(sum(float(np.var(each)) * len(each) for each in values), sum(len(each) - 1 for each in values))


@dataclass(frozen=True, slots=True)
class Noise:
    """The standard deviation of one training, with the degrees of freedom that it is known by, and where it is from."""

    deviation: float
    freedom: int
    source: Source

    @property
    def variance(self) -> float:
        """Of one training."""
        return self.deviation**2


@dataclass(frozen=True)
class Inference:
    """The law of least squares of a sample, its noise and the laws that are not rejected at 90 %."""

    sample: Sample
    law: Law
    noise: Noise

    @cached_property
    def region(self) -> Region:
        """The laws that are not rejected."""
        t = float(stdtrit(self.noise.freedom, (1 + LEVEL) / 2))
        return Region.of(self.sample, self.sample.loss(self.law) + self.noise.variance * t**2)

    @cached_property
    def share(self) -> tuple[float, float]:
        """The 90 % interval of the best share of depth, from 0 to 1; high is below low where the best lies outside."""
        low, high = self.region.share
        return max(0.0, low), min(1.0, high)

    @property
    def best_share(self) -> float:
        """The best share among the searched ones."""
        return float(np.clip(self.law.share, *self.sample.shares))

    @property
    def explained(self) -> float:
        """R²: the part of the sample's variance that the law explains."""
        total = self.sample.constant_loss
        return 1 - self.sample.loss(self.law) / total if total else 0.0

    @property
    def chance_of_cost(self) -> float:
        """The probability that noise alone lets a law explain so much more than a constant does (F-test)."""
        return self._chance(self.sample.constant_loss, PARAMETERS - 1)

    @property
    def chance_of_shape(self) -> float:
        """The probability that noise alone lets a law explain so much more than one that knows no shape does (F-test)."""
        return self._chance(shapeless_loss(self.sample), SHAPE_PARAMETERS)

    def _chance(self, loss: float, parameters: int) -> float:
        gained = max(0.0, loss - self.sample.loss(self.law))
        if self.noise.variance == 0:
            return 0.0 if gained > 0 else 1.0
        return float(fdtrc(parameters, self.noise.freedom, gained / parameters / self.noise.variance))

    def band(self, phi: float, depth: float, *, trainings: int = 1) -> tuple[float, float]:
        """The 90 % interval of the mean of so many further trainings of a variant."""
        return self.region.band(phi, depth, trainings=trainings)


def infer(sample: Sample, repeats: Repeats | None = None) -> Inference:
    """The law and what is left open; ValueError below seven points.

    Noise is the spread over seeds, with at least five degrees of freedom and as long as it explains how far the law is from the points
    (F-test at 5 %); otherwise it is read from the residuals, which then hold what the law gets wrong too.
    """
    if len(sample) < FEWEST:
        raise ValueError(f"a law of {PARAMETERS} parameters needs at least {FEWEST} points, got {len(sample)}")
    law = fit(sample, Box.around(sample))
    return Inference(sample, law, _noise(sample.loss(law), len(sample) - PARAMETERS, repeats))


def _noise(loss: float, freedom: int, repeats: Repeats | None) -> Noise:
    residual = loss / freedom
    if repeats is not None and repeats.freedom >= FEWEST_REPEATS:
        variance = repeats.squares / repeats.freedom
        if residual <= variance or (variance > 0 and fdtrc(freedom, repeats.freedom, residual / variance) > SIGNIFICANT):
            return Noise(variance**0.5, repeats.freedom, "seeds")
    return Noise(residual**0.5, freedom, "residuals")
