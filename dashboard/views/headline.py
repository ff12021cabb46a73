"""The few numbers that sum a study up."""

from collections.abc import Sequence

import streamlit as st

from dashboard.plain import as_text
from dashboard.tables import best_text
from studies.constraints import constraints_of
from studies.fidelity import fidelity_text
from studies.pareto import pareto_front
from studies.records import METRICS, Objective, StudySummary, Trial, TrialState


def show_headline(summary: StudySummary, trials: Sequence[Trial], objectives: Sequence[Objective], *, live: bool) -> None:
    """The study's name, its best value, the size of its front and where its trials stand."""
    with st.container(horizontal=True, vertical_alignment="center"):
        st.header(as_text(summary.study.name), anchor=False, width="content")
        if live:
            st.badge("live", icon=":material/sync:", color="green", help="follows the search by itself")
    if measured := fidelity_text(trial.fidelity for trial in trials):
        st.caption(as_text(measured))
    complete = [trial for trial in trials if trial.state is TrialState.COMPLETE]
    numbers = {
        f"best {METRICS[objectives[0].metric].name}": best_text(complete, objectives),
        "on the front": str(len(pareto_front(trials, objectives, constraints_of(summary.study)))),
        "complete": str(len(complete)),
        "running": str(summary.counts.get(TrialState.RUNNING, 0)),
        "queued": str(summary.counts.get(TrialState.QUEUED, 0)),
    }
    with st.container(horizontal=True):
        for label, value in numbers.items():
            st.metric(label, value, border=True, width="stretch")
