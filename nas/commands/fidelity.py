"""Print a certificate of how well cheap proxies rank variants."""

from collections.abc import Sequence
from typing import Any

import typer

from nas.api import open_study
from nas.fidelity import TOP, Certificate, MeasuredSide, certificate
from nas.output import VARIANT, Column, Format, metric_column, print_json, print_rows, text_column
from searchspace.styles import style_of
from studies.fidelity import fidelity_text
from studies.ranking import Ranking, interval_text
from studies.records import METRICS
from studies.store import Store

SIDES = ("cheap", "reference")
NAMED = 8  # missing variants of one kind that a table names


def fidelity(cheap: Sequence[str], reference: Sequence[str], by: str, top: Sequence[int] | None, seed: int, store: str,
             format: Format) -> None:  # fmt: skip
    """Certify and print: everything as JSON, the variants with each seed's values as CSV, the whole certificate for people."""
    studies = Store(store, create=False)
    sides = ([open_study(name, store=studies) for name in names] for names in (cheap, reference))
    certified = certificate(*sides, top=top or TOP, seed=seed)
    if format == "json":
        print_json(certified.to_dict())
        return
    _print_variants(certified, by, format)
    if format == "table":
        ranking = certified.rankings[by]
        _print_rankings(ranking, seed)
        _print_regrets(ranking)
        typer.echo("\n".join(["Verdicts:", *(f"  {verdict}" for verdict in ranking.verdicts)]))


def _print_variants(certified: Certificate, by: str, format: Format) -> None:
    metric = METRICS[by]
    rows = sorted(_variant_rows(certified, by), key=lambda row: (row["reference_rank"], row["variant"]))
    measured = [Column(f"{side}_{by}", f"{side} {metric.label}", metric.show) for side in SIDES]
    places = [Column(f"{side}_rank", f"{side} rank") for side in SIDES]
    sizes = [metric_column(size, optional=True) for size in ("params", "flops")]
    single = [Column(key, key, plain=True) for key in rows[0] if "_seed_" in key]
    columns = [*VARIANT, *measured, *places, *sizes, *single]
    title = f"{len(rows)} variants by {metric.name}: means over seeds"
    print_rows(rows, columns, format=format, title=title, caption="\n".join(_captions(certified)))


def _variant_rows(certified: Certificate, by: str) -> list[dict[str, Any]]:
    ranking = certified.rankings[by]
    return [
        {
            "variant": scores.model.short_name,
            "style": style_of(scores.model),
            "params": scores.params,
            "flops": scores.flops,
            **{f"{side}_{by}": getattr(ranking, side)[i] for side in SIDES},
            **{f"{side}_rank": getattr(ranking, f"{side}_ranks")[i] for side in SIDES},
            **{
                f"{side}_{by}_seed_{seed}": value
                for side in SIDES
                for seed, value in zip(getattr(certified, side).seeds, getattr(scores, side)[by], strict=True)
            },
        }
        for i, scores in enumerate(certified.variants)
    ]


def _captions(certified: Certificate) -> list[str]:
    lines = [f"{role}: {_side_text(side)}" for role, side in (("cheap", certified.cheap), ("reference", certified.reference))]
    if certified.cost_ratio is not None:
        lines.append(f"a reference trial trains as long as {certified.cost_ratio:.1f} cheap ones")
    return lines + _missing_lines(certified)


def _missing_lines(certified: Certificate) -> list[str]:
    """One line for each set of studies that lack variants."""
    by_studies: dict[tuple[str, ...], list[str]] = {}
    for model, names in certified.missing.items():
        by_studies.setdefault(names, []).append(model.short_name)
    return [f"left out, not complete in {', '.join(names)}: {len(variants)} ({_some(variants)})" for names, variants in by_studies.items()]


def _some(variants: Sequence[str]) -> str:
    more = f" and {len(variants) - NAMED} more, named by --format json" if len(variants) > NAMED else ""
    return "; ".join(variants[:NAMED]) + more


def _side_text(side: MeasuredSide) -> str:
    seeds = f"seed{'s' if len(side.seeds) > 1 else ''} {', '.join(map(str, side.seeds))}"
    time = "time unknown" if side.seconds is None else f"{side.seconds:.1f} s a trial, {side.seconds_per_variant:.1f} s a variant"
    return f"{fidelity_text([side.fidelity])}; {seeds}; {time} ({', '.join(side.studies)})"


def _print_rankings(ranking: Ranking, seed: int) -> None:
    own = {"ranking": "cheap proxy", "tau": interval_text(ranking.tau), "lead": ""}
    rivals = [{"ranking": rival.name, "tau": interval_text(rival.tau), "lead": interval_text(rival.lead)} for rival in ranking.rivals]
    columns = [text_column("ranking", "ranking"), text_column("tau", "τ-b with the reference"), text_column("lead", "proxy's lead")]
    caption = f"95 % BCa bootstrap intervals over variants, seed {seed}"
    print_rows([own, *rivals], columns, format="table", title=f"Agreement by {METRICS[ranking.metric].name}", caption=caption)


def _print_regrets(ranking: Ranking) -> None:
    metric = METRICS[ranking.metric]
    rows = [{"k": regret.k, "proxy": regret.proxy, "random": regret.random} for regret in ranking.regrets]
    columns = [Column("k", "best k"), Column("proxy", "by the proxy", metric.show), Column("random", "at random", metric.show)]
    unit = f"points of {metric.name}" if metric.scale == 0.01 else metric.label
    print_rows(rows, columns, format="table", title=f"Regret in {unit}", caption="what the reference's best of k lacks to its best of all")
