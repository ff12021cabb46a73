"""The feasible choices of a space as arrays: millions are counted, drawn and looked up without an object for each."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from searchspace.model_config import ModelConfig
from searchspace.size_form import SIZE_METRICS

if TYPE_CHECKING:
    from searchspace.space import Candidate, Params, SearchSpace

Integers = NDArray[np.int64]
Numbers = TypeVar("Numbers", bound=NDArray[Any])
CHUNK = 2**16


@dataclass(frozen=True, slots=True)
class Reachable:
    """The sizes by metric of what a space can build, targets and limits aside, and the architecture of each."""

    sizes: Mapping[str, Integers]
    config: Callable[[int], ModelConfig]


class Grid(Protocol):
    """Which choices of a space are feasible and how large they are; a choice is its place in the product of the domains."""

    def feasible(self) -> Integers:
        """The feasible choices, ascending; of choices that build the same variant only the first."""

    def sizes(self, metric: str, choices: Integers) -> Integers:
        """One size of each of these feasible choices."""

    def reachable(self, metrics: Sequence[str]) -> Reachable | None:
        """The sizes that come nearest to what is asked for; None where no choice keeps the rules."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some of the feasible candidates, in order from number `start`: arrays of their parameters and sizes by name, each (n,)."""

    start: int
    params: Mapping[str, NDArray[Any]]
    sizes: Mapping[str, Integers]


class FeasibleSet:
    """The candidates of a space that may be trained, in the order of its domains; numbered from 0, built on demand."""

    def __init__(self, space: "SearchSpace", grid: Grid, choices: Integers) -> None:
        self.space, self._grid, self._choices = space, grid, choices
        self._costs: dict[str, NDArray[np.float64]] = {}

    def __len__(self) -> int:
        return len(self._choices)

    def candidate(self, index: int) -> "Candidate":
        """The candidate with this number; IndexError when there is none."""
        if not 0 <= index < len(self):
            raise IndexError(f"index must lie in [0, {len(self)}), got {index}")
        return self.space.candidate(self._params(index))

    def index(self, params: "Params") -> int | None:
        """The number of a choice; None when it is not feasible, and when it is outside the domains."""
        steps = self._steps(params)
        if steps is None:
            return None
        choice = int(np.ravel_multi_index(steps, self._shape))
        index = int(np.searchsorted(self._choices, choice))
        return index if index < len(self) and self._choices[index] == choice else None

    def nearest(self, params: "Params", free: NDArray[np.bool_]) -> int | None:
        """The `free` candidate nearest to a choice, the first of equally near ones; None when none is free.

        The distance is the sum over the domains of the steps in between as a share of the domain. ValueError outside the domains.
        """
        if (exact := self.index(params)) is not None and free[exact]:
            return exact
        steps = self._steps(params)
        if steps is None:
            raise ValueError(f"{dict(params)} is outside the domains of space {self.space.name}")
        candidates = np.flatnonzero(free)
        if not candidates.size:
            return None
        distance = np.zeros(candidates.size)
        for column, (step, length) in enumerate(zip(steps, self._shape, strict=True)):
            distance += (np.abs(np.arange(length) - step) / length)[self.positions()[candidates, column]]
        return int(candidates[np.argmin(distance)])

    def sample(self, n: int, rng: np.random.Generator) -> Integers:
        """`n` numbers of candidates, drawn uniformly with replacement; ValueError when there is none to draw."""
        if not len(self):
            raise ValueError(f"no candidate of space {self.space.name} is left to draw")
        return rng.integers(len(self), size=n)

    def costs(self, metric: str) -> NDArray[np.float64]:
        """`params`, `flops`, `activations` or `memory` (bytes, as `SearchSpace.memory`) of each candidate, (n,)."""
        if metric not in SIZE_METRICS:
            raise ValueError(f"unknown size {metric!r}; known: {', '.join(SIZE_METRICS)}")
        if metric not in self._costs:
            self._costs[metric] = _read_only(self._grid.sizes(metric, self._choices).astype(np.float64))
        return self._costs[metric]

    def positions(self) -> NDArray[np.int32]:
        """Where in its domain each value of each candidate stands, (n, domains)."""
        return self._positions

    def without(self, indices: ArrayLike) -> "FeasibleSet":
        """The set without the candidates of these numbers; those left are numbered anew."""
        kept = np.ones(len(self), bool)
        kept[np.asarray(indices, np.int64)] = False
        left = FeasibleSet(self.space, self._grid, self._choices[kept])
        left._costs = {metric: _read_only(costs[kept]) for metric, costs in self._costs.items()}
        return left

    def chunks(self, size: int = CHUNK, *, metrics: Sequence[str] = ("params", "flops")) -> Iterator[Chunk]:
        """All candidates in order as arrays, at most `size` of them at a time, with these sizes of each."""
        if size < 1:
            raise ValueError(f"size must be at least 1, got {size}")
        domains = [np.array(values) for values in self.space.domains.values()]
        for start in range(0, len(self), size):
            choices = self._choices[start : start + size]
            steps = np.unravel_index(choices, self._shape)
            params = {name: values[at] for name, values, at in zip(self.space.domains, domains, steps, strict=True)}
            yield Chunk(start, params, {metric: self._grid.sizes(metric, choices) for metric in metrics})

    @property
    def _shape(self) -> tuple[int, ...]:
        return tuple(len(values) for values in self.space.domains.values())

    @cached_property
    def _positions(self) -> NDArray[np.int32]:
        positions = np.empty((len(self), len(self._shape)), np.int32)
        for column, steps in enumerate(np.unravel_index(self._choices, self._shape)):
            positions[:, column] = steps
        return _read_only(positions)

    def _params(self, index: int) -> "Params":
        steps = np.unravel_index(int(self._choices[index]), self._shape)
        return {name: values[int(step)] for (name, values), step in zip(self.space.domains.items(), steps, strict=True)}

    def _steps(self, params: "Params") -> list[int] | None:
        domains = self.space.domains
        if set(params) != set(domains) or any(params[name] not in values for name, values in domains.items()):
            return None
        return [values.index(params[name]) for name, values in domains.items()]


def _read_only(array: Numbers) -> Numbers:
    array.flags.writeable = False
    return array
