"""A cheap ranking held against a dear one by one metric: agreement, its ceiling, regret and trivial rivals, and what follows in words."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from studies.rank_statistics import (
    Floats,
    Interval,
    OrderedPairs,
    ordered_pairs,
    random_regret,
    ranks,
    resampled_counts,
    seed_means,
    tau_ceiling,
    tau_interval,
    tau_lead_interval,
    top_k_regret,
)
from studies.records import METRICS


@dataclass(frozen=True, slots=True)
class Rival:
    """A ranking that needs no training: `scores` (variants,), higher is better; rivals of one `family` are faced together."""

    name: str
    family: str
    scores: Floats


@dataclass(frozen=True, slots=True)
class Faced:
    """How a rival ranks, and by how much the proxy's τ is ahead of its (paired); None where one of the rankings has only ties."""

    name: str
    family: str
    tau: Interval | None
    lead: Interval | None


@dataclass(frozen=True, slots=True)
class Regret:
    """What the best of the top k lacks to the best of all, in the reference's metric: chosen by the proxy, and k drawn at random."""

    k: int
    proxy: float
    random: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """How the cheap side ranks by one metric: means over seeds and places (1 is best) of each variant, and what they amount to.

    `tau` is None where a side gives all variants the same score. `ceiling` is the τ that a perfect proxy would reach through the seed
    noise, `pairs` what the proxy orders beyond its own; both are None where single seeds leave the noise unknown.
    """

    metric: str
    cheap: tuple[float, ...]
    reference: tuple[float, ...]
    cheap_ranks: tuple[int, ...]
    reference_ranks: tuple[int, ...]
    tau: Interval | None
    ceiling: Interval | None
    pairs: OrderedPairs | None
    regrets: tuple[Regret, ...]
    rivals: tuple[Faced, ...]

    @property
    def verdicts(self) -> tuple[str, ...]:
        """What follows, a sentence each: against chance, against each family of rivals, against the ceiling, and pair by pair."""
        return (_against_chance(self), *_against_rivals(self), _against_ceiling(self), _pair_by_pair(self))


def compare_rankings(metric: str, cheap: Floats, reference: Floats, rivals: Sequence[Rival], *, top: Sequence[int], seed: int) -> Ranking:
    """The ranking by `metric` of `cheap` (variants, seeds) against `reference` (variants, seeds), both in plain units.

    `top` are the k of the regrets, `seed` is that of resampling. ValueError for a k that is no number of variants.
    """
    sign = 1.0 if METRICS[metric].direction == "maximize" else -1.0
    rng = np.random.default_rng(seed)
    one, other = seed_means(sign * cheap), seed_means(sign * reference)
    counts = resampled_counts(len(one), rng)
    faced = [Faced(rival.name, rival.family, *_face(one, rival.scores, other, counts)) for rival in rivals]
    return Ranking(
        metric=metric,
        cheap=tuple(map(float, sign * one)),
        reference=tuple(map(float, sign * other)),
        cheap_ranks=tuple(ranks(one)),
        reference_ranks=tuple(ranks(other)),
        tau=tau_interval(one, other, counts),
        ceiling=tau_ceiling(sign * cheap, sign * reference, rng),
        pairs=ordered_pairs(sign * cheap, sign * reference),
        regrets=tuple(Regret(k, top_k_regret(one, other, k), random_regret(other, k)) for k in sorted(set(top))),
        rivals=tuple(faced),
    )


def interval_text(interval: Interval | None) -> str:
    """`0.62 (0.31 to 0.80)`, or `undefined`."""
    return "undefined" if interval is None else f"{interval.value:.2f} ({interval.low:.2f} to {interval.high:.2f})"


def _face(one: Floats, rival: Floats, reference: Floats, counts: Floats) -> tuple[Interval | None, Interval | None]:
    return tau_interval(rival, reference, counts), tau_lead_interval(one, rival, reference, counts)


def _against_chance(ranking: Ranking) -> str:
    if ranking.tau is None:
        constant = "cheap" if len(set(ranking.cheap_ranks)) == 1 else "reference"
        return f"undefined: the {constant} side gives all variants the same {METRICS[ranking.metric].name}, so it ranks nothing"
    if ranking.tau.low > 0:
        verdict = "better than chance"
    else:
        verdict = "worse than chance, it ranks the wrong way round" if ranking.tau.high < 0 else "indistinguishable from chance"
    return f"{verdict}: τ = {interval_text(ranking.tau)}"


def _against_rivals(ranking: Ranking) -> Iterator[str]:
    """One sentence for each family; where it has two directions, the proxy must be ahead of both, and the closer one is named."""
    if ranking.tau is None:
        return
    for family in dict.fromkeys(rival.family for rival in ranking.rivals):
        leads = [(rival.name, rival.lead) for rival in ranking.rivals if rival.family == family]
        known = [(name, lead) for name, lead in leads if lead is not None]
        if not known:
            yield f"{family} ranks nothing: the same for all variants"
            continue
        name, lead = min(known, key=lambda faced: (faced[1].low > 0, faced[1].value))
        how = "" if name == family else f" ({name})"
        if lead.low > 0:
            yield f"better than {family}{how} by {interval_text(lead)}"
        else:
            yield f"no better than {family}{how}: its lead is {interval_text(lead)}"


def _against_ceiling(ranking: Ranking) -> str:
    if ranking.ceiling is None:
        return "ceiling: not known: needs at least two seeds on both sides"
    text = f"a perfect proxy would reach τ = {interval_text(ranking.ceiling)} through this seed noise"
    if ranking.tau is None:
        return text
    return f"{text}; {'this one stays below' if ranking.tau.value < ranking.ceiling.low else 'this one cannot be told from it'}"


def _pair_by_pair(ranking: Ranking) -> str:
    if ranking.pairs is None:
        return "pairs beyond the proxy's own noise: not known: needs at least two seeds on the cheap side"
    pairs, metric = ranking.pairs, METRICS[ranking.metric]
    noise = f"{metric.show(pairs.difference)}{' points of' if metric.scale == 0.01 else ' of'} {metric.name}"
    return (
        f"{pairs.beyond_noise} of {pairs.pairs} pairs differ by more than the proxy's own noise ({noise}); "
        f"{pairs.agree} of them stand alike in the reference"
    )
