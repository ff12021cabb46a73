"""A certificate of how well a cheap proxy ranks variants: against a dear one, chance, rankings for free and its own noise."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from nas.api import Study
from nas.errors import NasError
from nas.fidelity_sides import Side, check_sides_differ, common_variants, missing_variants
from searchspace.model_config import ModelConfig
from searchspace.score_table import SCORE_TABLE, is_constant
from searchspace.styles import style_of
from studies.rank_statistics import Floats, seed_means
from studies.ranking import Ranking, Rival, compare_rankings

MIN_VARIANTS = 10
TOP = (1, 3, 5)
MEASURES = ("top1", "loss")
SIZES = {"params": "params", "flops": "FLOPs"}


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredSide:
    """Where one side's scores come from: studies with a seed each, at what effort, and the mean training time of a trial in seconds."""

    studies: tuple[str, ...]
    seeds: tuple[int, ...]
    fidelity: Mapping[str, Any]
    seconds: float | None

    @property
    def seconds_per_variant(self) -> float | None:
        """Training time of one variant with all its seeds."""
        return None if self.seconds is None else self.seconds * len(self.seeds)


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantScores:
    """A variant with its exact cost and, by metric, each seed's value on both sides, in the order of the sides' seeds."""

    model: ModelConfig
    params: int
    flops: int
    cheap: Mapping[str, tuple[float, ...]]
    reference: Mapping[str, tuple[float, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """How well the cheap side ranks `variants`, those that both sides have measured, by each metric in `rankings`.

    `missing` are the variants that some studies have completed, with the names of the studies that have not.
    """

    cheap: MeasuredSide
    reference: MeasuredSide
    variants: tuple[VariantScores, ...]
    missing: Mapping[ModelConfig, tuple[str, ...]]
    rankings: Mapping[str, Ranking]

    @property
    def cost_ratio(self) -> float | None:
        """How many cheap trials train in the time of one reference trial."""
        return self.reference.seconds / self.cheap.seconds if self.cheap.seconds and self.reference.seconds else None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values: every variant with each seed's values, and everything computed from them."""
        return {
            "cheap": asdict(self.cheap),
            "reference": asdict(self.reference),
            "cost_ratio": self.cost_ratio,
            "variants": [{**_named(scores.model), **asdict(scores), "model": scores.model.to_dict()} for scores in self.variants],
            "missing": [{**_named(model), "model": model.to_dict(), "lacking_in": names} for model, names in self.missing.items()],
            "rankings": {metric: {**asdict(ranking), "verdicts": ranking.verdicts} for metric, ranking in self.rankings.items()},
        }


def certificate(cheap: Sequence[Study], reference: Sequence[Study], *, top: Sequence[int] = TOP, seed: int = 0) -> Certificate:
    """How well the cheap studies rank variants compared with the reference studies; each side is one proxy with one study a seed.

    A variant's score is the mean over a side's seeds. Only variants that every study has completed count, so that no mean lacks a seed
    that others have. `seed` is that of resampling. ValueError for a side that mixes proxies or data, NasError below ten variants.
    """
    sides = Side.of("cheap", cheap), Side.of("reference", reference)
    check_sides_differ(*sides)
    variants, missing = common_variants(sides), missing_variants(sides)
    if len(variants) < MIN_VARIANTS:
        more = f" ({len(missing)} more are not complete in every study)" if missing else ""
        raise NasError(f"too few variants for a claim: {len(variants)}, needs {MIN_VARIANTS}{more}")
    values = [{metric: _values(side, metric, variants) for metric in MEASURES} for side in sides]
    rivals = [*_size_rivals(sides[0], variants), *_score_rivals(sides, variants)]
    return Certificate(
        cheap=_summary(sides[0], variants),
        reference=_summary(sides[1], variants),
        variants=tuple(_scores(sides[0], variant, [_row(side, i) for side in values]) for i, variant in enumerate(variants)),
        missing=missing,
        rankings={
            metric: compare_rankings(metric, values[0][metric], values[1][metric], rivals, top=top, seed=seed) for metric in MEASURES
        },
    )


def _values(side: Side, metric: str, variants: Sequence[ModelConfig]) -> Floats:
    values = side.values(metric, variants)
    if values is None:
        raise ValueError(f"a trial of {', '.join(side.studies)} has no {metric}; a certificate needs {' and '.join(MEASURES)} of all")
    return values


def _size_rivals(side: Side, variants: Sequence[ModelConfig]) -> Iterator[Rival]:
    """Both directions of each size; which of them is the better guess is not known beforehand."""
    for size, label in SIZES.items():
        sizes = np.array([side.trials[0][variant].cost[size] for variant in variants], dtype=float)
        yield Rival(f"more {label}", label, sizes)
        yield Rival(f"fewer {label}", label, -sizes)


def _score_rivals(sides: Sequence[Side], variants: Sequence[ModelConfig]) -> Iterator[Rival]:
    """The zero-cost scores stored with the trials, the cheap side's first, in the direction of their papers."""
    for name, facts in SCORE_TABLE.items():
        stored = [values for side in sides if (values := side.values(name, variants)) is not None]
        if name in SIZES or not stored:
            continue
        scores = seed_means(stored[0] if facts.direction == "maximize" else -stored[0])
        yield Rival(facts.label, facts.label, np.zeros_like(scores) if is_constant(scores.tolist()) else scores)


def _summary(side: Side, variants: Sequence[ModelConfig]) -> MeasuredSide:
    seconds = side.values("seconds", variants)
    mean = None if seconds is None else float(seconds.mean())
    return MeasuredSide(studies=side.studies, seeds=side.seeds, fidelity=side.fidelity, seconds=mean)


def _row(values: Mapping[str, Floats], i: int) -> dict[str, tuple[float, ...]]:
    return {metric: tuple(map(float, of_metric[i])) for metric, of_metric in values.items()}


def _scores(side: Side, variant: ModelConfig, rows: Sequence[dict[str, tuple[float, ...]]]) -> VariantScores:
    cost = side.trials[0][variant].cost
    return VariantScores(model=variant, params=cost["params"], flops=cost["flops"], cheap=rows[0], reference=rows[1])


def _named(model: ModelConfig) -> dict[str, str]:
    return {"variant": model.short_name, "style": style_of(model)}
