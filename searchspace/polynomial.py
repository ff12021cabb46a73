"""Polynomials with whole coefficients: what counting gives when it counts with symbols instead of numbers."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Self

Monomial = tuple[str, ...]  # its factors in alphabetic order: ("c", "c", "l") is c²·l, () is 1


@dataclass(frozen=True, slots=True)
class Polynomial:
    """Coefficients by monomial; sums and products with whole numbers and polynomials are polynomials again."""

    terms: Mapping[Monomial, int]

    @classmethod
    def symbol(cls, name: str) -> Self:
        """The polynomial that is one variable."""
        return cls({(name,): 1})

    def __add__(self, other: "Number") -> "Polynomial":
        terms = Counter(self.terms)
        terms.update(as_polynomial(other).terms)
        return _without_zeros(terms)

    def __mul__(self, other: "Number") -> "Polynomial":
        terms: Counter[Monomial] = Counter()
        for (left, a), (right, b) in product(self.terms.items(), as_polynomial(other).terms.items()):
            terms[tuple(sorted(left + right))] += a * b
        return _without_zeros(terms)

    __radd__ = __add__
    __rmul__ = __mul__

    def __call__(self, values: Mapping[str, int]) -> int:
        """The value where each variable has the named one."""
        return sum(coefficient * prod([values[name] for name in monomial]) for monomial, coefficient in self.terms.items())

    def coefficient_of(self, name: str) -> "Polynomial":
        """What multiplies a variable, in a polynomial that holds it to the first power at most."""
        return Polynomial({tuple(factor for factor in m if factor != name): c for m, c in self.terms.items() if name in m})

    def without(self, *names: str) -> "Polynomial":
        """The terms that hold none of these variables."""
        return Polynomial({monomial: c for monomial, c in self.terms.items() if not set(names) & set(monomial)})


Number = int | Polynomial


def as_polynomial(number: Number) -> Polynomial:
    """A whole number as the polynomial without variables."""
    return number if isinstance(number, Polynomial) else Polynomial({(): number})


def _without_zeros(terms: Mapping[Monomial, int]) -> Polynomial:
    return Polynomial({monomial: coefficient for monomial, coefficient in terms.items() if coefficient})
