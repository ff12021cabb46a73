"""How well one ranking agrees with another: Kendall's τ-b with its interval, the ceiling that seed noise sets, and what a pick costs."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

Floats = NDArray[np.float64]
Statistic = Callable[[Floats], Floats]
"""Counts of every variant (b, n) → one value for each of the b rows; NaN where it is undefined."""

LEVEL = 0.95
RESAMPLES = 2000
SIMULATIONS = 1000
_DECIMALS = 12
_CHUNK = 1 << 22  # pair differences held at a time: 32 MiB


@dataclass(frozen=True, slots=True)
class Interval:
    """A value and the bounds of its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class OrderedPairs:
    """Of all `pairs` of variants, how many differ `beyond_noise`, and how many of those `agree` with the reference."""

    pairs: int
    beyond_noise: int
    agree: int
    difference: float


def weighted_tau(one: Floats, other: Floats, counts: Floats) -> Floats:
    """Kendall's τ-b (b,) of two rankings (n,) in which every variant stands as often as `counts` (b, n) says; NaN where one has only ties.

    Copies of a variant are tied with each other in both. With counts of one this is τ-b itself (Kendall 1945).
    """
    first, second = _order(one), _order(other)
    with np.errstate(invalid="ignore"):
        told = np.sqrt(_pair_sum(abs(first), counts) * _pair_sum(abs(second), counts))
        return np.asarray(_pair_sum(first * second, counts) / told)


def kendall_tau(one: Floats, other: Floats) -> float | None:
    """τ-b of two rankings (n,), from -1 to 1; None where one of them has only ties."""
    tau = float(weighted_tau(one, other, np.ones((1, len(one))))[0])
    return tau if math.isfinite(tau) else None


def resampled_counts(n: int, rng: np.random.Generator, resamples: int = RESAMPLES) -> Floats:
    """How often each of n variants is drawn in each bootstrap resample, (resamples, n); one such table serves all paired statistics."""
    return rng.multinomial(n, np.full(n, 1 / n), size=resamples).astype(float)


def tau_interval(one: Floats, other: Floats, counts: Floats) -> Interval | None:
    """τ-b with its 95 % BCa bootstrap interval (Efron 1987) over `counts` of variants; None where it is undefined.

    Variants are resampled, seeds are not. A variant is drawn with the noise of its seeds in it, so that resampling these as well counts
    their noise twice: it pulls τ towards zero, and in simulation the interval then misses on one side (`benchmarks/fidelity_power.py`).
    """
    return _bootstrap(lambda drawn: weighted_tau(one, other, drawn), counts)


def tau_lead_interval(one: Floats, rival: Floats, reference: Floats, counts: Floats) -> Interval | None:
    """τ-b(one, reference) − τ-b(rival, reference) with its paired 95 % BCa interval; None where either is undefined."""
    return _bootstrap(lambda drawn: weighted_tau(one, reference, drawn) - weighted_tau(rival, reference, drawn), counts)


def seed_means(values: Floats) -> Floats:
    """Each variant's mean over seeds, (variants, seeds) → (variants,), free of the rounding that would break ties of equal sums."""
    return np.asarray(np.round(values.mean(1), _DECIMALS))


def seed_variance(values: Floats) -> float | None:
    """Variance of one seed's value about its variant's, pooled over `values` (variants, seeds); None below two seeds or variants.

    What moves all variants of a seed alike is taken out (residuals of a two-way table): it cancels in a ranking.
    """
    n, seeds = values.shape
    if n < 2 or seeds < 2:
        return None
    rest = values - values.mean(1, keepdims=True) - values.mean(0, keepdims=True) + values.mean()
    return float((rest**2).sum() / ((n - 1) * (seeds - 1)))


def least_significant_difference(values: Floats) -> float | None:
    """Which difference of two variants' means over seeds is beyond 95 % of the noise, for `values` (variants, seeds); None below two seeds.

    t · √(2 s² / seeds) with the pooled variance s² and its (variants − 1)(seeds − 1) degrees of freedom, pair by pair.
    """
    variance = seed_variance(values)
    if variance is None:
        return None
    n, seeds = values.shape
    return float(stdtrit((n - 1) * (seeds - 1), (1 + LEVEL) / 2)) * math.sqrt(2 * variance / seeds)


def ordered_pairs(cheap: Floats, reference: Floats) -> OrderedPairs | None:
    """The pairs that `cheap` (variants, seeds) orders beyond its own seed noise; None where that has not been measured."""
    difference = least_significant_difference(cheap)
    if difference is None:
        return None
    first, second = np.triu_indices(len(cheap), 1)
    gaps = _gaps(seed_means(cheap), first, second)
    beyond = abs(gaps) > difference
    agree = beyond & (np.sign(gaps) == np.sign(_gaps(seed_means(reference), first, second)))
    return OrderedPairs(len(first), int(beyond.sum()), int(agree.sum()), difference)


def tau_ceiling(cheap: Floats, reference: Floats, rng: np.random.Generator, simulations: int = SIMULATIONS) -> Interval | None:
    """The τ-b that a proxy with a perfect true ranking reaches through the seed noise of both sides: mean and 95 % of the simulations.

    Both sides are (variants, seeds). The true values are the reference's means, shrunk until their variance is what seed noise
    does not explain (Louis 1984; means shrunk one by one would lie too close together and set the ceiling too low). The proxy knows them
    exactly, spread as widely as the cheap side's own. Noise is normal. None below two seeds on a side, or where nothing varies.
    """
    spread, reference_spread = _spread(cheap), _spread(reference)
    means = seed_means(reference)
    if spread is None or reference_spread is None or np.ptp(means) == 0:
        return None
    truth = (means - means.mean()) / means.std(ddof=1)
    taus = _row_taus(*(_noisy(truth, side, rng, simulations) for side in (spread, reference_spread)))
    taus = taus[np.isfinite(taus)]
    return Interval(float(taus.mean()), *_quantiles(taus, ((1 - LEVEL) / 2, (1 + LEVEL) / 2))) if len(taus) else None


def top_k_regret(cheap: Floats, reference: Floats, k: int) -> float:
    """Reference score of the best variant less that of the best among the `k` that `cheap` puts first; both (n,), higher is better.

    Where the k-th place is shared, the mean over all ways to choose among those who share it. ValueError unless 1 <= k <= n.
    """
    if not 1 <= k <= len(cheap):
        raise ValueError(f"top must lie between 1 and the number of variants, got top={k} for {len(cheap)} variants")
    kth = np.sort(cheap)[-k]
    sure, tied = reference[cheap > kth], reference[cheap == kth]
    floor = sure.max() if len(sure) else -math.inf
    return float(reference.max()) - _expected_best(np.maximum(tied, floor), k - len(sure))


def random_regret(reference: Floats, k: int) -> float:
    """The regret that `k` variants drawn at random are expected to have."""
    return top_k_regret(np.zeros(len(reference)), reference, k)


def ranks(scores: Floats) -> list[int]:
    """The place of every score, 1 for the highest; equal scores share the better place."""
    return [1 + int((scores > score).sum()) for score in scores]


def _order(scores: Floats) -> Floats:
    return np.sign(scores[:, None] - scores[None, :])


def _pair_sum(table: Floats, counts: Floats) -> Floats:
    return np.asarray(((counts @ table) * counts).sum(1))


def _gaps(scores: Floats, first: NDArray[np.intp], second: NDArray[np.intp]) -> Floats:
    return np.asarray(scores[..., first] - scores[..., second])


def _bootstrap(statistic: Statistic, counts: Floats) -> Interval | None:
    n = counts.shape[1]
    value = float(statistic(np.ones((1, n)))[0])
    if not math.isfinite(value):
        return None
    drawn, left_out = (values[np.isfinite(values)] for values in (statistic(counts), statistic(1 - np.eye(n))))
    shift, skew = _shift(value, drawn), _skew(left_out)
    normal = NormalDist()
    ends = (shift + normal.inv_cdf(tail) for tail in ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    return Interval(value, *_quantiles(drawn, tuple(normal.cdf(shift + end / (1 - skew * end)) for end in ends)))


def _shift(value: float, drawn: Floats) -> float:
    """Bias correction: where the value stands among its resamples, equal ones counted half, as a normal deviate."""
    close = np.isclose(drawn, value, rtol=0, atol=1e-12)
    below = ((drawn < value) & ~close).mean() + close.mean() / 2
    edge = 0.5 / len(drawn)
    return NormalDist().inv_cdf(float(np.clip(below, edge, 1 - edge)))


def _skew(left_out: Floats) -> float:
    """Acceleration: the skewness of the values with one variant left out."""
    gaps = left_out.mean() - left_out
    scale = float((gaps**2).sum()) ** 1.5
    return float((gaps**3).sum()) / (6 * scale) if scale > 0 else 0.0


def _quantiles(values: Floats, at: tuple[float, ...]) -> Iterator[float]:
    return map(float, np.quantile(values, at))


def _spread(values: Floats) -> tuple[float, float] | None:
    """Variance of the true values, and of the seed noise left in a variant's mean; None where the noise has not been measured."""
    noise = seed_variance(values)
    if noise is None:
        return None
    left = noise / values.shape[1]
    return max(0.0, float(values.mean(1).var(ddof=1)) - left), left


def _noisy(truth: Floats, spread: tuple[float, float], rng: np.random.Generator, simulations: int) -> Floats:
    signal, noise = spread
    return truth * math.sqrt(signal) + rng.normal(0, math.sqrt(noise), (simulations, len(truth)))


def _row_taus(one: Floats, other: Floats) -> Floats:
    """τ-b of each row of (b, n) with the same row of the other, some rows at a time."""
    first, second = np.triu_indices(one.shape[1], 1)
    step = max(1, _CHUNK // len(first))
    pieces = [slice(i, i + step) for i in range(0, len(one), step)]
    return np.concatenate([_taus_of_gaps(_gaps(one[piece], first, second), _gaps(other[piece], first, second)) for piece in pieces])


def _taus_of_gaps(one: Floats, other: Floats) -> Floats:
    first, second = np.sign(one), np.sign(other)
    with np.errstate(invalid="ignore"):
        return np.asarray((first * second).sum(1) / np.sqrt(abs(first).sum(1) * abs(second).sum(1)))


def _expected_best(values: Floats, chosen: int) -> float:
    """Mean of the largest of `chosen` different ones of `values`, over all choices."""
    total = math.comb(len(values), chosen)
    return sum(float(value) * (math.comb(i, chosen - 1) / total) for i, value in enumerate(np.sort(values)))
