"""The exact cost of many stacks at once, over NumPy arrays."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import mul
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from searchspace.closed_form import ClosedForm, Style, closed_form
from searchspace.cost import COST_METRICS
from searchspace.polynomial import Monomial, Polynomial

Integers = NDArray[np.int64]
NAMES = ("channels", "group_channels", "l1", "l3")
PIECE = 2**14  # candidates at a time: their monomials stay in the processor's cache
LARGEST = 2.0**63 * (1 - 1e-9)  # what float64 knows to be below int64's end


@dataclass(frozen=True, slots=True)
class CostArrays:
    """`Cost` of one image for every candidate, as int64 arrays in the candidates' shape."""

    params: Integers
    flops: Integers
    activations: Integers


def cost_arrays(
    channels: ArrayLike,
    group_channels: ArrayLike,
    l1: ArrayLike,
    l3: ArrayLike,
    *,
    style: Style = "t",
    image_size: int = 224,
    num_classes: int = 1000,
) -> CostArrays:
    """What `cost` counts for each stack (C1, C', L1, L3) of arrays that broadcast, all with the switches of one style or architecture.

    Rule 4 (L1 ≤ L3) is not asked for. ValueError names the first candidate that no network can have or whose cost exceeds int64.
    """
    form = closed_form(style, image_size, num_classes)
    given = (channels, group_channels, l1, l3)
    columns = np.broadcast_arrays(*(_integers(name, values) for name, values in zip(NAMES, given, strict=True)))
    candidates = np.stack([column.ravel() for column in columns])
    _check_shapes(form, candidates)
    pieces = (candidates[:, start : start + PIECE] for start in range(0, candidates.shape[1], PIECE))
    counts = np.concatenate([np.empty((len(COST_METRICS), 0), np.int64), *(_count(form, piece) for piece in pieces)], axis=1)
    return CostArrays(*(count.reshape(columns[0].shape) for count in counts))


def evaluate(polynomials: Sequence[Polynomial], variables: Mapping[str, Integers], largest: float = LARGEST) -> Integers:
    """The value of every polynomial for every candidate, (P, N); `TooLarge` names the first candidate with one of `largest` or more."""
    monomials = sorted({monomial for polynomial in polynomials for monomial in polynomial.terms})
    coefficients = np.array([[polynomial.terms.get(monomial, 0) for monomial in monomials] for polynomial in polynomials], np.int64)
    nearly = coefficients.astype(float) @ _values(monomials, {name: values.astype(float) for name, values in variables.items()})
    if too_large := np.flatnonzero((nearly >= largest).any(axis=0)).tolist():
        raise TooLarge(too_large[0])
    counts: Integers = coefficients @ _values(monomials, variables)
    return counts


class TooLarge(ValueError):
    """Costs must stay below 2^63 to be counted in arrays, which those of the candidate `index` do not."""

    def __init__(self, index: int) -> None:
        super().__init__(f"costs must stay below 2^63 to be counted in arrays, which candidate {index} does not")
        self.index = index


def _count(form: ClosedForm, candidates: Integers) -> Integers:
    """Costs (3, N) of candidates (4, N)."""
    try:
        return evaluate([form.metrics[metric] for metric in COST_METRICS], _variables(form, candidates))
    except TooLarge as error:
        named = _named(candidates, error.index)
        raise ValueError(f"costs must stay below 2^63 to be counted in arrays, which {named} does not") from None


def _variables(form: ClosedForm, candidates: Integers) -> dict[str, Integers]:
    channels, group_channels, l1, l3 = candidates
    norms = l3 // form.norm_every if form.norm_every else np.zeros_like(l3)
    return {"half": channels // 2, "g1": channels // group_channels, "l1": l1, "l3": l3, "norms": norms}


def _values(monomials: list[Monomial], variables: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    """The value of every monomial for every candidate, (M, N)."""
    ones = np.ones_like(variables["l1"])
    return np.stack([reduce(mul, (variables[factor] for factor in monomial), ones) for monomial in monomials])


def _integers(name: str, values: ArrayLike) -> Integers:
    array = np.asarray(values)
    if array.dtype.kind not in "iu" or not np.can_cast(array.dtype, np.int64):
        raise ValueError(f"{name} must hold whole numbers that fit int64, got an array of {array.dtype}")
    return array.astype(np.int64)


def _check_shapes(form: ClosedForm, candidates: Integers) -> None:
    if small := np.flatnonzero((candidates < 1).any(axis=0)).tolist():
        raise ValueError(f"C1, C', L1 and L3 must be at least 1, got {_named(candidates, small[0])}")
    channels, group_channels = candidates[:2]
    legal = (channels == group_channels) if form.one_group else (channels % group_channels == 0)
    if wrong := np.flatnonzero(~legal | (channels % 2 == 1)).tolist():
        first, group = candidates[:2, wrong[0]].tolist()
        raise ValueError(f"{form.width_violation(first, group)}, in {_named(candidates, wrong[0])}")


def _named(candidates: Integers, index: int) -> str:
    return f"candidate {index} (C1,C',L1,L3 = {','.join(map(str, candidates[:, index].tolist()))})"
