"""The scaling law, and the measured points that it is held against: arrays in, arrays out."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

PARAMETERS = 5
FLAT = 300.0  # exponents end here, so that squares stay finite


@dataclass(frozen=True, slots=True)
class Law:
    """error = floor + amplitude · 2^(−decay · φ) · exp(curvature · (x − share · φ)²).

    φ is the cost in doublings of the base's and x how many of them went into depth. The excess over the floor falls by a power of the
    cost, and grows with the distance from the best depth, in doublings, alike at every size.
    """

    floor: float
    amplitude: float
    decay: float
    curvature: float
    share: float

    def at(self, phi: Any, depth: Any) -> Floats:
        """The error at costs φ with x = `depth`, any shape."""
        return self.floor + self.amplitude * decayed(self.decay, phi) * strayed(self.curvature, self.share, phi, depth)

    def slopes(self, phi: Floats, depth: Floats) -> Floats:
        """Derivatives by floor, amplitude, decay, curvature and share: (n, 5)."""
        stray = depth - self.share * phi
        basis = decayed(self.decay, phi) * strayed(self.curvature, self.share, phi, depth)
        excess = self.amplitude * basis
        columns = (np.ones_like(basis), basis, -np.log(2) * phi * excess, stray**2 * excess, -2 * self.curvature * stray * phi * excess)
        return np.stack(columns, axis=-1)


@dataclass(frozen=True)
class Sample:
    """Measured values (n,) at costs `phi` with `depth` = x; `weight` is the number of trainings behind each."""

    phi: Floats
    depth: Floats
    value: Floats
    weight: Floats

    def __post_init__(self) -> None:
        arrays = (self.phi, self.depth, self.value, self.weight)
        if len({array.shape for array in arrays}) > 1 or self.phi.ndim != 1:
            raise ValueError(f"phi, depth, value and weight must be of one length, got {', '.join(str(array.shape) for array in arrays)}")
        if not all(np.isfinite(array).all() for array in arrays) or (self.value < 0).any() or (self.weight <= 0).any():
            raise ValueError("phi, depth, value and weight must be finite, values not negative and weights positive")

    def __len__(self) -> int:
        return len(self.phi)

    @cached_property
    def shares(self) -> tuple[float, float]:
        """The least and the largest share of depth among the scaled variants."""
        scaled = self.phi != 0
        if not scaled.any():
            return 0.0, 0.0
        shares = self.depth[scaled] / self.phi[scaled]
        return float(shares.min()), float(shares.max())

    @cached_property
    def mean(self) -> float:
        """The best constant."""
        return float(np.average(self.value, weights=self.weight))

    @cached_property
    def constant_loss(self) -> float:
        """What the best constant leaves unexplained."""
        return float(self.weight @ (self.value - self.mean) ** 2)

    def loss(self, law: Law) -> float:
        """The weighted sum of squares that a law leaves unexplained."""
        return float(self.weight @ (self.value - law.at(self.phi, self.depth)) ** 2)


def decayed(decay: Any, phi: Any) -> Floats:
    """What a power of the cost leaves of an excess after φ doublings."""
    return np.asarray(2.0 ** (-decay * phi))


def strayed(curvature: Any, share: Any, phi: Any, depth: Any) -> Floats:
    """By what an excess is larger at x = `depth` than at the best depth."""
    return np.asarray(np.exp(np.minimum(curvature * (depth - share * phi) ** 2, FLAT)))
