"""Does the fitted scaling law keep its word? Run `python -m benchmarks.scaling_law [--replicates N] [--real STORE STUDY]`.

Without `--real`, studies of the default scaling space are simulated from known laws and noise, each fitted as `nas fit` does. Counted is
how often the 90 % interval of the best share of depth (and with it of α and β) holds the truth, how often the 90 % bands hold a new
training inside and beyond the range of φ, and how often a best pair is named: rightly, or where there is none to find.
With `--real`, the largest φ of a stored study is held out and predicted from the others.
"""

import argparse
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, get_args

import numpy as np

from nas.api import Study, open_study
from nas.errors import NasError
from nas.output import Column, print_rows, text_column
from nas.scaling_form import Floats, Law, Sample
from nas.scaling_inference import Inference, Repeats, infer
from nas.scaling_law import law_of
from nas.scaling_points import Growth, LawMetric, Point, points_of, sample_of
from nas.scaling_refusal import why_constant, why_no_best, why_no_law
from searchspace.scaled_base import ScaledBase
from searchspace.spaces import scaling_space

RESULTS = Path(__file__).parent / "results"
FLOOR, AMPLITUDE, DECAY = 0.10, 0.45, 0.35  # an error of 55 % at the base, 27 % at 16 times its size
INSIDE, BEYOND = (0.0, 1.0, 2.0, 3.0, 4.0), (5.0, 6.0)
SEARCHED = (1.0, 1.4)  # α of the default space


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A truth (its best α and how much an excess grows with the distance from it), and how it is measured.

    `offset` puts the base so many doublings of depth off the best shape, which the law does not provide for: the best share then depends on
    φ, and the interval is held against that of the largest φ.
    """

    name: str
    alpha: float = 1.09
    curvature: float = 0.3
    amplitude: float = AMPLITUDE
    noise: float = 0.01
    seeds: int = 1
    lattice: str = "coarse"
    offset: float = 0.0

    def law(self, growth: Growth) -> Law:
        """The truth."""
        share = growth.scaled.exponents.depth * math.log2(self.alpha)
        return Law(FLOOR, self.amplitude, DECAY, self.curvature, share)


CASES = (
    Case(name="ordinary"),
    Case(name="noisy", noise=0.02),
    Case(name="quiet, 3 seeds", noise=0.005, seeds=3),
    Case(name="2 seeds", seeds=2),
    Case(name="noisy, 3 seeds", noise=0.02, seeds=3),
    Case(name="fine lattice", lattice="fine"),
    Case(name="sharp", alpha=1.15, curvature=2.0),
    Case(name="sharp, quiet, 3 seeds", alpha=1.15, curvature=2.0, noise=0.005, seeds=3),
    Case(name="low edge", alpha=1.02),
    Case(name="low edge, noisy, 3 seeds", alpha=1.02, noise=0.02, seeds=3),
    Case(name="high edge", alpha=1.33),
    Case(name="weak", curvature=0.1),
    Case(name="weak, noisy", curvature=0.1, noise=0.02),
    Case(name="no preference", curvature=0.0),
    Case(name="no preference, noisy, 3 seeds", curvature=0.0, noise=0.02, seeds=3),
    Case(name="constant", amplitude=0.0),
    Case(name="base off the best shape", offset=0.25),
)


@dataclass(frozen=True, slots=True)
class Design:
    """The variants of a scaling space as the law sees them: φ by exact cost, and how many of its doublings went into depth."""

    growth: Growth
    phi: Floats
    depth: Floats


@cache
def design(lattice: str = "coarse") -> Design:
    """The feasible variants of the default scaling space: the base, and three to twelve widths at each φ."""
    space = scaling_space(lattice=lattice)  # type: ignore[arg-type]
    assert space.base is not None
    assert space.scaling is not None
    growth = Growth(ScaledBase(space.base, space.scaling, space.image_size, space.num_classes, space.batch_size))
    configs = [candidate.config for candidate in space.feasible() if candidate.config is not None]
    phi = np.array([math.log2(growth.cost(config) / growth.cost(space.base)) for config in configs])
    return Design(growth, phi, phi * np.array([growth.share(config) or 0.0 for config in configs]))


def replicate(case: Case, rng: np.random.Generator) -> dict[str, Any]:
    """One simulated study: whether the intervals hold the truth, and whether a best pair is named."""
    plan = design(case.lattice)
    truth = case.law(plan.growth)
    values = truth.at(plan.phi, plan.depth - case.offset)[:, None] + rng.normal(0, case.noise, (len(plan.phi), case.seeds))
    values = np.maximum(values, 0.0)
    sample = Sample(plan.phi, plan.depth, values.mean(1), np.full(len(plan.phi), float(case.seeds)))
    found = infer(sample, Repeats.of(values.tolist()))
    low, high = found.share
    held = [_holds(found, truth, case, phi, rng) for phi in (*INSIDE, *BEYOND)]
    return {
        "share": low <= truth.share + case.offset / plan.phi.max() <= high,
        "named": why_constant(found) is None and why_no_best(found, SEARCHED) is None,
        "width": max(0.0, high - low),
        "inside": np.mean(held[: len(INSIDE)]),
        "beyond": np.mean(held[len(INSIDE) :]),
        "seeds": found.noise.source == "seeds",
    }


def _holds(found: Inference, truth: Law, case: Case, phi: float, rng: np.random.Generator) -> bool:
    """Whether the band at φ holds a new training of the shape that was found best."""
    depth = found.best_share * phi
    low, high = found.band(phi, depth)
    return bool(low <= truth.at(phi, depth - case.offset) + rng.normal(0, case.noise) <= high)


def row(case: Case, replicates: int, seed: int) -> dict[str, Any]:
    """Shares over the replicates; of those that name a best pair also how often the interval holds the truth."""
    rng = np.random.default_rng(seed)
    found = [replicate(case, rng) for _ in range(replicates)]
    named = [each["share"] for each in found if each["named"]]
    return {
        **asdict(case),
        "coverage": float(np.mean([each["share"] for each in found])),
        "named": len(named) / replicates,
        "coverage_named": float(np.mean(named)) if named else None,
        "width": float(np.median([each["width"] for each in found])),
        "inside": float(np.mean([each["inside"] for each in found])),
        "beyond": float(np.mean([each["beyond"] for each in found])),
        "noise_from_seeds": float(np.mean([each["seeds"] for each in found])),
    }


def simulated(replicates: int, file: Path) -> None:
    """Simulate every case, print and write."""
    rows = [row(case, replicates, seed) for seed, case in enumerate(CASES)]
    columns = [
        text_column("name", "case"),
        Column("alpha", "α", "{:.2f}".format),
        Column("curvature", "κ"),
        Column("noise", "noise", "{:.1%}".format),
        Column("seeds", "seeds"),
        Column("coverage", "interval holds", "{:.1%}".format),
        Column("named", "pair named", "{:.1%}".format),
        Column("coverage_named", "holds if named", "{:.1%}".format),
        Column("width", "width", "{:.3f}".format),
        Column("inside", "band inside", "{:.1%}".format),
        Column("beyond", "beyond", "{:.1%}".format),
    ]
    title = f"{replicates} simulated studies a case; intervals and bands of 90 %"
    print_rows(rows, columns, format="table", title=title)
    settings = {"replicates": replicates, "floor": FLOOR, "decay": DECAY, "inside": INSIDE, "beyond": BEYOND}
    _write(file, {**settings, "cases": rows})


def held_out(study: Study, metric: LawMetric) -> dict[str, Any]:
    """The variants of the largest φ as predicted from the others; NasError where these tell no law."""
    points, _ = points_of(study, metric)
    largest = max((point.asked_phi for point in points), default=0.0)
    known, hidden = ([point for point in points if (point.asked_phi == largest) is last] for last in (False, True))
    if refused := why_no_law(known):
        raise NasError(f"study {study.name!r} without phi {largest:g}: {refused}")
    found = infer(sample_of(known), Repeats.of([point.values for point in known]))
    rows = [_predicted(found, point) for point in hidden]
    errors = np.array([each["predicted"] - each["measured"] for each in rows])
    return {
        "metric": metric,
        "held_out_phi": largest,
        "fitted": len(known),
        "law": asdict(found.law),
        "noise": asdict(found.noise),
        "no_better_than_constant": why_constant(found),
        "rows": rows,
        "held": int(sum(each["held"] for each in rows)),
        "mean_error": float(errors.mean()),
        "root_mean_square_error": float(np.sqrt((errors**2).mean())),
        "nearest_size_root_mean_square_error": _without_a_law(known, hidden),
    }


def _predicted(found: Inference, point: Point) -> dict[str, Any]:
    low, high = found.band(point.phi, point.depth, trainings=len(point.values))
    predicted = float(found.law.at(point.phi, point.depth))
    held = bool(low <= point.value <= high)
    measured = {"variant": point.config.short_name, "share": point.share, "trainings": len(point.values), "measured": point.value}
    return {**measured, "predicted": predicted, "low": low, "high": high, "held": held}


def _without_a_law(known: Sequence[Point], hidden: Sequence[Point]) -> float:
    """The error of taking the mean at the largest φ that was not held out for the prediction."""
    last = max(point.asked_phi for point in known)
    guess = np.mean([point.value for point in known if point.asked_phi == last])
    return float(np.sqrt(np.mean([(guess - point.value) ** 2 for point in hidden])))


def real(store: str, name: str, file: Path) -> None:
    """Hold out the largest φ of a stored study, for the error and the loss; print and write that, and what the whole study tells."""
    study = open_study(name, store=store)
    found = [
        {"held_out": held_out(study, metric), "whole": law_of(points_of(study, metric)[0], Growth.of(study))}
        for metric in get_args(LawMetric)
    ]
    for each in found:
        _print_held_out(each["held_out"])
        _print_whole(each["whole"])
    _write(file, {"study": name, "fidelity": study.config.fidelity(), "seeds": study.config.seeds, "metrics": found})


def _print_held_out(held: dict[str, Any]) -> None:
    measures = [Column(key, key, "{:.4f}".format) for key in ("measured", "predicted", "low", "high")]
    columns = [text_column("variant", "C1,C',L1,L3"), *measures, Column("held", "held")]
    title = f"{held['metric']} at φ = {held['held_out_phi']:g}, predicted from the {held['fitted']} variants below"
    print_rows(held["rows"], columns, format="table", title=title)
    print(f"{held['held']} of {len(held['rows'])} in their 90 % bands, which share one law: they are right or wrong together")
    print(f"root mean square error {held['root_mean_square_error']:.4f}, mean {held['mean_error']:+.4f}; "
          f"without a law, from the next smaller φ: {held['nearest_size_root_mean_square_error']:.4f}")  # fmt: skip
    if held["no_better_than_constant"]:
        print(f"the law below: {held['no_better_than_constant']}")


def _print_whole(whole: dict[str, Any]) -> None:
    best = whole["best"]
    if best is None:
        print(f"all φ: {whole['refused']}\n")
        return
    low, high = (best[side]["alpha"] for side in ("low", "high"))
    print(f"all φ: best α {best['alpha']:.3f} ({low:.3f} to {high:.3f}), R² {whole['r2']:.3f}, noise from {whole['noise_source']}\n")


def _write(file: Path, values: Any) -> None:
    file.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    """Simulate, or hold out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replicates", type=int, default=500)
    parser.add_argument("--real", nargs=2, metavar=("STORE", "STUDY"))
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if arguments.real:
        try:
            store, study = arguments.real
            real(store, study, arguments.json or RESULTS / "scaling-law-real.json")
        except ValueError as error:
            raise SystemExit(f"scaling_law: {error}") from None
    else:
        simulated(arguments.replicates, arguments.json or RESULTS / "scaling-law.json")


if __name__ == "__main__":
    main()
