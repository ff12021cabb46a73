"""How much hypervolume a candidate is expected to add when all of its objectives but one are known exactly.

Everything is minimised. A candidate has known coordinates c and an unknown one, Y ~ N(μ, σ²). An outcome y adds the volume between
(y, c) and the reference that the front leaves free. Cut across the unknown axis at t, the front's points with y ≤ t leave an area A(t) of
the box from c to the reference, so that y adds the integral of A from y to the reference's t_r, and what is expected is

    E = ∫ A(t) P(Y ≤ t) dt  from -∞ to t_r.

A(t) only steps down where t passes a point of the front, and P(Y ≤ t) has the antiderivative ψ(t) = σ (z Φ(z) + φ(z)), z = (t - μ) / σ:
the integral is a sum of areas times differences of ψ, exact for any number of known objectives. Without any it is the expected improvement.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from operator import le

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

Array = NDArray[np.float64]
Point = tuple[float, ...]
Box = tuple[Point, Point]
PIECE = 2**22  # numbers at a time: 32 MiB
LEAST_STD = 1e-12
ROUNDING = 1e-12  # areas smaller than this share of their box are differences of equal numbers


@dataclass(frozen=True, slots=True)
class Staircase:
    """A front cut across its unknown objective: from `steps[j]` (m,) on, the boxes of `step` ≤ j are dominated.

    The boxes, `lower` to `upper` (boxes, known objectives), are disjoint; `step` (boxes,) says at which step each one joins.
    """

    reference: Array
    steps: Array
    lower: Array
    upper: Array
    step: NDArray[np.int64]


def staircase(front: Array, reference: Array) -> Staircase:
    """The staircase of a front (points, 1 + known), its unknown objective first, up to `reference` (1 + known,)."""
    inside = front[(front < reference).all(axis=1)]
    ordered = inside[np.lexsort(inside.T[::-1])]
    known, corner = [tuple(row) for row in ordered[:, 1:].tolist()], tuple(reference[1:].tolist())
    pieces: list[tuple[int, Box]] = []
    before: list[Point] = []
    for j, point in enumerate(known):
        pieces += [(j, box) for box in _exclusive(point, _clipped(before, point), corner)]
        before = _minimal([*before, point])
    shape = (len(pieces), front.shape[1] - 1)
    lower = np.array([box[0] for _, box in pieces], dtype=float).reshape(shape)
    upper = np.array([box[1] for _, box in pieces], dtype=float).reshape(shape)
    return Staircase(reference, ordered[:, 0], lower, upper, np.array([j for j, _ in pieces], dtype=np.int64))


def expected_hypervolume_improvement(mean: Array, std: Array, known: Array, stairs: Staircase) -> Array:
    """What each candidate is expected to add, (n,), from its `mean` and `std` (n,) and its `known` objectives (n, known)."""
    rows = max(1, PIECE // max(1, stairs.lower.size + len(stairs.steps)))
    pieces = [slice(start, start + rows) for start in range(0, len(mean), rows)]
    found = [_expected(mean[piece], np.maximum(std[piece], LEAST_STD), known[piece], stairs) for piece in pieces]
    return np.concatenate([np.zeros(0), *found])


def _expected(mean: Array, std: Array, known: Array, stairs: Staircase) -> Array:
    ends = np.append(stairs.steps, stairs.reference[0])
    integral = _antiderivative((ends - mean[:, None]) / std[:, None]) * std[:, None]
    integral[:, 1:] -= integral[:, :-1].copy()
    added: Array = (free_areas(known, stairs) * integral).sum(axis=1)
    return added


def free_areas(known: Array, stairs: Staircase) -> Array:
    """A of each candidate, from its `known` (n, known), before and after each step: (n, 1 + steps)."""
    whole = np.maximum(stairs.reference[1:] - known, 0).prod(axis=1)
    overlap = np.maximum(stairs.upper - np.maximum(stairs.lower, known[:, None, :]), 0).prod(axis=2)
    taken = np.column_stack([np.zeros(len(known)), overlap.cumsum(axis=1)])
    joined = np.searchsorted(stairs.step, np.arange(-1, len(stairs.steps)), side="right")  # how many boxes by then: they are in order
    free = whole[:, None] - taken[:, joined]
    return np.where(free > ROUNDING * whole[:, None], free, 0.0)


def _antiderivative(z: Array) -> Array:
    """z Φ(z) + φ(z), which tends to 0 on the left."""
    return np.asarray(np.maximum(z * ndtr(z) + np.exp(-0.5 * z * z) / np.sqrt(2 * np.pi), 0.0))


def _clipped(points: Sequence[Point], corner: Point) -> list[Point]:
    """What is left of the points' dominated regions within that of `corner`, as the points that are needed for it."""
    return _minimal([tuple(map(max, point, corner)) for point in points])


def _exclusive(corner: Point, others: Sequence[Point], reference: Point) -> list[Box]:
    """Disjoint boxes that make up what `corner` dominates up to the reference and none of `others` does, sliced along the first axis."""
    if any(all(map(le, other, corner)) for other in others):
        return []
    if len(corner) <= 1:
        return [(corner, min([reference, *others]))]
    ends = sorted({corner[0], reference[0], *(other[0] for other in others if corner[0] < other[0] < reference[0])})
    boxes: list[Box] = []
    for low, high in pairwise(ends):
        below = [other[1:] for other in others if other[0] <= low]
        boxes += [((low, *lower), (high, *upper)) for lower, upper in _exclusive(corner[1:], _minimal(below), reference[1:])]
    return boxes


def _minimal(points: Sequence[Point]) -> list[Point]:
    """The points that no other one dominates, each once."""
    kept: list[Point] = []
    for point in sorted(set(points)):
        if not any(all(map(le, other, point)) for other in kept):
            kept.append(point)
    return kept
