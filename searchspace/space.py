"""A search space: named domains, the rule that turns a choice into an architecture, a target and limits."""

import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from searchspace.cost import Cost, cost
from searchspace.model_config import ModelConfig
from searchspace.quantity import format_quantity
from searchspace.sizes import Limit, Target

Value = int | float | str
Params = Mapping[str, Value]
MAX_ENUMERATED = 100_000


@dataclass(frozen=True, slots=True)
class Candidate:
    """One choice from a space: its architecture and cost where one can be built, and the reason when it must not be trained."""

    params: Params
    config: ModelConfig | None
    cost: Cost | None
    asked_params: float | None
    reason: str | None

    @property
    def feasible(self) -> bool:
        """Whether nothing forbids training it."""
        return self.reason is None

    @property
    def size_error(self) -> float | None:
        """Relative distance of its parameters from the size that was asked for."""
        if self.cost is None or self.asked_params is None:
            return None
        return self.cost.params / self.asked_params - 1


@dataclass(frozen=True, slots=True)
class Rule:
    """What makes a kind of space: a check of its settings, how it builds, which size it asked for, why a result is against a rule.

    `limited` may say which limit kept a result from its target.
    """

    check: Callable[["SearchSpace"], None]
    build: Callable[["SearchSpace", Params], ModelConfig]
    asked_params: Callable[["SearchSpace", Params], float | None]
    violation: Callable[["SearchSpace", ModelConfig], str | None]
    limited: Callable[["SearchSpace", ModelConfig], str | None] = lambda space, config: None


@dataclass(frozen=True, kw_only=True)
class SearchSpace:
    """A named product of domains; costs are counted at `image_size` with `num_classes`, as the published tables do."""

    name: str
    domains: Mapping[str, tuple[Value, ...]]
    rule: Rule = field(repr=False)
    target: Target | None = None
    limits: tuple[Limit, ...] = ()
    style: str = "t"
    base: ModelConfig | None = None
    image_size: int = 224
    num_classes: int = 1000

    def __post_init__(self) -> None:
        for name, values in self.domains.items():
            if not values or len(set(values)) < len(values):
                raise ValueError(f"domain {name} of space {self.name} needs values, each once, got {list(values)}")
        for name in ("image_size", "num_classes"):
            if type(getattr(self, name)) is not int or getattr(self, name) < 1:
                raise ValueError(f"{name} must be whole and at least 1, got {getattr(self, name)!r}")
        self.rule.check(self)

    def __len__(self) -> int:
        return math.prod(len(values) for values in self.domains.values())

    def build(self, params: Params) -> ModelConfig:
        """The architecture of a choice; ValueError with the reason when it is infeasible."""
        candidate = self.candidate(params)
        if candidate.config is None or candidate.reason is not None:
            raise ValueError(candidate.reason)
        return candidate.config

    def violations(self, params: Params) -> list[str]:
        """Why a choice must not be trained; empty when it may."""
        candidate = self.candidate(params)
        return [] if candidate.reason is None else [candidate.reason]

    def candidate(self, params: Params) -> Candidate:
        """A choice with its architecture, cost and, when infeasible, the reason; ValueError for parameters outside the domains."""
        self._check(params)
        return self._candidate(params)

    def _candidate(self, params: Params) -> Candidate:
        asked = self.rule.asked_params(self, params)
        try:
            config = self.rule.build(self, params)
        except ValueError as error:
            return Candidate(params, None, None, asked, str(error))
        size = cost(config, self.image_size, self.num_classes)
        reason = self.rule.violation(self, config) or self.size_violation(size)
        if reason and self.limits:
            reason = self.rule.limited(self, config) or reason
        return Candidate(params, config, size, asked, reason)

    def size_violation(self, size: Cost) -> str | None:
        """The target or limit that `size` misses, in words."""
        rules: list[Target | Limit] = [*([self.target] if self.target else []), *self.limits]
        return next((violation for rule in rules if (violation := rule.violation(size))), None)

    def enumerate(self) -> list[Candidate]:
        """All candidates in the order of the domains, a variant that appeared before marked infeasible; ValueError above 100,000."""
        if len(self) > MAX_ENUMERATED:
            raise ValueError(f"space {self.name} has {len(self):,} candidates, more than {MAX_ENUMERATED:,} to list; narrow its domains")
        return list(_without_repeats(self._candidates()))

    def sample(self, n: int, rng: np.random.Generator) -> list[Candidate]:
        """`n` feasible candidates drawn uniformly with replacement; ValueError when there is none."""
        feasible = self.feasible()
        return [feasible[i] for i in rng.integers(len(feasible), size=n)]

    def feasible(self) -> list[Candidate]:
        """The candidates that may be trained; ValueError with the nearest reachable size when there is none."""
        candidates = self.enumerate()
        feasible = [candidate for candidate in candidates if candidate.feasible]
        if not feasible:
            raise ValueError(self._why_empty(candidates))
        return feasible

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; `searchspace.spaces.space_from_dict` reads them back."""
        return {
            "name": self.name,
            "domains": {name: list(values) for name, values in self.domains.items()},
            "target": self.target.to_dict() if self.target else None,
            "limits": [limit.to_dict() for limit in self.limits],
            "style": self.style,
            "base": self.base.to_dict() if self.base else None,
            "image_size": self.image_size,
            "num_classes": self.num_classes,
        }

    def _candidates(self) -> Iterator[Candidate]:
        for values in itertools.product(*self.domains.values()):
            yield self._candidate(dict(zip(self.domains, values, strict=True)))

    def _check(self, params: Params) -> None:
        if set(params) != set(self.domains):
            raise ValueError(f"space {self.name} chooses {sorted(self.domains)}, got {sorted(params)}")
        for name, value in params.items():
            if value not in self.domains[name]:
                raise ValueError(f"{name}={value!r} is not in the domain of space {self.name}: {list(self.domains[name])}")

    def _why_empty(self, candidates: list[Candidate]) -> str:
        legal = [c for c in candidates if c.config is not None and c.cost is not None and not self.rule.violation(self, c.config)]
        if not legal:
            return f"no candidate of space {self.name} keeps the rules; the first: {candidates[0].reason}"
        nearest = min(legal, key=self._distance)
        assert nearest.config is not None, "a legal candidate has been built"
        sizes = ", ".join(f"{m} {format_quantity(getattr(nearest.cost, m))}" for m in self._size_metrics())
        return f"no candidate of space {self.name} meets {self._asked()}; the nearest reachable is {nearest.config.short_name} with {sizes}"

    def _asked(self) -> str:
        """The target and limits as a user writes them."""
        target = [f"{self.target.metric}={format_quantity(self.target.value)} within {self.target.tolerance:.1%}"] if self.target else []
        return " and ".join([*target, *(f"{limit.metric}<={format_quantity(limit.value)}" for limit in self.limits)])

    def _size_metrics(self) -> list[str]:
        rules: list[Target | Limit] = [*([self.target] if self.target else []), *self.limits]
        return list(dict.fromkeys(rule.metric for rule in rules))

    def _distance(self, candidate: Candidate) -> tuple[float, float]:
        """How far a candidate exceeds its worst limit, then how far it is from the target, both as logarithms of the ratio."""
        over = [math.log(getattr(candidate.cost, limit.metric) / limit.value) for limit in self.limits]
        off = abs(math.log(getattr(candidate.cost, self.target.metric) / self.target.value)) if self.target else 0.0
        return max([0.0, *over]), off


def _without_repeats(candidates: Iterator[Candidate]) -> Iterator[Candidate]:
    first: dict[ModelConfig, Params] = {}
    for candidate in candidates:
        if candidate.feasible and candidate.config is not None:
            earlier = first.setdefault(candidate.config, candidate.params)
            if earlier is not candidate.params:
                choice = ", ".join(f"{name}={value}" for name, value in earlier.items())
                candidate = replace(candidate, reason=f"the same variant as {choice} after rounding")
        yield candidate
