"""A Gaussian process for what only training tells: smooth over a candidate's features, with noise of its own."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Kernel, Matern, WhiteKernel

Array = NDArray[np.float64]
BOUNDS = (1e-6, 1e6)
# Hyperparameters before any data: median, and spread of the logarithm, for values of mean 0 and variance 1 over features in [0, 1].
AMPLITUDE, LENGTH, NOISE = (1.0, 1.0), (1.0, 1.0), (0.03, 1.5)
FITTED = 200  # observations that hyperparameters are fitted to, and those that predictions rest on: the cost grows with their cube
OBSERVED = 500
REFITTED = 1.1
JITTER = 1e-8


@dataclass(frozen=True, slots=True)
class Smoothness:
    """Fitted hyperparameters: the kernel of the function itself and the variance of the noise on it, for standardised values."""

    kernel: Kernel
    noise: float


def fit(features: Array, values: Array, rng: np.random.Generator) -> Smoothness:
    """The most probable hyperparameters for observed `values` (n,) at `features` (n, d); 200 drawn observations where there are more."""
    some = rng.permutation(len(values))[:FITTED]
    lengths = np.full(features.shape[1], LENGTH[0])
    start = ConstantKernel(AMPLITUDE[0], BOUNDS) * Matern(lengths, BOUNDS, nu=2.5) + WhiteKernel(NOISE[0], BOUNDS)
    process = GaussianProcessRegressor(start, alpha=1e-10, optimizer=_maximise)
    with warnings.catch_warnings():  # a hyperparameter at its bound is an answer too
        warnings.simplefilter("ignore")
        process.fit(features[some], _standardised(values)[some])
    return Smoothness(process.kernel_.k1, float(process.kernel_.k2.noise_level))


class Posterior:
    """What observed `values` (n,) at `features` (n, d) say, with these hyperparameters, of the function without its noise."""

    def __init__(self, smoothness: Smoothness, features: Array, values: Array) -> None:
        self._smoothness, self._features, self._values = smoothness, features, values
        self._process = GaussianProcessRegressor(smoothness.kernel, alpha=smoothness.noise + JITTER, optimizer=None)
        self._process.fit(features, _standardised(values))

    def mean(self, features: Array) -> Array:
        """What is expected at `features` (n, d), (n,)."""
        if not len(features):
            return np.zeros(0)
        return np.asarray(self._process.predict(features) * _scale(self._values) + self._values.mean())

    def predict(self, features: Array) -> tuple[Array, Array]:
        """Mean and standard deviation at `features` (n, d), each (n,)."""
        with warnings.catch_warnings():  # rounding may leave a variance just below zero, which is then set to zero
            warnings.simplefilter("ignore")
            mean, std = self._process.predict(features, return_std=True)
        return mean * _scale(self._values) + self._values.mean(), std * _scale(self._values)

    def believing(self, features: Array) -> "Posterior":
        """With the expectation at `features` taken for observed: as certain there, and nowhere better or worse."""
        return Posterior(self._smoothness, np.vstack([self._features, features]), np.append(self._values, self.mean(features)))


class Surrogate:
    """Keeps hyperparameters from one suggestion to the next, and fits them anew when there is a tenth more to see."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._smoothness: Smoothness | None = None
        self._fitted_to = 0

    def learned(self, features: Array, values: Array) -> Posterior:
        """What these observations say; 500 drawn ones where there are more."""
        if self._smoothness is None or len(values) > REFITTED * self._fitted_to:
            self._smoothness, self._fitted_to = fit(features, values, self._rng), len(values)
        some = np.sort(self._rng.permutation(len(values))[:OBSERVED])
        return Posterior(self._smoothness, features[some], values[some])


def _maximise(objective: Callable[..., tuple[float, Array]], start: Array, bounds: Array) -> tuple[Array, float]:
    """The hyperparameters of the greatest posterior density: likelihood alone says nonsense for few observations.

    `start` holds the logarithms in the kernel's order, amplitude, lengths and noise, and is the centre of the prior.
    """
    spread = np.array([AMPLITUDE[1], *[LENGTH[1]] * (len(start) - 2), NOISE[1]])

    def negative(theta: Array) -> tuple[float, Array]:
        value, gradient = objective(theta)
        away = (theta - start) / spread
        return value + 0.5 * float(away @ away), gradient + away / spread

    found = minimize(negative, start, jac=True, bounds=bounds, method="L-BFGS-B", options={"maxiter": 50})
    return found.x, float(found.fun)


def _scale(values: Array) -> float:
    return float(values.std()) or 1.0


def _standardised(values: Array) -> Array:
    return np.asarray((values - values.mean()) / _scale(values))
