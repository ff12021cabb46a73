"""How much does a proxy's result depend on its seed? Run `python -m benchmarks.proxy_noise [--dataset ... --epochs ...]`.

Trains one variant with several seeds and records the spread in `trainer/noise.json`, from where every front takes its noise line.
"""

import argparse
import json
import statistics
from typing import Any

from nas.output import Column, metric_column, print_rows
from searchspace.formats import load_variant
from trainer.noise import RECORD, least_significant_difference
from trainer.proxy import run_proxy
from trainer.proxy_config import ProxyConfig


def main() -> None:
    """Measure, print and record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--variant", default="T")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--dataset", default="digits")
    parser.add_argument("--epochs", type=int, default=ProxyConfig().epochs)
    parser.add_argument("--train-fraction", type=float, default=ProxyConfig().train_fraction)
    arguments = parser.parse_args()
    proxy = ProxyConfig(dataset=arguments.dataset, epochs=arguments.epochs, train_fraction=arguments.train_fraction)
    rows = [measure(arguments.variant, proxy, seed) for seed in range(arguments.seeds)]
    print_rows(rows, [Column("seed", "seed"), *map(metric_column, ("top1", "loss", "seconds"))], format="table", title=f"{proxy}")
    top1 = [row["top1"] for row in rows]
    print(f"spread (standard deviation) {100 * statistics.stdev(top1):.2f} points of top-1 over {len(top1)} seeds")
    print(f"two single-seed trials differ by chance by up to {100 * least_significant_difference(top1):.1f} points (95 %)")
    record(arguments.variant, proxy, top1)


def measure(variant: str, proxy: ProxyConfig, seed: int) -> dict[str, Any]:
    """Final metrics of one seed."""
    *_, last = run_proxy(load_variant(variant), proxy, seed=seed)
    return {"seed": seed, **last.metrics}


def record(variant: str, proxy: ProxyConfig, top1: list[float]) -> None:
    """Put the measured values in the place of earlier ones of the same fidelity."""
    fidelity = {**proxy.fidelity(epochs=proxy.epochs, seed=0), "seed": None}
    others = [entry for entry in json.loads(RECORD.read_text(encoding="utf-8")) if entry["fidelity"] != fidelity]
    entry = {"variant": variant, "fidelity": fidelity, "top1": top1}
    RECORD.write_text(json.dumps([*others, entry], indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
