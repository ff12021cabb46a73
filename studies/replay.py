"""Trials replayed in other orders: the hypervolume that each order reaches over what it spends, and how one order stands among them."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import moocore
import numpy as np
from numpy.typing import NDArray

from studies.rank_statistics import Interval
from studies.records import Objective

Floats = NDArray[np.float64]
LEVEL = 0.95
ORDERS = 1000
REFERENCE = 1.1  # where 0 is the best and 1 the worst value known: the ends of a front count too
_CLOSE = 1e-9  # sums of the same numbers in another order differ by less


@dataclass(frozen=True, slots=True)
class Sequel:
    """Trials in the order in which they ended: `points` (n, objectives), NaN where one brought no result, and what each spent, (n,).

    `whole` is the hypervolume that counts as 1, such as that of all that is known.
    """

    points: Floats
    spent: Floats
    whole: float = 1.0

    def __post_init__(self) -> None:
        if self.points.ndim != 2 or self.spent.shape != self.points.shape[:1]:
            raise ValueError(f"points must be (n, objectives) and spent (n,), got {self.points.shape} and {self.spent.shape}")

    def taken(self, order: NDArray[np.intp]) -> "Sequel":
        """Some of the trials, in another order."""
        return Sequel(self.points[order], self.spent[order], self.whole)


@dataclass(frozen=True, slots=True)
class Reached:
    """Hypervolume, as a share of what counts as 1: its mean over what was spent, and what it was in the end."""

    mean: float
    final: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Chance:
    """What was observed, held against what chance alone gives.

    `p` is the share of `orders` random ones that do at least as well, the observed one counted among them (one-sided, never 0), `p_worse`
    the same for those that do at most as well. `difference` is what is observed less what chance gives on average, with a 95 % interval:
    less all but the best and the worst 2.5 % of random orders.
    """

    difference: Interval
    p: float
    p_worse: float
    orders: int

    @property
    def better(self) -> bool:
        """Whether chance alone does as well in at most 2.5 % of cases: the 95 % interval lies above zero."""
        return self.p <= (1 - LEVEL) / 2

    @property
    def worse(self) -> bool:
        """Whether chance alone does as badly in at most 2.5 % of cases."""
        return self.p_worse <= (1 - LEVEL) / 2


@dataclass(frozen=True, slots=True)
class Scale:
    """The best and the worst value known of each objective, in plain units: 0 and 1 on its axis, lower being better."""

    best: tuple[float, ...]
    worst: tuple[float, ...]

    @classmethod
    def of(cls, known: Floats, objectives: Sequence[Objective]) -> "Scale":
        """The scale of `known` (m, objectives); rows of NaN do not count. ValueError when there is no other."""
        if np.isnan(known).all():
            raise ValueError("there is no result to compare")
        low, high = np.nanmin(known, axis=0), np.nanmax(known, axis=0)
        upward = np.array([objective.direction == "maximize" for objective in objectives])
        return cls(tuple(map(float, np.where(upward, high, low))), tuple(map(float, np.where(upward, low, high))))

    @property
    def reference(self) -> tuple[float, ...]:
        """Where the hypervolume ends, in plain units."""
        return tuple(best + REFERENCE * (worst - best) for best, worst in zip(self.best, self.worst, strict=True))

    def normalised(self, points: Floats) -> Floats:
        """`points` (n, objectives) on these axes; an objective of which only one value is known is 0."""
        best, worst = np.array(self.best), np.array(self.worst)
        return np.asarray((points - best) / np.where(worst != best, worst - best, 1.0))


def whole_hypervolume(points: Floats) -> float:
    """The hypervolume of all of normalised `points` (n, objectives); rows of NaN add nothing."""
    kept = points[~np.isnan(points).any(axis=1)]
    return float(moocore.hypervolume(kept, ref=np.full(points.shape[1], REFERENCE))) if len(kept) else 0.0


def hypervolume_curve(points: Floats) -> Floats:
    """The hypervolume (n,) of the first 1, 2, ... of normalised `points` (n, objectives) up to REFERENCE; rows of NaN add nothing."""
    dimensions = points.shape[1]
    if dimensions == 1:
        return np.asarray(REFERENCE - np.fmin.accumulate(np.append(REFERENCE, points[:, 0]))[1:])
    return _staircase(points) if dimensions == 2 else _archive(points)


def reached(sequel: Sequel, budget: float) -> Reached:
    """What a sequence reaches within `budget` of spending, in hypervolume; a trial counts from when it ended, the last value stays."""
    n = ended_within(sequel, budget)
    if n == 0 or budget <= 0:
        return Reached(0.0, 0.0)
    curve, ends = hypervolume_curve(sequel.points[:n]), np.cumsum(sequel.spent[:n])
    held = np.diff(np.append(ends, max(budget, ends[-1])))
    return Reached(float(curve @ held) / budget / sequel.whole, float(curve[-1]) / sequel.whole)


def ended_within(sequel: Sequel, budget: float) -> int:
    """How many trials of a sequence end within `budget` of spending."""
    return int(np.searchsorted(np.cumsum(sequel.spent), budget * (1 + _CLOSE), side="right"))


def random_orders(pool: Sequel, budget: float, rng: np.random.Generator, orders: int = ORDERS) -> list[Reached]:
    """What `orders` random orders of the pool reach within the budget."""
    return [reached(pool.taken(rng.permutation(len(pool.spent))), budget) for _ in range(orders)]


def lead(one: Sequel, others: Sequence[Sequel]) -> float:
    """By how much the mean hypervolume of `one` is above the average of the others' at equal spending: as far as all of them go."""
    budget = least_total(one, *others)
    return reached(one, budget).mean - average([reached(other, budget) for other in others]).mean


def leads_by_chance(one: Sequel, others: Sequence[Sequel], rng: np.random.Generator, orders: int = ORDERS) -> Floats:
    """The leads (orders,) after dealing the trials of all anew, at random, to sequences of the same lengths.

    Trials of random searches can change places with each other, so that under no difference at all the lead is one of these.
    """
    sequels = (one, *others)
    spent = np.concatenate([sequel.spent for sequel in sequels])
    pool = Sequel(np.concatenate([sequel.points for sequel in sequels]), spent, one.whole)
    cuts = np.cumsum([len(sequel.spent) for sequel in sequels])[:-1]
    dealt = (np.split(rng.permutation(len(pool.spent)), cuts) for _ in range(orders))
    return np.array([lead(pool.taken(first), [pool.taken(part) for part in rest]) for first, *rest in dealt])


def least_total(*sequels: Sequel) -> float:
    """What all of the sequences spent at least."""
    return min(float(sequel.spent.sum()) for sequel in sequels)


def average(results: Sequence[Reached]) -> Reached:
    """The mean of what several sequences reached."""
    return Reached(float(np.mean([result.mean for result in results])), float(np.mean([result.final for result in results])))


def against_chance(observed: float, by_chance: Floats, *, expected: float | None = None) -> Chance:
    """How `observed` stands among the values that chance gives, (orders,), `expected` on average; equal ones count against it both ways."""
    expected = float(by_chance.mean()) if expected is None else expected
    low, high = np.quantile(by_chance, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Chance(
        difference=Interval(observed - expected, observed - float(high), observed - float(low)),
        p=(1 + int((by_chance >= observed - _CLOSE).sum())) / (1 + len(by_chance)),
        p_worse=(1 + int((by_chance <= observed + _CLOSE).sum())) / (1 + len(by_chance)),
        orders=len(by_chance),
    )


def _staircase(points: Floats) -> Floats:
    """`hypervolume_curve` in two dimensions: the front is kept as steps, x ascending and y descending, and each point adds its area."""
    xs: list[float] = []
    ys: list[float] = []
    area, curve = 0.0, []
    for x, y in points.tolist():
        if x < REFERENCE and y < REFERENCE:
            area += _insert(xs, ys, (x, y))
        curve.append(area)
    return np.array(curve)


def _insert(xs: list[float], ys: list[float], point: tuple[float, float]) -> float:
    """Put a point into the front in place of those that it dominates, unless one dominates it; returns the area that it adds."""
    x, y = point
    left = right = bisect_left(xs, x)
    start, height, added = x, ys[left - 1] if left else REFERENCE, 0.0
    if height <= y or (left < len(xs) and xs[left] == x and ys[left] <= y):
        return 0.0
    while right < len(xs) and ys[right] >= y:
        added += (xs[right] - start) * (height - y)
        start, height = xs[right], ys[right]
        right += 1
    end = xs[right] if right < len(xs) else REFERENCE
    xs[left:right], ys[left:right] = [x], [y]
    return added + (end - start) * (height - y)


def _archive(points: Floats) -> Floats:
    """`hypervolume_curve` in any number of dimensions: only a point that nothing before it dominates changes the volume."""
    front = np.empty((0, points.shape[1]))
    reference = np.full(points.shape[1], REFERENCE)
    volume, curve = 0.0, []
    for point in points:
        if not np.isnan(point).any() and not (front <= point).all(axis=1).any():
            front = np.vstack([front[~(point <= front).all(axis=1)], point])
            volume = float(moocore.hypervolume(front, ref=reference))
        curve.append(volume)
    return np.array(curve)
