"""Learning curves of a study, one trial brought to the fore."""

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from dashboard.charts import curves_figure
from dashboard.views.front import CHART
from studies.records import METRICS, Objective

METRICS_SHOWN = ("top1", "top5", "loss")


def show_curves(study_id: int, frame: pd.DataFrame, reports: pd.DataFrame, objectives: Sequence[Objective]) -> None:
    """A curve a trial over its epochs, with a choice of the metric and of the trial in colour."""
    if reports.empty:
        st.info("No epoch has been reported yet: a curve appears with a trial's first one.", icon=":material/hourglass_empty:")
        return
    names = dict(zip(frame["number"], frame["variant"], strict=True))
    metrics = [metric for metric in METRICS_SHOWN if metric in reports]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        chosen = _choose_trial(study_id, sorted(set(reports["number"])), names, best=_best(frame, objectives[0]))
        metric = _choose_metric(study_id, metrics)
    figure = curves_figure(reports, metric=metric, names=names, chosen=chosen)
    st.plotly_chart(figure, key="curves", config=CHART, alt=f"{METRICS[metric].name} of every trial by epoch")


def _choose_trial(study_id: int, numbers: Sequence[int], names: dict[int, str], *, best: int | None) -> int:
    return st.selectbox(
        "Trial in colour",
        numbers,
        index=numbers.index(best) if best in numbers else 0,
        format_func=lambda number: f"{number} · {names.get(number, '–')}",
        key=f"trial-{study_id}",
        persist_state="session",
        width=260,
    )


def _choose_metric(study_id: int, metrics: Sequence[str]) -> str:
    return st.segmented_control(
        "Metric",
        metrics,
        default=metrics[0],
        required=True,
        format_func=_name,
        key=f"metric-{study_id}",
        persist_state="session",
    )


def _best(frame: pd.DataFrame, objective: Objective) -> int | None:
    complete = frame[frame["state"] == "COMPLETE"].dropna(subset=[objective.metric])
    if complete.empty:
        return None
    ranked = complete.sort_values([objective.metric, "number"], ascending=[objective.direction == "minimize", True])
    return int(ranked["number"].iloc[0])


def _name(metric: str) -> str:
    return METRICS[metric].name
