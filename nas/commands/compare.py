"""Print whether a search did better than chance."""

from collections.abc import Sequence

from nas.api import Study, open_study
from nas.compare import Comparison
from nas.compare import compare as held_against_chance
from nas.output import Column, Format, print_json, print_rows, print_text, text_column
from nas.samplers.choice import choose
from studies.rank_statistics import Interval
from studies.records import METRICS
from studies.store import Store

RANDOM = "random"


def compare(name: str, against: Sequence[str], orders: int, seed: int, store: str, format: Format) -> None:
    """Compare and print: everything as JSON, the two sides as CSV, sides and verdict for people."""
    if RANDOM in against and len(against) > 1:
        raise ValueError(f"--against takes random orders or random studies, not both: got {', '.join(against)}")
    opened = Store(store, create=False)
    others = [] if RANDOM in against else [open_study(other, store=opened) for other in dict.fromkeys(against)]
    study = open_study(name, store=opened)
    comparison = held_against_chance(study, others, orders=orders, seed=seed)
    if format == "json":
        print_json(comparison.to_dict())
        return
    _print_sides(comparison, format)
    if format == "table":
        print_text(
            verdict_text(comparison) + ("; an exhaustive study tries all in the space's order" if _exhaustive(study, comparison) else "")
        )


def verdict_text(comparison: Comparison) -> str:
    """`better than random: mean hypervolume less that of chance +8.1 (+2.0 to +13.9) points; chance does as well in ...`."""
    chance = comparison.chance
    cases = round(chance.p * (chance.orders + 1))
    return (
        f"{comparison.verdict}: mean hypervolume less that of chance {_points(chance.difference)} points; "
        f"chance does as well in {cases:,} of {chance.orders + 1:,} cases (p = {chance.p:.3f})"
    )


def _exhaustive(study: Study, comparison: Comparison) -> bool:
    """Whether a study held against random orders had no better order in mind itself."""
    return comparison.candidates is not None and choose(study.config, comparison.candidates, comparison.trials)[0] == "exhaustive"


def _print_sides(comparison: Comparison, format: Format) -> None:
    chance = ", ".join(comparison.against) or f"random orders of {comparison.candidates:,} candidates"
    sides = ((comparison.study, comparison.own), (chance, comparison.random))
    rows = [{"side": side, "mean": result.mean, "final": result.final} for side, result in sides]
    columns = [text_column("side", "search"), Column("mean", "mean hypervolume", _share), Column("final", "in the end", _share)]
    print_rows(rows, columns, format=format, title=f"Study {comparison.study} and chance", caption="\n".join(_captions(comparison)))


def _captions(comparison: Comparison) -> list[str]:
    worst = zip(comparison.objectives, comparison.reference, strict=True)
    metrics = ", ".join(f"{METRICS[each.metric].label} {METRICS[each.metric].show(value)}" for each, value in worst)
    spent = f"{comparison.budget:,.1f} {comparison.unit}"
    counted = "trials" if comparison.seeds == 1 else f"candidates (means over {comparison.seeds} seeds)"
    return [
        f"both within {spent}, {comparison.trials} {counted} of the study; shares of the hypervolume of all results, up to {metrics}",
        f"95 % interval and p from {comparison.chance.orders:,} draws, seed {comparison.seed}",
    ]


def _share(value: float) -> str:
    return f"{value:.1%}"


def _points(interval: Interval) -> str:
    value, low, high = (f"{100 * number:+.1f}" for number in (interval.value, interval.low, interval.high))
    return f"{value} ({low} to {high})"
