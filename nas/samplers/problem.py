"""What every way of sampling is given, and what it must be able to do."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from nas.config import StudyConfig
from nas.samplers.keys import Key
from searchspace.feasible import FeasibleSet
from searchspace.space import Value
from studies.records import METRICS, Trial


@dataclass(frozen=True, slots=True)
class Problem:
    """A study's feasible candidates, which of them are still `free` (n,), and its seed.

    `free` is shared: the sampler marks what has been asked, and whoever suggests reads it. `premeasured` is what is known beside the costs.
    """

    config: StudyConfig
    feasible: FeasibleSet
    free: NDArray[np.bool_]
    seed: int
    trials: int | None = None
    premeasured: Mapping[Key, Mapping[str, float]] = field(default_factory=dict)

    def known(self, metric: str) -> NDArray[np.float64]:
        """A cost or premeasured metric of every feasible candidate, (n,); NaN where it was not measured."""
        if METRICS[metric].origin == "cost":
            return self.feasible.costs(metric)
        values = np.full(len(self.feasible), np.nan)
        for key, measured in self.premeasured.items():
            if (index := self.feasible.index(dict(key))) is not None:
                values[index] = measured.get(metric, np.nan)
        return values

    def params(self, index: int) -> dict[str, Value]:
        """The choice that a candidate is, without building it."""
        domains = self.config.space.domains.items()
        return {name: values[at] for (name, values), at in zip(domains, self.feasible.positions()[index].tolist(), strict=True)}

    def any_free(self, rng: np.random.Generator) -> int:
        """A free candidate drawn uniformly; there must be one."""
        for index in self.feasible.sample(TRIES, rng):
            if self.free[index]:
                return int(index)
        return int(rng.choice(np.flatnonzero(self.free)))


TRIES = 64  # draws before the free candidates are listed, which takes long where there are millions


class Suggester(Protocol):
    """A way of sampling: knows candidates by their number in the feasible set, and is asked only while one is free."""

    def suggest(self) -> int:
        """A free candidate."""

    def begin(self, index: int) -> None:
        """A candidate is being evaluated from now on."""

    def learn(self, index: int, trial: Trial) -> None:
        """A candidate's evaluation has ended."""


MakeSuggester = Callable[[Problem], Suggester]
