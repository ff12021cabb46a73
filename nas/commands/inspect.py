"""Inspect a trial's network and print what its stages reach."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nas.api import open_study
from nas.inspection import Look
from nas.inspection import inspect as inspect_trial
from nas.output import Column, Format, print_rows
from studies.fidelity import fidelity_text
from studies.inspections import INSPECTION
from studies.store import Store

PIXELS = "{:,.1f}".format
COLUMNS = (
    Column("stage", "stage"),
    Column("stride", "stride (px)"),
    Column("reach_before", "points reach before", PIXELS),
    Column("reach_after", "after (px)", PIXELS),
    Column("farthest_before", "farthest before", PIXELS, plain=True),
    Column("farthest_after", "after (px)", PIXELS, plain=True),
    Column("radius_50_before", "half the ERF before", PIXELS),
    Column("radius_50_after", "after (px)", PIXELS),
    Column("radius_90_before", "90 % of it before", PIXELS),
    Column("radius_90_after", "after (px)", PIXELS),
)


def look(images: Sequence[str], stages: Sequence[int] | None, at: str | None, weights: Path | None) -> Look:
    """What the flags ask for; ValueError for a place that is not X,Y."""
    chosen: dict[str, Any] = {"stages": tuple(stages)} if stages else {}
    return Look(images=tuple(images), at=None if at is None else _place(at), weights=weights, **chosen)


def inspect(name: str, trial: int, what: Look, store: str, format: Format) -> None:
    """Inspect and print a row for each stage."""
    study = open_study(name, store=Store(store, create=False))
    replaces = any(file.trial == trial and file.kind == INSPECTION for file in study.artifacts())
    found = inspect_trial(study, trial, what)
    title = f"Trial {trial} of study {name!r}, before and after its training"
    print_rows(found.facts["stages"], COLUMNS, format=format, title=title, caption=_caption(found.facts, found.artifact.path, replaces))


def _caption(facts: Mapping[str, Any], file: Path, replaces: bool) -> str:
    side = facts["image_size"]
    return (
        f"points: mean distance from their output pixel, weighted by modulation; ERF: radius around it with that share of the gradient\n"
        f"{facts['network']} ({fidelity_text([facts['fidelity']])}) on {', '.join(facts['images'])}, {side} × {side} px\n"
        f"{file}{', in place of its record before' if replaces else ''}"
    )


def _place(text: str) -> tuple[int, int]:
    if not re.fullmatch(r"\d{1,5},\d{1,5}", text):
        raise ValueError(f"--at reads X,Y in pixels from the image's upper left corner, such as 112,96, got {text!r}")
    x, y = map(int, text.split(","))
    return x, y
