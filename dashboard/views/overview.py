"""All studies of the store: how far they are, what they have found and taken, and what runs now."""

from datetime import UTC, datetime

import streamlit as st

from dashboard.address import open_study
from dashboard.charts.ledger import ledger_figure
from dashboard.live import is_live
from dashboard.page import Page, frame_of
from dashboard.plot import draw
from dashboard.standing import standing
from dashboard.tables import StudyLine, fidelities, in_order, running_table, studies_table
from studies.fidelity import fidelity_text
from studies.records import StudySummary, TrialState

DRAWN = 12  # studies; more bars are no longer read
TABLE = "studies"


def show_overview(page: Page) -> None:
    """The table of studies, the trials that run, and where device time went."""
    summaries = page.store.studies()
    spent = {summary.study.name: page.store.ledger.of(summary.study) for summary in summaries}
    lines = [_line(page, summary, sum(spent[summary.study.name].values())) for summary in summaries]
    _show_studies(lines)
    _show_running(page, lines)
    _show_ledger({line.summary.study.name: spent[line.summary.study.name] for line in in_order(lines)})


def _line(page: Page, summary: StudySummary, device_seconds: float) -> StudyLine:
    frame = frame_of(page.store, summary)
    measured_on = fidelity_text(fidelities(frame))
    return StudyLine(summary, standing(frame, summary.study), is_live(summary), measured_on, device_seconds)


def _show_studies(lines: list[StudyLine]) -> None:
    objective = "the best value of each study's first objective"
    volume = "how much of the box between the worst and the best values measured the front dominates"
    left = "until the trials that run, wait or remain of a small space are done; a search may have been asked for fewer"
    columns = {
        "study": st.column_config.TextColumn("study", pinned=True, width="medium"),
        "status": st.column_config.TextColumn("status", width=60),
        "progress": st.column_config.ProgressColumn(
            "done", format="%.0f%%", min_value=0, max_value=100, help="of the trials known, or of all choices of a small space"
        ),
        "best": st.column_config.TextColumn("best", help=objective, alignment="right"),
        "hypervolume": st.column_config.NumberColumn("hypervolume", format="%.3f", help=volume),
        "time left": st.column_config.TextColumn("time left", help=left, alignment="right"),
        "device time": st.column_config.TextColumn("device time", alignment="right"),
        "updated": st.column_config.DatetimeColumn("updated", format="distance"),
        **{state.value: st.column_config.NumberColumn(state.value.lower(), width="small") for state in TrialState},
    }
    table = studies_table(lines)
    names = table["study"].tolist()
    st.subheader("Studies", anchor=False)
    st.dataframe(
        table,
        hide_index=True,
        column_config=columns,
        key=TABLE,
        alt="Table of studies",
        on_select=lambda: _open(names),
        selection_mode="single-cell",
    )
    st.caption("A click on a study turns to it.")


def _open(names: list[str]) -> None:
    if cells := st.session_state[TABLE].selection.cells:
        open_study(names[cells[0][0]])


def _show_running(page: Page, lines: list[StudyLine]) -> None:
    at_work = [line.summary.study for line in in_order(lines) if line.summary.running]
    st.subheader("Running now", anchor=False)
    if not at_work:
        st.caption("No trial is running.")
        return
    running = {study.name: page.store.trials(study, states=[TrialState.RUNNING]) for study in at_work}
    epochs = {study.name: (study.config.get("proxy") or {}).get("epochs") for study in at_work}
    table = running_table(running, epochs, now=datetime.now(UTC))
    st.dataframe(table, hide_index=True, key="running", alt="Trials that run now and their workers")


def _show_ledger(spent: dict[str, dict[str, float]]) -> None:
    known = {name: categories for name, categories in spent.items() if sum(categories.values()) > 0}
    st.subheader("Device time", anchor=False)
    if not known:
        st.caption("No search of this store has written down its device time yet; `nas search` does from its first trial on.")
        return
    drawn = dict(list(known.items())[:DRAWN])
    draw(ledger_figure(drawn), "ledger", alt=f"Device-hours by category of {len(drawn)} studies")
    if len(known) > DRAWN:
        st.caption(f"The {DRAWN} latest of {len(known)} studies.")
