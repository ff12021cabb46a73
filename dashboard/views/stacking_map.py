"""The stacking map: which depths and group widths are best at each width."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import streamlit as st

from dashboard.charts.stacking_map import scale_figure, stacking_figures
from dashboard.page import Page, choice, open_trial
from dashboard.plot import draw
from dashboard.stacking_cells import Pick, Place, cells, infeasible_places, placed, varied
from studies.records import METRICS
from studies.spaces import space_of

FILL = "nas search --space stacking"
ACROSS = 3
MOST = 24  # maps; beyond that nobody looks
PICKS: Mapping[Pick, str] = {"best": "Best", "mean": "Mean"}


def show_stacking_map(page: Page) -> None:
    """One heat map a C1, or which command fills them."""
    trials = placed(page.frame)
    metrics = _metrics(page, trials)
    if not metrics:
        _show_empty(any_trials=len(trials) > 0)
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        metric = choice("metric", metrics, metrics[0], label="Colour", show=lambda name: METRICS[name].name, kind="list")
        several = varied(trials)
        pick: Pick = choice("cell", list(PICKS), "best", label="Several in a cell", show=PICKS.__getitem__) if several else "best"
    table = cells(trials, metric, pick, _reasons(json.dumps(page.study.config.get("space"))))
    _show_maps(table, metric)
    st.caption(_explained(metric, pick, several))


def _metrics(page: Page, trials: pd.DataFrame) -> list[str]:
    """The metrics that complete trials have, objectives first."""
    complete = trials[trials["state"] == "COMPLETE"]
    names = dict.fromkeys([*(objective.metric for objective in page.objectives), *METRICS])
    return [name for name in names if name in complete and complete[name].notna().any()]


def _show_maps(table: pd.DataFrame, metric: str) -> None:
    figures = stacking_figures(table, metric)
    if len(figures) > MOST:
        st.caption(f"The {MOST} smallest of {len(figures)} widths are shown.")
    columns: Sequence[Any] = st.columns(min(ACROSS, len(figures)))
    for i, (channels, figure) in enumerate(list(figures.items())[:MOST]):
        with columns[i % len(columns)]:
            st.markdown(f"**C1 = {channels}**")
            alt = f"{METRICS[metric].name} by L1 and C′ at C1 = {channels}"
            draw(figure, f"stacking-{channels}", alt=alt, on_click=open_trial)
    draw(scale_figure(table, metric), "stacking-scale", alt=f"Colour scale of {METRICS[metric].name}")


def _explained(metric: str, pick: Pick, several: Sequence[str]) -> str:
    seeds = "the mean over the seeds of each choice" if "seed" in several else "each value"
    others = [name for name in several if name != "seed"]
    way = f"; of several choices in a cell ({', '.join(others)}) the {pick} one" if others and pick == "best" else ""
    way = f"; of several choices in a cell ({', '.join(others)}) their mean" if others and pick == "mean" else way
    return (
        f"Complete trials only: {seeds}{way}. Brighter is better, ★ is the best of all maps, hatched cells are infeasible (hovering or "
        f"tapping tells why), empty ones have not been tried. A click on a value opens its trial."
    )


def _show_empty(*, any_trials: bool) -> None:
    if any_trials:
        st.info("No trial of this study is complete yet: the map appears with the first one.", icon=":material/hourglass_empty:")
    else:
        st.info(f"This study has no stacking variants to map. `{FILL}` searches them.", icon=":material/grid_on:")


@st.cache_data(max_entries=16, show_spinner=False)
def _reasons(space: str) -> dict[Place, str]:
    return infeasible_places(space_of({"space": json.loads(space)}))
