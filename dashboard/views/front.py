"""The Pareto front of a study with the table of its trials."""

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from dashboard.charts import front_figure
from dashboard.plain import as_text
from dashboard.quantities import number_format
from dashboard.tables import trials_table
from studies.fidelity import fidelity_text
from studies.records import METRICS, Objective, Trial

CHART = {"displaylogo": False, "modeBarButtonsToRemove": ["select2d", "lasso2d"]}


def show_front(trials: Sequence[Trial], frame: pd.DataFrame, objectives: Sequence[Objective]) -> None:
    """The front as a figure, the effort at which it was measured, and the trials behind it."""
    front = [trial for trial, stands in zip(trials, frame["on_front"], strict=True) if stands] if trials else []
    if front:
        against = " against ".join(METRICS[objective.metric].name for objective in objectives)
        figure = front_figure(frame, objectives)
        st.plotly_chart(figure, key="front", config=CHART, alt=f"Pareto front of {len(front)} trials, {against}")
        if effort := fidelity_text(trial.fidelity for trial in front):
            st.caption(f"Fidelity: {as_text(effort)}. Costs are those of the full-size variant.")
    else:
        st.info("No trial is complete yet: the front appears with the first one.", icon=":material/hourglass_empty:")
    if trials:
        show_trials(trials_table(frame, objectives), objectives)


def show_trials(table: pd.DataFrame, objectives: Sequence[Objective]) -> None:
    """The table of trials with every metric in its unit."""
    if table.empty:
        return
    aims = {objective.metric: objective.direction for objective in objectives}
    columns = {
        "number": st.column_config.NumberColumn("trial", width=60, pinned=True),
        "front": st.column_config.TextColumn("front", width=55, help="★ stands on the Pareto front"),
        "variant": st.column_config.TextColumn("variant", help="C1, C′, L1, L3: channels, group channels, depths of stages 1 and 3"),
        **{m: st.column_config.NumberColumn(METRICS[m].name, format=number_format(m), help=_aim(aims.get(m))) for m in METRICS},
    }
    st.dataframe(table, hide_index=True, column_config=columns, key="trials", height=min(420, 38 + 35 * len(table)), alt="Table of trials")


def _aim(direction: str | None) -> str | None:
    return None if direction is None else f"an objective: {direction}"
