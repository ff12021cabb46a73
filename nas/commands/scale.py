"""Scale a base to a family, print it beside the published one, and write its files."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast, get_args

import typer

from nas.api import open_study
from nas.family_table import print_family
from nas.output import Format
from nas.placing import place
from nas.scaling_sources import STUDY, variant_named
from searchspace.exponents import Exponents
from searchspace.family import Member, ScaleRule, check_rule, curve, pair_on, scaled_family, solve_phi
from searchspace.formats import FORMATS, VariantDocument, format_named, load_document
from searchspace.model_config import ModelConfig
from searchspace.sizes import Target
from studies.provenance import versions
from studies.store import Store

PRINTED: Sequence[str] = get_args(Format)
DEFAULT_PHI, DEFAULT_BASE, DEFAULT_PRINTED, DEFAULT_FILES = "1", "T", "table", "yaml"
MOST = 1000  # members of a family


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaleFlags:
    """What is scaled, by which pair and how far, as written on the command line."""

    phi: str | None
    target: str | None
    base: str | None
    study: str | None
    alpha: float | None
    beta: float | None


@dataclass(frozen=True, slots=True)
class Start:
    """The variant that is scaled, by which rule, and where the rule's pair is from."""

    document: VariantDocument
    rule: ScaleRule
    pair_from: str

    @property
    def base(self) -> ModelConfig:
        """The variant's architecture."""
        return self.document.config


def scale(flags: ScaleFlags, how: ScaleRule, format: str | None, out: Path | None, store: str) -> None:
    """Print the variants that compound scaling gives, the published family beside them, and with `out` write the files of the former."""
    kind = _checked(format, out)
    target = _target(flags)
    start = _start(flags, how, target, store)
    if target is None:
        members = scaled_family(start.base, parse_phis(flags.phi or DEFAULT_PHI), start.rule)
    else:
        members = [solve_phi(start.base, target.value, start.rule)]
    if out is None:
        print_family(members, start.base, start.rule, start.pair_from, cast(Format, kind))
        return
    made = [format_named(kind).write(_document(member, start)) for member in members]  # every text before the first file
    print_family(members, start.base, start.rule, start.pair_from, "table")
    for files in made:
        typer.echo(place(out, files))


def parse_phis(text: str) -> list[float]:
    """The φ of `1.74`, `1,2,3`, `0:6` (both ends included) or `0:2:0.5`; ValueError for what is none, and for more than 1000."""
    try:
        phis = [phi for part in text.split(",") for phi in _steps(*map(float, part.split(":")))]
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"malformed list of numbers {text!r}; write 1.74 or 1,2,3 or 0:6 or 0:2:0.5") from None
    if not 0 < len(phis) <= MOST:
        raise ValueError(f"a family has 1 to {MOST} members, got {len(phis)} with phi {text!r}; a range ascends, such as 0:6")
    return phis


def _steps(first: float, last: float | None = None, step: float = 1.0) -> list[float]:
    if last is None:
        return [first]
    if not step > 0:
        raise ValueError
    count = int((last - first) / step + 1e-9) + 1 if last >= first else 0
    return [round(first + index * step, 12) for index in range(min(count, MOST + 1))]


def _checked(format: str | None, out: Path | None) -> str:
    """How to print, or with a folder the kind of its files."""
    if out is None:
        known, says = PRINTED, "without --out FOLDER, --format says how to print"
    else:
        known, says = tuple(FORMATS), "with --out, --format is the kind of the files"
    if format is not None and format not in known:
        raise ValueError(f"{says}: {', '.join(known)}; got {format!r}")
    return format or (DEFAULT_PRINTED if out is None else DEFAULT_FILES)


def _start(flags: ScaleFlags, how: ScaleRule, target: Target | None, store: str) -> Start:
    """The base and the rule, which counts in the target's metric where there is a target."""
    if flags.study is not None:
        start = _fitted(flags, how, store)
        if target is None or target.metric == start.rule.metric:
            return start
        return replace(start, rule=replace(start.rule, metric=target.metric, exponents=None))
    document = _document_of(flags.base or DEFAULT_BASE, store)
    how = replace(how, metric=how.metric if target is None else target.metric)
    alpha, beta = pair_on(curve(document.config, how), flags.alpha, flags.beta)
    rule = replace(how, alpha=alpha, beta=beta)
    check_rule(document.config, rule)
    given = flags.alpha is not None or flags.beta is not None
    return Start(document, rule, "" if given else ", the paper's best pair")


def _fitted(flags: ScaleFlags, how: ScaleRule, store: str) -> Start:
    """A study's base, or the one that is named, with the pair and the metric of the law that was fitted to the study."""
    from nas.scaling_law import best_pair

    assert flags.study is not None, "asked by the caller"
    if flags.alpha is not None or flags.beta is not None:
        raise ValueError("--study takes the pair that was fitted to it, so it goes without --alpha and --beta")
    study = open_study(flags.study, store=Store(store, create=False))
    alpha, beta = best_pair(study.store, study.record)
    fit = study.store.fits.of(study.record)[0].content
    if flags.base is None:
        document = VariantDocument(f"{study.name}-base", ModelConfig.from_dict(fit["base_model"]), {"study": study.name})
    else:
        document = _document_of(flags.base, store)
    rule = replace(how, alpha=alpha, beta=beta, metric=fit["scale_metric"], exponents=Exponents(**fit["exponents"]))
    return Start(document, rule, f", fitted to study {study.name!r}")


def _document_of(text: str, store: str) -> VariantDocument:
    """A variant with its provenance, or with `study:NAME` the best of a study's front in its first objective."""
    if not text.startswith(STUDY):
        return load_document(text)
    name = text.removeprefix(STUDY)
    return VariantDocument(f"{name}-best", variant_named(text, store), {"study": name})


def _target(flags: ScaleFlags) -> Target | None:
    if flags.target is not None and flags.phi is not None:
        raise ValueError("--phi and --target exclude each other: a target decides phi")
    return None if flags.target is None else Target.parse(flags.target)


def _document(member: Member, start: Start) -> VariantDocument:
    """A member as files carry it, with what it was scaled from and by."""
    rule = start.rule
    provenance = {
        "scaled_from": {"name": start.document.name, "model": start.base.to_dict(), "origin": dict(start.document.provenance)},
        "phi": member.phi,
        "alpha": rule.alpha,
        "beta": rule.beta,
        "split": rule.split,
        **({"matched": {rule.metric: member.asked}} if rule.match else {}),
        "exported_with": dict(versions()),
    }
    return VariantDocument(f"{start.document.name}-phi-{member.phi:.10g}", member.config, provenance)
