"""Whether a search did better than chance: held against random orders of all candidates, or against random searches of its space."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np

from nas.api import Study
from nas.compared import Unit, check_random, ended, every_candidate, sequel, unit_of
from nas.errors import NasError
from studies.records import Objective
from studies.replay import (
    ORDERS,
    Chance,
    Reached,
    Scale,
    Sequel,
    against_chance,
    average,
    ended_within,
    lead,
    leads_by_chance,
    least_total,
    random_orders,
    reached,
    whole_hypervolume,
)

FEWEST_ORDERS = 100
Verdict = Literal["better than random", "not better than random", "worse than random"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A study held against random orders of all `candidates`, or against the random studies `against`, at equal spending.

    Each has spent `budget` (in `unit`), within which `trials` of the study ended. Hypervolumes count up to `reference`, the objectives'
    plain units, and are shares of that of all results compared: `own` is the study's, `random` the mean over random orders or studies.
    With several `seeds` it is candidates that are counted and compared, by their means.
    """

    study: str
    against: tuple[str, ...]
    candidates: int | None
    objectives: tuple[Objective, ...]
    reference: tuple[float, ...]
    unit: Unit
    budget: float
    trials: int
    own: Reached
    random: Reached
    chance: Chance
    seed: int
    seeds: int = 1

    @property
    def verdict(self) -> Verdict:
        """What can be claimed, by the mean hypervolume over what was spent."""
        if self.chance.better:
            return "better than random"
        return "worse than random" if self.chance.worse else "not better than random"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**asdict(self), "verdict": self.verdict}


def compare(study: Study, against: Sequence[Study] = (), *, orders: int = ORDERS, seed: int = 0) -> Comparison:
    """The study held against the random searches `against` of the same space, or without any against random orders of all candidates.

    Random orders need a result of every feasible candidate: of the study itself, or of the table that it asks. `orders` is how often
    chance is tried, `seed` that of drawing. NasError where results are missing, ValueError for studies that cannot be compared.
    """
    if not study.config.trains:
        raise ValueError(f"study {study.name!r} trains nothing: what it looks for is known beforehand, in any order")
    if orders < FEWEST_ORDERS:
        raise ValueError(f"orders must be at least {FEWEST_ORDERS}, got {orders}: fewer say nothing about one case in forty")
    for other in against:
        check_random(study, other)
    own = ended(study)
    others = [ended(other) for other in against] if against else [every_candidate(study)]
    unit = unit_of([trial for trials in (own, *others) for trial in trials])
    scale, one, rest = _on_one_scale(study, [sequel(trials, study.config, unit) for trials in (own, *others)])
    budget = least_total(one, *rest) if against else least_total(one)
    if budget <= 0:
        raise ValueError(f"the trials of study {study.name!r} took no time: there is nothing to compare at equal {unit}")
    rng = np.random.default_rng(seed)
    result = reached(one, budget)
    if against:
        random = [reached(other, budget) for other in rest]
        chance = against_chance(lead(one, rest), leads_by_chance(one, rest, rng, orders), expected=0.0)
    else:
        random = random_orders(rest[0], budget, rng, orders)
        chance = against_chance(result.mean, np.array([order.mean for order in random]))
    return Comparison(
        study=study.name,
        against=tuple(other.name for other in against),
        candidates=None if against else len(rest[0].spent),
        objectives=study.objectives,
        reference=scale.reference,
        unit=unit,
        budget=budget,
        trials=ended_within(one, budget),
        own=result,
        random=average(random),
        chance=chance,
        seed=seed,
        seeds=study.config.seeds,
    )


def _on_one_scale(study: Study, sequels: Sequence[Sequel]) -> tuple[Scale, Sequel, list[Sequel]]:
    """The sequences on the scale of all their results, whose hypervolume is 1; NasError where none keeps the study's bounds."""
    known = np.concatenate([each.points for each in sequels])
    if np.isnan(known).all():
        raise NasError(f"no complete trial keeps {' and '.join(bound.text for bound in study.config.require)}: there is nothing to compare")
    scale = Scale.of(known, study.objectives)
    whole = whole_hypervolume(scale.normalised(known))
    one, *rest = (replace(each, points=scale.normalised(each.points), whole=whole) for each in sequels)
    return scale, one, rest
