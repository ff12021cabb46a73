"""What a study is called, whether it is at work, and the few numbers that sum it up."""

import streamlit as st

from dashboard.page import Page
from dashboard.plain import as_text
from dashboard.quantities import shown
from dashboard.standing import best_value, candidates
from dashboard.tables import fidelities
from studies.fidelity import fidelity_text
from studies.records import METRICS, TrialState


def show_headline(page: Page) -> None:
    """The study's name, whether it is followed, and at what effort it was measured."""
    with st.container(horizontal=True, vertical_alignment="center"):
        st.header(as_text(page.study.name), anchor=False, width="content")
        if page.live:
            st.badge("live", icon=":material/sync:", color="green", help="follows the search by itself")
        else:
            st.button("Refresh", icon=":material/refresh:", type="tertiary", help="nothing happens here by itself: no search is at work")
    if measured := fidelity_text(fidelities(page.frame)):
        st.caption(as_text(measured))


def show_numbers(page: Page) -> None:
    """The best value, the size of the front and where the trials stand."""
    first, counts, rows = page.objectives[0], page.summary.counts, candidates(page.frame, page.study)
    numbers = {
        f"best {METRICS[first.metric].name}": shown(first.metric, best_value(rows, first)),
        "on the front": str(int(rows["on_front"].sum())),
        "complete": str(counts.get(TrialState.COMPLETE, 0)),
        "running": str(counts.get(TrialState.RUNNING, 0)),
        "queued": str(counts.get(TrialState.QUEUED, 0)),
    }
    with st.container(horizontal=True):
        for label, value in numbers.items():
            st.metric(label, value, border=True, width="stretch")
