"""The recorded certificate of rank: `python -m benchmarks.fidelity [--store URL] [--workers N]`.

Trains the nineteen stacking candidates by two cheap proxies, of drawn shapes and the default one of digits, and by a dear one of shapes,
with three seeds each, and records how far each cheap one ranks as the dear one: every variant, every seed, all intervals. Beside it stands
what needs no training: zero-cost scores, means over the seeds. Trials that the store already holds are not trained again; from
nothing it takes hours on two cores.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import nas
from benchmarks.hardware import describe
from nas.fidelity import Certificate, certificate
from searchspace.model_config import ModelConfig
from searchspace.score_table import SCORE_TABLE
from studies.rank_statistics import kendall_tau
from trainer.proxy_config import ProxyConfig

RESULTS = Path(__file__).parent / "results"
SEEDS = (0, 1, 2)
SHAPES = ProxyConfig(dataset="shapes:2000,difficulty=0.3", train_fraction=1.0, epochs=6)
DEAR = replace(SHAPES, channel_divisor=2, epochs=8)
CHEAP: Mapping[str, ProxyConfig] = {"shapes": SHAPES, "digits": ProxyConfig()}  # by the name of the record
SCORES = tuple(name for name in SCORE_TABLE if name not in ("params", "flops"))


def studies(name: str, proxy: ProxyConfig, seeds: Sequence[int], store: str, workers: int) -> list[nas.Study]:
    """One search for each seed, of every feasible candidate."""
    engine, running = ("ray", workers) if workers > 1 else ("local", 1)
    return [
        nas.search(
            nas.StudyConfig(proxy=proxy, seed=seed),
            name=f"{name}-{seed}",
            store=store,
            engine=engine,
            workers=running,
            keep_weights="none",
        )
        for seed in seeds
    ]


def untrained(found: Certificate, proxy: ProxyConfig) -> dict[str, Any]:
    """Zero-cost scores of every variant and seed, and Kendall's τ of their means with each other, both sides and the number of blocks."""
    from trainer.zero_cost import scores

    models = [variant.model for variant in found.variants]
    values = {name: [[scores(model, proxy, [name], seed=seed)[name] for seed in SEEDS] for model in models] for name in SCORES}
    columns = {
        **{name: np.mean(of_score, axis=1) for name, of_score in values.items()},
        "blocks": _blocks(models),
        "flops": np.array([variant.flops for variant in found.variants], dtype=float),
        **{f"cheap {metric}": _means([variant.cheap[metric] for variant in found.variants], metric) for metric in ("top1", "loss")},
        **{f"reference {metric}": _means([variant.reference[metric] for variant in found.variants], metric) for metric in ("top1", "loss")},
    }
    taus = {one: {other: kendall_tau(columns[one], columns[other]) for other in columns} for one in columns}
    seeds = {name: _between_seeds(np.array(of_score)) for name, of_score in values.items()}
    return {"values": values, "kendall_tau": taus, "kendall_tau_between_seeds": seeds}


def _means(values: Sequence[Sequence[float]], metric: str) -> np.ndarray[Any, Any]:
    """Means over seeds, higher being better."""
    sign = 1 if metric == "top1" else -1
    return sign * np.mean(np.asarray(values), axis=1).round(12)


def _blocks(models: Sequence[ModelConfig]) -> np.ndarray[Any, Any]:
    return np.array([sum(model.depths) for model in models], dtype=float)


def _between_seeds(values: np.ndarray[Any, Any]) -> list[float | None]:
    pairs = [(one, other) for one in range(len(SEEDS)) for other in range(one)]
    return [kendall_tau(values[:, one], values[:, other]) for one, other in pairs]


def main() -> None:
    """Search, compare and record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", default="sqlite:///fidelity.db")
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    dear = studies("shapes-dear", DEAR, SEEDS, arguments.store, arguments.workers)
    for name, proxy in CHEAP.items():
        cheap = studies(f"{name}-cheap", proxy, SEEDS, arguments.store, arguments.workers)
        write(name, certificate(cheap, dear), proxy)


def write(name: str, found: Certificate, proxy: ProxyConfig) -> None:
    """Print the verdicts and write the record."""
    for metric, ranking in found.rankings.items():
        print(f"{name}, {metric}:", *ranking.verdicts, sep="\n  ")
    scored = untrained(found, proxy)
    for score in SCORES:
        print(f"  {score}: τ = {scored['kendall_tau'][score]['reference top1']:+.2f} with the reference's top-1")
    record = {"hardware": describe(), **found.to_dict(), "untrained": scored}
    (RESULTS / f"fidelity-{name}.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
