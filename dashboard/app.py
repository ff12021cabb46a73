"""The dashboard's page: `streamlit run dashboard/app.py`, on the store that NAS_STORE names."""

import os
from collections.abc import Sequence
from contextlib import closing

import streamlit as st

from dashboard.live import any_live, is_live
from dashboard.plain import as_text
from dashboard.views.curves import show_curves
from dashboard.views.front import show_front
from dashboard.views.headline import show_headline
from dashboard.views.left_out import show_left_out
from dashboard.views.overview import show_overview
from studies.constraints import constraints_of
from studies.database import StoreError
from studies.frames import reports_frame, trials_frame
from studies.records import DEFAULT_STORE, StudySummary
from studies.store import Store

REFRESH_S = 2
FILL = "nas search --space stacking"


def main() -> None:
    """The whole page."""
    st.set_page_config(page_title="Architecture search", layout="wide")
    try:
        show_store()
    except StoreError as error:
        show_failure(error)


def open_store() -> Store:
    """The store, never made by looking at it; StoreError when it cannot be used."""
    return Store(os.environ.get("NAS_STORE") or DEFAULT_STORE, create=False)


def show_store() -> None:
    """The choice of a study and its page, which refreshes itself while a study is at work."""
    with closing(open_store()) as store:
        summaries = store.studies()
    if not summaries:
        show_empty()
        return
    names = [summary.study.name for summary in summaries]
    live = any_live(summaries)
    st.fragment(show_page, run_every=REFRESH_S if live else None)(choose_study(names), names, live=live)


def choose_study(names: Sequence[str]) -> str:
    """The study chosen beside the page, kept in the address so that a view can be shared; the newest at first."""
    asked = st.query_params.get("study")
    if asked is not None and asked not in names:
        st.toast(f"No study {as_text(asked)} in this store; showing the newest.", icon=":material/info:")
    name = st.sidebar.selectbox("Study", names, index=names.index(asked) if asked in names else len(names) - 1, key="study")
    st.query_params["study"] = name
    return name


def show_page(name: str, names: Sequence[str], *, live: bool) -> None:
    """The chosen study in tabs; starts the whole page anew when studies came or the search began or ended."""
    try:
        with closing(open_store()) as store:
            summaries = store.studies()
            if [summary.study.name for summary in summaries] != names or any_live(summaries) != live:
                st.rerun()
            show_study(store, summaries, next(summary for summary in summaries if summary.study.name == name))
    except StoreError as error:
        show_failure(error)


def show_study(store: Store, summaries: Sequence[StudySummary], summary: StudySummary) -> None:
    """Headline and tabs; only the open tab is drawn."""
    objectives = summary.study.objectives
    trials = store.trials(summary.study)
    frame = trials_frame(trials, objectives, constraints_of(summary.study))
    show_headline(summary, trials, objectives, live=is_live(summary))
    front, curves, studies = st.tabs(["Pareto front", "Learning curves", "All studies"], key="view", bind="query-params")
    if front.open:
        with front:
            show_front(trials, frame, objectives)
            show_left_out(frame)
    if curves.open:
        with curves:
            show_curves(summary.study.id, frame, reports_frame(store.reports(summary.study)), objectives)
    if studies.open:
        with studies:
            show_overview(store, summaries)


def show_empty() -> None:
    """What to do about a store without studies."""
    st.info(f"This store holds no study yet. `{FILL}` starts one.", icon=":material/science:")
    st.button("Refresh")


def show_failure(error: StoreError) -> None:
    """The one message about a store that cannot be read, and another try."""
    st.error(as_text(str(error)), icon=":material/database_off:", title="The store cannot be read")
    st.button("Retry", type="primary")


if __name__ == "__main__":
    main()
