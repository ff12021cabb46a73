"""What can a fidelity certificate show with so many variants and seeds? Run `python -m benchmarks.fidelity_power [--populations N]`.

Draws populations of variants whose true scores on both sides are normal with a known correlation, adds seed noise, and counts how often
the 95 % intervals hold the true τ and how often a claim is made: rightly (power) or over a rival that is as good (false claims).
"""

import argparse
import itertools
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nas.output import Column, print_rows
from studies.rank_statistics import LEVEL, Floats, Interval, resampled_counts, seed_means, tau_interval, tau_lead_interval, weighted_tau

RESULTS = Path(__file__).parent / "results" / "fidelity-power.json"
VARIANTS, SEEDS, CORRELATIONS = (10, 19, 40), (1, 3), (0.0, 0.5, 0.8, 0.95)
NOISE = 0.5  # variance over seeds, of a variance of true scores of 1, on both sides
RIVAL = 0.3  # correlation of a ranking that needs no training with the reference's true scores
RESAMPLES = 1000
SHARES = {
    "correlation": "ρ",
    "tau": "τ",
    "coverage_bca": "BCa holds",
    "coverage_percentile": "percentile",
    "coverage_with_seeds": "with seeds",
    "too_low_bca": "BCa low",
    "too_low_with_seeds": "seeds low",
    "better_than_chance": "> chance",
    "better_than_rival": "> rival",
    "false_claims": "> equal",
}
TAILS = ((1 - LEVEL) / 2, (1 + LEVEL) / 2)


@dataclass(frozen=True, slots=True)
class Case:
    """So many variants and seeds a side, and how the true scores of both sides are correlated."""

    variants: int
    seeds: int
    correlation: float

    @property
    def tau(self) -> float:
        """The true τ of means over seeds: 2/π · asin of their correlation (Greiner's relation)."""
        return 2 / math.pi * math.asin(self.correlation / (1 + NOISE / self.seeds))


def main() -> None:
    """Simulate, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--populations", type=int, default=400)
    parser.add_argument("--json", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    cases = [Case(*values) for values in itertools.product(VARIANTS, SEEDS, CORRELATIONS)]
    rows = [row(case, arguments.populations, np.random.default_rng([0, i])) for i, case in enumerate(cases)]
    columns = [Column("variants", "n"), Column("seeds", "seeds"), *(Column(key, label, "{:.2f}".format) for key, label in SHARES.items())]
    print_rows(rows, columns, format="table")
    settings = {"populations": arguments.populations, "resamples": RESAMPLES, "seed_noise": NOISE, "rival_correlation": RIVAL}
    arguments.json.write_text(json.dumps({**settings, "cases": rows}, indent=1) + "\n", encoding="utf-8")


def row(case: Case, populations: int, rng: np.random.Generator) -> dict[str, Any]:
    """Shares over the populations; `None` for what needs several seeds."""
    found = [one_population(case, rng) for _ in range(populations)]
    shares = {name: None if found[0][name] is None else float(np.mean([each[name] for each in found])) for name in found[0]}
    return {"variants": case.variants, "seeds": case.seeds, "correlation": case.correlation, "tau": round(case.tau, 4), **shares}


def one_population(case: Case, rng: np.random.Generator) -> dict[str, bool | None]:
    """Whether each interval holds the true τ, and what is claimed."""
    truth = rng.standard_normal(case.variants)
    reference, cheap, equal = noisy(truth, case, rng), *(noisy(like(truth, case.correlation, rng), case, rng) for _ in range(2))
    rival = like(truth, RIVAL, rng)
    counts = resampled_counts(case.variants, rng, RESAMPLES)
    one, other = seed_means(cheap), seed_means(reference)
    tau = tau_interval(one, other, counts)
    drawn = weighted_tau(one, other, counts)
    with_seeds = percentile(drawn_with_seeds(cheap, reference, rng)) if case.seeds > 1 else None
    return {
        "coverage_bca": holds(tau, case.tau),
        "coverage_percentile": holds(percentile(drawn), case.tau),
        "coverage_with_seeds": None if with_seeds is None else holds(with_seeds, case.tau),
        "too_low_bca": tau is not None and tau.high < case.tau,
        "too_low_with_seeds": None if with_seeds is None else with_seeds.high < case.tau,
        "better_than_chance": claims(tau),
        "better_than_rival": claims(tau_lead_interval(one, rival, other, counts)),
        "false_claims": claims(tau_lead_interval(one, seed_means(equal), other, counts)),
    }


def like(truth: Floats, correlation: float, rng: np.random.Generator) -> Floats:
    """Scores of variance 1 so correlated with the truth."""
    return correlation * truth + math.sqrt(1 - correlation**2) * rng.standard_normal(len(truth))


def noisy(scores: Floats, case: Case, rng: np.random.Generator) -> Floats:
    """What training shows of the scores: (variants, seeds)."""
    return scores[:, None] + rng.normal(0, math.sqrt(NOISE), (case.variants, case.seeds))


def drawn_with_seeds(cheap: Floats, reference: Floats, rng: np.random.Generator) -> Floats:
    """τ-b of resamples that draw seeds within the drawn variants too: what the certificate does not do, and why."""
    n, seeds = cheap.shape
    variants = rng.integers(0, n, (RESAMPLES, n, 1))
    means = [side[variants, rng.integers(0, seeds, (RESAMPLES, n, seeds))].mean(2) for side in (cheap, reference)]
    first, second = np.triu_indices(n, 1)
    one, other = (np.sign(side[:, first] - side[:, second]) for side in means)
    return np.asarray((one * other).sum(1) / np.sqrt(abs(one).sum(1) * abs(other).sum(1)))


def percentile(drawn: Floats) -> Interval:
    """The plain percentile interval."""
    low, high = np.quantile(drawn[np.isfinite(drawn)], TAILS)
    return Interval(float("nan"), float(low), float(high))


def holds(interval: Interval | None, value: float) -> bool:
    """Whether the interval holds the value."""
    return interval is not None and interval.low <= value <= interval.high


def claims(interval: Interval | None) -> bool:
    """Whether the interval lies above zero."""
    return interval is not None and interval.low > 0


if __name__ == "__main__":
    main()
