"""Two to four variants side by side: trials of the study, and published ones."""

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from dashboard.charts.curves import compared_curves_figure
from dashboard.charts.stages import stages_figure
from dashboard.comparison import (
    DIFFERS,
    MARK,
    WHAT,
    Compared,
    architecture_table,
    costs_table,
    fidelities,
    measured_table,
    of_preset,
    of_trial,
)
from dashboard.page import Page, choice, write
from dashboard.plain import as_text
from dashboard.plot import draw
from dashboard.views.curves import METRICS_SHOWN, best_trial
from searchspace.presets import PRESETS
from studies.frames import reports_frame
from studies.records import METRICS
from studies.spaces import space_of

COMPARE, WIDGET = "compare", "compare-variants"
FEWEST, MOST = 2, 4
TINT = "background-color: rgba(230, 159, 0, 0.18)"  # beside the sign, never instead of it


def show_compare(page: Page) -> None:
    """The choice of variants and what tells them apart."""
    chosen = _choose(page)
    if len(chosen) < FEWEST:
        st.info(f"Choose {FEWEST} to {MOST} trials of this study or published variants.", icon=":material/compare_arrows:")
        return
    columns = [of_preset(token) if token in PRESETS else of_trial(page.store.trial(page.study, int(token))) for token in chosen]
    space = space_of(page.study.config)
    sizes = {} if space is None else {name: getattr(space, name) for name in ("image_size", "num_classes", "batch_size")}
    _show_table("Architecture", architecture_table(columns))
    _show_stages(columns)
    _show_table("Cost", costs_table(columns, **sizes), "At full size; ratios are to the first column. Memory is that of training a batch.")
    _show_table("Measured", measured_table(columns), f"{fidelities(columns)} Differences are to the first trial.")
    _show_curves(page, columns)


def _choose(page: Page) -> list[str]:
    """What the address's `compare` names, by a list that writes it: numbers of trials and names of presets, separated by commas."""
    variants = page.frame.loc[page.frame["variant"] != "–", ["number", "variant", "state"]]
    labels = {str(number): f"trial {number} · {variant} · {state.lower()}" for number, variant, state in variants.itertuples(index=False)}
    labels |= {name: f"InternImage-{name}" for name in PRESETS}
    asked = [token for token in dict.fromkeys(st.query_params.get(COMPARE, "").split(",")) if token in labels][:MOST]
    if COMPARE not in st.query_params:
        asked = _at_first(page, labels)
        write(COMPARE, ",".join(asked))
    if st.session_state.get(WIDGET) != asked:
        st.session_state[WIDGET] = asked
    st.multiselect(
        "Variants",
        list(labels),
        format_func=labels.__getitem__,
        max_selections=MOST,
        key=WIDGET,
        on_change=lambda: write(COMPARE, ",".join(st.session_state[WIDGET])),
    )
    return asked


def _at_first(page: Page, known: Sequence[str] | dict[str, str]) -> list[str]:
    """The selected trial and the best one, or the best one and T."""
    best = [] if page.frame.empty else [best_trial(page.frame, page.objectives[0])]
    selected = [] if page.selected is None else [page.selected]
    trials = [str(number) for number in dict.fromkeys([*selected, *best]) if str(number) in known]
    return [*trials, "T", "S"][:FEWEST]


def _show_table(title: str, table: pd.DataFrame, caption: str = "") -> None:
    st.subheader(title, anchor=False)
    marked = table.style.apply(lambda row: [TINT if row[DIFFERS] else ""] * len(row), axis=1)
    columns = {
        DIFFERS: st.column_config.TextColumn("", width=24, help=f"{MARK} marks what differs"),
        WHAT: st.column_config.TextColumn("", width=130, pinned=True),
    }
    key = f"compare-{title.lower()}"
    st.dataframe(marked, hide_index=True, column_config=columns, key=key, height="content", alt=f"{title} of the variants side by side")
    if caption:
        st.caption(as_text(caption))


def _show_stages(columns: Sequence[Compared]) -> None:
    deepest = max(max(each.config.depths) for each in columns)
    places = st.columns(2)
    for i, each in enumerate(columns):
        with places[i % 2]:
            st.markdown(f"**{as_text(each.heading)}**")
            draw(stages_figure(each.config, deepest=deepest), f"compare-stages-{i}", alt=f"The four stages of {each.heading}")


def _show_curves(page: Page, columns: Sequence[Compared]) -> None:
    """The learning curves of the trials among them."""
    names = {each.trial.number: each.heading for each in columns if each.trial is not None}
    reports = reports_frame(page.store.reports(page.study, numbers=list(names))) if names else pd.DataFrame()
    metrics = [name for name in METRICS_SHOWN if name in reports and reports[name].notna().any()]
    if not metrics:
        return
    st.subheader("Learning curves", anchor=False)
    metric = choice("curve", metrics, metrics[0], label="Curve", show=lambda name: METRICS[name].name)
    draw(compared_curves_figure(reports, names, metric=metric), "compare-curves", alt=f"{METRICS[metric].name} by epoch of the trials")
