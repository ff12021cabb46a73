"""The dashboard's page: `streamlit run dashboard/app.py`, on the store that NAS_STORE names."""

import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import closing
from functools import partial
from importlib import import_module
from pathlib import Path

import streamlit as st
from starlette.middleware import Middleware
from streamlit.file_util import get_static_dir

from dashboard.address import STUDY, VIEW, choice, follow, open_study, write
from dashboard.delivery import Delivery, parts_of
from dashboard.head_start import head_start
from dashboard.live import is_live
from dashboard.page import Page, frame_of
from dashboard.plain import as_text
from dashboard.views.headline import show_headline
from studies.database import StoreError
from studies.records import DEFAULT_STORE, StudySummary
from studies.store import Store

REFRESH_S = 2
WAIT_S = 10  # between two looks of the overview for a search that may begin
EASY = 20_000  # trials, for a refresh within a fraction of REFRESH_S
FIRST_VIEW = "overview"
FILL = "nas search --space stacking"
VIEWS: Mapping[str, str] = {  # `show_NAME(page)` of dashboard.views.NAME, loaded when it is opened
    "overview": "Overview",
    "front": "Front",
    "stacking_map": "Stacking map",
    "scaling": "Scaling",
    "trial": "Trial",
    "compare": "Compare",
    "sampling": "Sampling points",
}
log = logging.getLogger(__name__)


def main() -> None:
    """The whole page."""
    st.set_page_config(page_title="Architecture search", layout="wide")
    follow()
    try:
        show_store()
    except ValueError as error:  # a damaged store may hold anything
        show_failure(error)


def open_store() -> Store:
    """The store, never made by looking at it; StoreError when it cannot be used."""
    return Store(os.environ.get("NAS_STORE") or DEFAULT_STORE, create=False)


def show_store() -> None:
    """The choice of a study and its page, which refreshes itself while there is something to follow."""
    with closing(open_store()) as store:
        summaries = store.studies()
    if not summaries:
        st.fragment(show_empty, run_every=REFRESH_S)()
        return
    names = [summary.study.name for summary in summaries]
    name = choose_study(names)
    every = interval(summaries, name, opened_view())
    st.fragment(show_page, run_every=every)(name, names, every=every)


def choose_study(names: Sequence[str]) -> str:
    """The study chosen beside the page, kept in the address so that a view can be shared; the newest at first."""
    asked = st.query_params.get(STUDY)
    if asked is not None and asked not in names:
        st.toast(f"No study {as_text(asked)} in this store; showing the newest.", icon=":material/info:")
    name = asked if asked is not None and asked in names else names[-1]
    if st.session_state.get(STUDY) != name:
        st.session_state[STUDY] = name
    st.sidebar.selectbox("Study", names, key=STUDY, on_change=lambda: open_study(st.session_state[STUDY]))
    if asked != name:
        write(STUDY, name)
    return name


def opened_view() -> str:
    """The view that the address names."""
    asked = st.query_params.get(VIEW, FIRST_VIEW)
    return asked if asked in VIEWS else FIRST_VIEW


def interval(summaries: Sequence[StudySummary], name: str, view: str) -> int | None:
    """After how many seconds the page refreshes: soon while what it shows is at work; only the overview waits for what may begin.

    Later for large studies: one refresh must have ended when the next begins.
    """
    shown = [summary for summary in summaries if view == FIRST_VIEW or summary.study.name == name]
    if live := [summary for summary in shown if is_live(summary)]:
        return REFRESH_S * (1 + max(sum(summary.counts.values()) for summary in live) // EASY)
    return WAIT_S if view == FIRST_VIEW else None


def show_page(name: str, names: Sequence[str], *, every: int | None) -> None:
    """The chosen study in one view; starts the whole page anew when another is asked for, studies came, or a search began or ended."""
    follow()
    try:
        with closing(open_store()) as store:
            summaries = store.studies()
            summary = next((summary for summary in summaries if summary.study.name == name), None)
            known = [each.study.name for each in summaries] == names and st.query_params.get(STUDY) == name
            if summary is None or not known or interval(summaries, name, opened_view()) != every:
                st.rerun()
            show_view(Page(store, summary, frame_of(store, summary), is_live(summary)))
    except ValueError as error:
        show_failure(error)


def show_view(page: Page) -> None:
    """The study's name, the navigation, and the view that is open."""
    show_headline(page)
    choice(VIEW, list(VIEWS), FIRST_VIEW, label="View", show=VIEWS.__getitem__, labelled=False)
    view = opened_view()
    getattr(import_module(f"dashboard.views.{view}"), f"show_{view}")(page)


def show_empty() -> None:
    """What to do about a store without studies, until there is one."""
    try:
        with closing(open_store()) as store:
            if store.studies():
                st.rerun()
    except ValueError as error:
        show_failure(error)
        return
    st.info(f"This store holds no study yet. `{FILL}` starts one.", icon=":material/science:")


def show_failure(error: ValueError) -> None:
    """The one message about a store that cannot be read, and another try."""
    log.debug("the page cannot be shown", exc_info=error)
    why = str(error) if isinstance(error, StoreError) else f"it holds what this program cannot read ({error})"
    st.error(as_text(why), icon=":material/database_off:", title="The store cannot be read")
    st.button("Retry", type="primary")


if __name__ == "__main__":  # Streamlit, for every page
    main()
elif __name__ == "app":  # its server, once
    parts, base = parts_of(Path(get_static_dir())), st.get_option("server.baseUrlPath")
    app = st.App(
        __file__,
        middleware=[Middleware(Delivery, parts=parts, base=base)],
        lifespan=partial(head_start, views=tuple(VIEWS), open_store=open_store),
    )
