"""The choices of a space whose rule is known only choice by choice: every candidate is built once."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from searchspace.feasible import Integers, Reachable
from searchspace.model_config import ModelConfig

if TYPE_CHECKING:
    from searchspace.space import Candidate, SearchSpace


class ListedGrid:
    """The grid of any space that can be enumerated; ValueError for one that is too large for that."""

    def __init__(self, space: "SearchSpace") -> None:
        self._space = space

    def feasible(self) -> Integers:
        """The feasible choices, ascending; of choices that build the same variant only the first."""
        return np.array([place for place, candidate in self._candidates.items() if candidate.feasible], np.int64)

    def sizes(self, metric: str, choices: Integers) -> Integers:
        """One size of each of these choices, (N,)."""
        return self._sizes(metric, [_built(self._candidates[choice]) for choice in choices.tolist()])

    def reachable(self, metrics: Sequence[str]) -> Reachable | None:
        """The sizes of all candidates that keep the space's rule; None where none does, and where no sizes are asked for."""
        if not metrics:
            return None
        built = [candidate.config for candidate in self._candidates.values() if candidate.config is not None]
        legal = [config for config in built if not self._space.rule.violation(self._space, config)]
        return Reachable({metric: self._sizes(metric, legal) for metric in metrics}, legal.__getitem__) if legal else None

    def _sizes(self, metric: str, configs: Sequence[ModelConfig]) -> Integers:
        return np.array([self._space.size(config, metric) for config in configs], np.int64)

    @cached_property
    def _candidates(self) -> "Mapping[int, Candidate]":
        return dict(self._space.numbered())


def _built(candidate: "Candidate") -> ModelConfig:
    assert candidate.config is not None, "a feasible candidate has been built"
    return candidate.config
