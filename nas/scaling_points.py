"""A study's complete trials as points of a scaling law: what each variant cost, what shape it has, what its seeds measured."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from nas.api import Study
from nas.scaling_form import Sample
from searchspace.depth_split import paper_depth
from searchspace.model_config import ModelConfig
from searchspace.scaled_base import ScaledBase
from searchspace.scaling import effective_pair
from searchspace.scaling_setting import Scaling
from studies.records import Trial, TrialState

LawMetric = Literal["error", "loss"]
MEASURES: Mapping[str, tuple[str, Callable[[float], float]]] = {"error": ("top1", lambda top1: 1 - top1), "loss": ("loss", float)}
LEAST_STEP = 0.25  # doublings: closer to the base, what depth has of them is decided by rounding


@dataclass(frozen=True, slots=True)
class Growth:
    """How a size grows from a base on, in doublings of it."""

    scaled: ScaledBase

    @classmethod
    def of(cls, study: Study) -> "Growth":
        """That of a scaling study; ValueError for one of another space."""
        space = study.config.space
        if space.name != "scaling" or space.base is None:
            raise ValueError(
                f"study {study.name!r} searches the {space.name} space; a law is fitted to one of `nas search --space scaling`"
            )
        return cls(ScaledBase(space.base, space.scaling or Scaling(), space.image_size, space.num_classes, space.batch_size))

    def cost(self, config: ModelConfig) -> float:
        """The size, in the unit of the study's scaling metric; of latency as a multiple of the base's."""
        return float(self.scaled.sizing.of(config, self.scaled.base))

    def share(self, config: ModelConfig) -> float | None:
        """What depth has in the doublings between the base and a variant; None where they are too few to tell."""
        base, exponents = self.scaled.base, self.scaled.exponents
        deeper = exponents.depth * math.log2(paper_depth(config) / paper_depth(base))
        both = deeper + exponents.width * math.log2(config.channels / base.channels)
        return deeper / both if abs(both) >= LEAST_STEP else None

    def pair(self, share: float) -> tuple[float, float]:
        """(α, β) that spend such a share of every doubling on depth."""
        exponents = self.scaled.exponents
        return 2 ** (share / exponents.depth), 2 ** ((1 - share) / exponents.width)

    def share_of(self, alpha: float, beta: float) -> float:
        """The share of depth in what a pair adds."""
        deeper, wider = self.scaled.exponents.depth * math.log2(alpha), self.scaled.exponents.width * math.log2(beta)
        return deeper / (deeper + wider)


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A variant with the numbers of its complete trials and what each measured.

    `phi` is its cost in doublings of the base's, (α, β) the pair that leads to it in `asked_phi` steps, `share` what depth has in its
    doublings; the base itself has neither.
    """

    trials: tuple[int, ...]
    config: ModelConfig
    asked_phi: float
    cost: float
    phi: float
    pair: tuple[float, float] | None
    share: float | None
    values: tuple[float, ...]

    @property
    def value(self) -> float:
        """The mean over its trials."""
        return float(np.mean(self.values))

    @property
    def std(self) -> float | None:
        """The standard deviation of its trials; None of one alone."""
        return float(np.std(self.values, ddof=1)) if len(self.values) > 1 else None

    @property
    def depth(self) -> float:
        """How many of its doublings went into depth."""
        return 0.0 if self.share is None else self.share * self.phi


def points_of(study: Study, metric: LawMetric) -> tuple[list[Point], list[str]]:
    """The variants of a study by φ and width, and the names of those too close to the base's cost for a share of depth.

    ValueError for a study of another space, and for trials that lack the metric.
    """
    growth = Growth.of(study)
    by_variant: dict[ModelConfig, list[Trial]] = {}
    for trial in study.trials():
        if trial.state is TrialState.COMPLETE and trial.model is not None:
            by_variant.setdefault(ModelConfig.from_dict(dict(trial.model)), []).append(trial)
    found = [_point(growth, config, trials, metric) for config, trials in by_variant.items()]
    points = [point for point in found if (point.pair and point.share is not None) or point.config == growth.scaled.base]
    points.sort(key=lambda point: (point.asked_phi, point.config.channels, point.config.depths))
    return points, [point.config.short_name for point in found if point not in points]


def sample_of(points: Sequence[Point]) -> Sample:
    """The points as arrays, weighted by their numbers of trials."""
    columns = [(point.phi, point.depth, point.value, len(point.values)) for point in points]
    return Sample(*np.array(columns, dtype=float).reshape(-1, 4).T)


def _point(growth: Growth, config: ModelConfig, trials: Sequence[Trial], metric: LawMetric) -> Point:
    cost, base, asked = growth.cost(config), growth.scaled.base, float(trials[0].params["phi"])
    return Point(
        trials=tuple(trial.number for trial in trials),
        config=config,
        asked_phi=asked,
        cost=cost,
        phi=0.0 if config == base else math.log2(cost / growth.cost(base)),
        pair=None if config == base or asked == 0 else effective_pair(base, config, asked),
        share=None if config == base else growth.share(config),
        values=tuple(_value(trial, metric) for trial in trials),
    )


def _value(trial: Trial, metric: LawMetric) -> float:
    name, value = MEASURES[metric]
    if (measured := trial.metrics.get(name)) is None:
        raise ValueError(f"trial {trial.number} has no {name} to fit a law of {metric} to; take another --metric")
    return value(measured)
