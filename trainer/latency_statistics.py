"""What rounds of timings say: medians with intervals, and which variants cannot be told apart; pure arrays.

Within a block the networks stay where they are in memory, so its rounds are not independent; the block is what is counted. Every block
builds them anew in a drawn order and every round runs them in a drawn order: between two networks of equal speed the sign of a block's
difference is a fair coin whatever the machine does, which is all that the signed-rank test asks for.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import binom, rankdata

from trainer.latency_setting import BLOCK, FEWEST_BLOCKS, Latency

OUTSIDE = 0.05  # chance that an interval misses its median
LEVEL = 0.04  # chance that a family of equals has any two declared different; 5 % is promised, the rest is for what the argument leaves out
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Timings:
    """Milliseconds of one batch, and the anchor's beside it in the same round; both (rounds, variants)."""

    times_ms: Floats
    anchor_ms: Floats

    @property
    def ratios(self) -> Floats:
        """Times the anchor's, (rounds, variants)."""
        return self.times_ms / self.anchor_ms


@dataclass(frozen=True, slots=True)
class Rank:
    """The places from the fastest that a variant may hold, from 1."""

    first: int
    last: int

    def __str__(self) -> str:
        return str(self.first) if self.first == self.last else f"{self.first}–{self.last}"


def summarise(timings: Timings) -> list[Latency]:
    """The record of every variant."""
    rounds, variants = timings.times_ms.shape
    times, ratios = block_medians(timings.times_ms), block_medians(timings.ratios)
    return [_latency(times[:, index], ratios[:, index], rounds) for index in range(variants)]


def _latency(times: Floats, ratios: Floats, rounds: int) -> Latency:
    (low_ms, median_ms, high_ms), (ratio_low, ratio, ratio_high) = median_interval(times), median_interval(ratios)
    return Latency(
        median_ms=median_ms, low_ms=low_ms, high_ms=high_ms, ratio=ratio, ratio_low=ratio_low, ratio_high=ratio_high, rounds=rounds
    )


def declare(ratios: ArrayLike, *, block: int = BLOCK) -> list[Rank]:
    """Ranks by positive (rounds, variants) times or ratios; the ranks of variants that cannot be told apart overlap."""
    order = slower(ratios, block=block)
    return [Rank(1 + int(np.sum(row == 1)), len(order) - int(np.sum(row == -1))) for row in order]


def slower(ratios: ArrayLike, *, block: int = BLOCK) -> NDArray[np.int8]:
    """(variants, variants): 1 where the row's variant is declared slower than the column's, -1 where faster, 0 for a tie.

    The exact signed-rank test on block medians of log ratios, over all pairs by Holm: in a family of equals any two are declared different
    with a chance below 5 %.
    """
    logs = np.log(_checked(ratios))
    one, other = np.triu_indices(logs.shape[1], 1)
    # Pair by pair: the medians of two variants' differences are taken within rounds, where what strikes both cancels.
    medians = [block_medians(logs[:, i] - logs[:, j], block=block) for i, j in zip(one, other, strict=True)]
    differences = np.stack(medians, axis=1) if medians else np.empty((len(logs) // block, 0))
    chance, direction = signed_rank(differences)
    order = np.zeros((logs.shape[1],) * 2, np.int8)
    order[one, other] = np.where(holm(chance), direction, 0)
    return order - order.T


def signed_rank(differences: Floats) -> tuple[Floats, NDArray[np.int8]]:
    """Two-sided exact p and the sign of the shift of every column of (blocks, pairs), by Wilcoxon (Biometrics Bulletin 1, 1945).

    A difference of exactly 0 counts half on either side, and half ranks are rounded towards "no difference".
    """
    ranks = rankdata(np.abs(differences), axis=0)
    positive = np.sum(ranks * ((differences > 0) + 0.5 * (differences == 0)), axis=0)
    total = len(differences) * (len(differences) + 1) / 2
    rarer = np.ceil(np.minimum(positive, total - positive)).astype(int)
    return np.minimum(1, 2 * _rank_sums(len(differences))[rarer]), np.sign(positive - total / 2).astype(np.int8)


def holm(chance: Floats, level: float = LEVEL) -> NDArray[np.bool_]:
    """Which of a family of p-values are significant while any false one is so with a chance of at most `level` (Holm 1979)."""
    order = np.argsort(chance)
    adjusted = np.maximum.accumulate(chance[order] * np.arange(len(chance), 0, -1))
    significant = np.zeros(len(chance), bool)
    significant[order] = adjusted <= level
    return significant


def median_interval(values: Floats) -> tuple[float, float, float]:
    """Lower end, median and upper end by order statistics, at 95 % or more; ValueError below six values."""
    n = len(values)
    if n < FEWEST_BLOCKS:
        raise ValueError(f"a 95 % interval of a median needs at least {FEWEST_BLOCKS} blocks, got {n}")
    outside = int(binom.ppf(OUTSIDE / 2, n, 0.5)) - 1  # the most that may lie beyond one end
    ordered = np.sort(values)
    return float(ordered[outside]), float(np.median(values)), float(ordered[n - 1 - outside])


def block_medians(values: Floats, *, block: int = BLOCK) -> Floats:
    """(rounds, ...) to (rounds / block, ...); ValueError unless the rounds are whole blocks."""
    if len(values) % block:
        raise ValueError(f"rounds must be whole blocks of {block}, got {len(values)} rounds")
    return np.median(values.reshape(-1, block, *values.shape[1:]), axis=1)


def fewest_blocks(variants: int) -> int:
    """Blocks below which no difference, however large, can be told from chance among so many variants."""
    pairs = max(1, variants * (variants - 1) // 2)
    return max(FEWEST_BLOCKS, int(np.ceil(1 + np.log2(pairs / LEVEL))))


@cache
def _rank_sums(n: int) -> Floats:
    """Chance of a sum of at most s of the ranks 1 to n, each in it by a fair coin, for s = 0, 1, ..."""
    chance = np.ones(1)
    for rank in range(1, n + 1):
        chance = (np.pad(chance, (0, rank)) + np.pad(chance, (rank, 0))) / 2
    return np.cumsum(chance)


def _checked(ratios: ArrayLike) -> Floats:
    values = np.asarray(ratios, float)
    if values.ndim != 2 or not values.size or not np.all((values > 0) & np.isfinite(values)):
        raise ValueError(f"timings must be positive (rounds, variants), got shape {values.shape}")
    return values
