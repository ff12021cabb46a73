"""Where a trial's trained network looks: its sampling points over an image, and what each stage sees."""

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import streamlit as st

from dashboard.charts.sampling import Query, chained_points, most_levels, receptive_figure, sampling_figure
from dashboard.page import Page, choice, write
from dashboard.plain import as_text
from dashboard.plot import draw
from studies.fidelity import fidelity_text
from studies.inspections import INSPECTION, WHEN, Inspection, InspectionError, Layer, open_inspection
from studies.records import Artifact

AT = "at"
ALL = "all"


def show_sampling(page: Page) -> None:
    """The points and fields of an inspected trial, or which command looks into one."""
    files = page.store.artifacts.of(page.study)
    inspected = {artifact.trial: artifact for artifact in files if artifact.kind == INSPECTION}
    if page.selected not in inspected and (page.selected is not None or not inspected):
        _show_command(page, files)
    if not inspected:
        return
    names = dict(zip(page.frame["number"], page.frame["variant"], strict=True))
    numbers = sorted(inspected)
    trial = choice("trial", numbers, numbers[0], label="Trial", show=lambda n: f"{n} · {names.get(n, '–')}", kind="list")
    try:
        found = open_inspection(inspected[trial])
        _show_points(found)
        _show_fields(found)
    except InspectionError as error:
        st.error(as_text(str(error)), icon=":material/broken_image:")


def _show_points(found: Inspection) -> None:
    layer, stacked, number = _choose_layer(found)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        groups = [ALL, *range(1, layer.groups + 1)]
        group = choice("group", groups, ALL, label="Group", show=lambda g: "all" if g == ALL else f"{g} of {layer.groups}", kind="list")
        chosen = range(layer.groups) if group == ALL else [int(group) - 1]
        deepest = most_levels(len(chosen), layer.points, layer.block)
        levels = choice("levels", range(1, deepest + 1), 1, label="Blocks followed") if deepest > 1 else 1
    query = _query(found, layer)
    below = [found.points(number, each) for each in stacked[:levels]]
    figure = sampling_figure(found.image(number), chained_points(below, query.pixel, list(chosen)), query)
    alt = f"Sampling points of stage {layer.stage}, block {layer.block} over {found.facts['images'][number]}"
    draw(figure, "sampling", alt=alt, on_click=lambda pixel: _look_from(pixel, query))
    st.caption(_explained(found.facts, query))


def _choose_layer(found: Inspection) -> tuple[Layer, list[Layer], int]:
    """The layer that is shown, itself with those below it in its stage from the top down, and the number of the image."""
    stages = sorted({layer.stage for layer in found.layers})
    images: Sequence[str] = found.facts["images"]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        number = 0
        if len(images) > 1:
            number = choice("image", range(len(images)), 0, label="Image", show=lambda n: images[n], kind="list")
        stage = choice("stage", stages, 3 if 3 in stages else stages[-1], label="Stage")
        blocks = [layer for layer in found.layers if layer.stage == stage]
        numbers = [layer.block for layer in blocks]
        block = choice("block", numbers, numbers[-1], label="Block", show=lambda b: f"{b} of {len(numbers)}", kind="list")
    stacked = [layer for layer in reversed(blocks) if layer.block <= block]
    return stacked[0], stacked, number


def _query(found: Inspection, layer: Layer) -> Query:
    """The output pixel nearest to the place in the address, at first the one that was asked for."""
    stride, (height, width) = found.facts["strides"][layer.stage - 1], layer.size
    x, y = _place(found.facts["image_size"]) or found.facts["centres"][layer.stage - 1]
    column, row = min(int(x / stride + 0.5), width - 1), min(int(y / stride + 0.5), height - 1)
    return Query(pixel=(column, row), stride=stride, size=layer.size)


def _place(side: int) -> tuple[int, int] | None:
    """The place x, y in the image that the address names."""
    words = st.query_params.get(AT, "").split(",")
    if len(words) != 2 or not all(word.isdecimal() and len(word) < 6 for word in words):
        return None
    x, y = map(int, words)
    return (x, y) if max(x, y) < side else None


def _look_from(pixel: int, query: Query) -> None:
    row, column = divmod(pixel, query.size[1])
    write(AT, f"{column * query.stride},{row * query.stride}")


def _show_fields(found: Inspection) -> None:
    rows = found.facts["stages"]
    st.subheader("Effective receptive field", anchor=False)
    fields = {when: found.receptive_fields(when) for when in WHEN}
    draw(receptive_figure(fields, rows, found.facts["centres"]), "receptive", alt="Effective receptive field of each stage")
    st.caption(
        "How strongly each pixel of the image moves one output pixel of a stage, on a logarithmic scale of each map's own maximum; the "
        "circles hold half and nine tenths of it. The table has their radii in pixels, and the reach: how far points lie from their output "
        "pixel on average, weighted by modulation."
    )
    st.dataframe(_table(rows), hide_index=True, key="stages-reached", alt="Reach of each stage before and after training")


def _table(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Reach and radii in input pixels, before and after training."""
    measures = {"reach": "reach", "radius_50": "half", "radius_90": "nine tenths"}
    return pd.DataFrame(
        [
            {
                "stage": row["stage"],
                "stride": row["stride"],
                **{f"{name} {when}": _rounded(row[f"{key}_{when}"]) for key, name in measures.items() for when in WHEN},
            }
            for row in rows
        ]
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)


def _explained(facts: Mapping[str, Any], query: Query) -> str:
    measured = fidelity_text([facts["fidelity"]])
    return (
        f"{as_text(facts['network'])} as trained: {as_text(measured)}. The star is one output pixel of the stage, {query.stride} pixels "
        "from the next; a click chooses another. Points grow with their modulation; those outside the image read zeros. Blocks followed: "
        "where the blocks below sample at each of these points, in the same group, from the nearest pixel."
    )


def _show_command(page: Page, files: Sequence[Artifact]) -> None:
    """What to do about a trial, or a study, that nobody has looked into."""
    kept = [artifact.trial for artifact in files if artifact.kind != INSPECTION]
    number = page.selected if page.selected is not None else kept[0] if kept else None
    what = "No trial of this study has been inspected" if page.selected is None else f"Trial {page.selected} has not been inspected"
    st.info(f"{what}. This records where its network samples an image:", icon=":material/center_focus_strong:")
    st.code(f"nas inspect {shlex.quote(page.study.name)} --trial {'N' if number is None else number} --image PATH", language="bash")
    if number not in kept:
        st.caption("It needs the trained weights: a search keeps those of its front, with `--keep-weights all` those of every trial.")
