"""A search space: named domains, the rule that turns a choice into an architecture, a target and limits."""

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any

import numpy as np

from searchspace.cost import Cost, cost
from searchspace.feasible import CHUNK, Chunk, FeasibleSet, Grid
from searchspace.listed_grid import ListedGrid
from searchspace.memory import Training, memory_bytes
from searchspace.model_config import ModelConfig
from searchspace.out_of_reach import why_empty
from searchspace.scaling_setting import Scaling
from searchspace.sizes import Limit, Target

Value = int | float | str
Params = Mapping[str, Value]
MAX_ENUMERATED = 100_000  # as objects
MAX_CHOICES = 10_000_000  # as arrays
BATCH_SIZE = 64  # as `nas cost` has it


@dataclass(frozen=True, slots=True)
class Candidate:
    """One choice from a space: its architecture and cost where one can be built, and the reason when it must not be trained.

    `size_error` is the relative distance of its size from the one that was asked for, where one was.
    """

    params: Params
    config: ModelConfig | None
    cost: Cost | None
    size_error: float | None
    reason: str | None

    @property
    def feasible(self) -> bool:
        """Whether nothing forbids training it."""
        return self.reason is None


def no_reason(space: "SearchSpace", config: ModelConfig) -> str | None:
    """For a rule that nothing built can be against."""
    return None


def no_size_error(space: "SearchSpace", params: Params, config: ModelConfig, size: Cost) -> float | None:
    """For a rule that asks for no size."""
    return None


def offers_all(space: "SearchSpace", params: Params) -> bool:
    """For a rule in which every choice is a candidate."""
    return True


@dataclass(frozen=True, slots=True)
class Rule:
    """What makes a kind of space: a check of its settings, how it builds, how far off a size is, why a result is against a rule.

    `limited` may say which limit kept a result from its target; `grid` knows the feasible choices as arrays, by building each where it is
    not given; `offers` may leave out choices in which one value has nothing to do with another: nobody is shown those.
    """

    check: Callable[["SearchSpace"], None]
    build: Callable[["SearchSpace", Params], ModelConfig]
    size_error: Callable[["SearchSpace", Params, ModelConfig, Cost], float | None]
    violation: Callable[["SearchSpace", ModelConfig], str | None]
    limited: Callable[["SearchSpace", ModelConfig], str | None] = no_reason
    grid: Callable[["SearchSpace"], Grid] = ListedGrid
    offers: Callable[["SearchSpace", Params], bool] = offers_all


@dataclass(frozen=True, kw_only=True)
class SearchSpace:
    """A named product of domains; costs are counted at `image_size` with `num_classes`, as the published tables do.

    Its memory is that of training full-width variants in float32 with batches of `batch_size` images. `scaling` belongs to scaling spaces;
    without it they are those of earlier versions, rounded as in the paper.
    """

    name: str
    domains: Mapping[str, tuple[Value, ...]]
    rule: Rule = field(repr=False)
    target: Target | None = None
    limits: tuple[Limit, ...] = ()
    style: str = "t"
    base: ModelConfig | None = None
    image_size: int = 224
    num_classes: int = 1000
    batch_size: int = BATCH_SIZE
    scaling: Scaling | None = None

    def __post_init__(self) -> None:
        for name, values in self.domains.items():
            if not values or len(set(values)) < len(values):
                raise ValueError(f"domain {name} of space {self.name} needs values, each once, got {list(values)}")
        for name in ("image_size", "num_classes", "batch_size"):
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
        try:
            config = self.rule.build(self, params)
        except ValueError as error:
            return Candidate(params, None, None, None, str(error))
        size = cost(config, self.image_size, self.num_classes)
        size_error = self.rule.size_error(self, params, config, size)
        reason = self.rule.violation(self, config) or self._size_violation(config, size) or self._off_scale(size_error)
        if reason and self.limits:
            reason = self.rule.limited(self, config) or reason
        return Candidate(params, config, size, size_error, reason)

    def size(self, config: ModelConfig, metric: str) -> int:
        """One size of an architecture under the space's settings: `params`, `flops`, `activations` or `memory` (bytes)."""
        if metric == "memory":
            return self.memory(config)
        return int(getattr(cost(config, self.image_size, self.num_classes), metric))

    def memory(self, config: ModelConfig) -> int:
        """Predicted bytes at the peak of a training step of an architecture at full width, as `memory_bytes` counts them."""
        training = Training(batch_size=self.batch_size, image_size=self.image_size, num_classes=self.num_classes)
        return memory_bytes(config, training).total

    @property
    def size_rules(self) -> Sequence[Target | Limit]:
        """What sizes must meet: the target, if any, and the limits."""
        return [*([self.target] if self.target else []), *self.limits]

    @property
    def memory_setting(self) -> str:
        """What `memory` is the memory of, to be put behind it."""
        return f" (bytes of training {self.batch_size} images of {self.image_size} px in float32)"

    def feasible_set(self) -> FeasibleSet:
        """The feasible candidates as arrays, found once; ValueError with the nearest reachable size when there is none.

        ValueError above 10,000,000 choices, and above 100,000 where a space has to build each.
        """
        return self._feasible_set

    def chunks(self, size: int = CHUNK, *, metrics: Sequence[str] = ("params", "flops")) -> Iterator[Chunk]:
        """The feasible candidates in order as arrays, at most `size` at a time, with these sizes of each; errors as `feasible_set`."""
        return self.feasible_set().chunks(size, metrics=metrics)

    def enumerate(self) -> list[Candidate]:
        """All candidates in the order of the domains, a variant that appeared before marked infeasible; ValueError above 100,000."""
        return [candidate for _, candidate in self.numbered()]

    def numbered(self) -> list[tuple[int, Candidate]]:
        """`enumerate` with the place of each in the product of the domains, of which the rule may leave some out."""
        if len(self) > MAX_ENUMERATED:
            raise ValueError(
                f"space {self.name} has {len(self):,} choices, more than {MAX_ENUMERATED:,} to build one by one; "
                "narrow its domains, or take the feasible ones as arrays (chunks)"
            )
        return list(_without_repeats(self._candidates()))

    def sample(self, n: int, rng: np.random.Generator) -> list[Candidate]:
        """`n` feasible candidates drawn uniformly with replacement, none rejected; errors as `feasible_set`."""
        feasible = self.feasible_set()
        return [feasible.candidate(index) for index in feasible.sample(n, rng).tolist()]

    def feasible(self) -> list[Candidate]:
        """The candidates that may be trained; errors as `feasible_set`, and ValueError above 100,000 of them."""
        feasible = self.feasible_set()
        if len(feasible) > MAX_ENUMERATED:
            raise ValueError(
                f"space {self.name} has {len(feasible):,} feasible candidates, more than {MAX_ENUMERATED:,} to build one by one; "
                "set a target or a limit, or take them as arrays (chunks)"
            )
        return [feasible.candidate(index) for index in range(len(feasible))]

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
            **({} if self.batch_size == BATCH_SIZE else {"batch_size": self.batch_size}),
            **({} if self.scaling is None else {"scaling": self.scaling.to_dict()}),
        }

    def __getstate__(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self)}  # what is cached is found again

    @cached_property
    def _feasible_set(self) -> FeasibleSet:
        if len(self) > MAX_CHOICES:
            raise ValueError(f"space {self.name} has {len(self):,} choices, more than {MAX_CHOICES:,} to enumerate; narrow its domains")
        grid = self.rule.grid(self)
        choices = grid.feasible()
        if not choices.size:
            raise ValueError(why_empty(self, grid))
        return FeasibleSet(self, grid, choices)

    def _candidates(self) -> Iterator[tuple[int, Candidate]]:
        for place, values in enumerate(itertools.product(*self.domains.values())):
            params = dict(zip(self.domains, values, strict=True))
            if self.rule.offers(self, params):
                yield place, self._candidate(params)

    def _check(self, params: Params) -> None:
        if set(params) != set(self.domains):
            raise ValueError(f"space {self.name} chooses {sorted(self.domains)}, got {sorted(params)}")
        for name, value in params.items():
            if value not in self.domains[name]:
                raise ValueError(f"{name}={value!r} is not in the domain of space {self.name}: {list(self.domains[name])}")

    def _size_violation(self, config: ModelConfig, size: Cost) -> str | None:
        """The target or limit that an architecture of this cost misses, in words."""
        for rule in self.size_rules:
            got = self.memory(config) if rule.metric == "memory" else getattr(size, rule.metric)
            if violation := rule.violation(got):
                return violation + (self.memory_setting if rule.metric == "memory" else "")
        return None

    def _off_scale(self, size_error: float | None) -> str | None:
        """Why a matched variant is too far from the size that its φ asks for."""
        if self.scaling is None or self.scaling.formula or size_error is None or abs(size_error) <= self.scaling.tolerance:
            return None
        return (
            f"no whole depth comes within {self.scaling.tolerance:.1%} of the {self.scaling.metric} that phi asks for; "
            f"the nearest is {size_error:+.2%} off"
        )


def _without_repeats(candidates: Iterator[tuple[int, Candidate]]) -> Iterator[tuple[int, Candidate]]:
    first: dict[ModelConfig, Params] = {}
    for place, candidate in candidates:
        if candidate.feasible and candidate.config is not None:
            earlier = first.setdefault(candidate.config, candidate.params)
            if earlier is not candidate.params:
                choice = ", ".join(f"{name}={value}" for name, value in earlier.items())
                candidate = replace(candidate, reason=f"the same variant as {choice} after rounding")
        yield place, candidate
