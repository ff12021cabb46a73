"""All studies of the store: what they have found and when something last happened."""

from collections.abc import Sequence

import streamlit as st

from dashboard.tables import studies_table
from studies.records import StudySummary, TrialState
from studies.store import Store


def show_overview(store: Store, summaries: Sequence[StudySummary]) -> None:
    """The table of studies, the latest first."""
    complete = {summary.study.id: store.trials(summary.study, states=[TrialState.COMPLETE]) for summary in summaries}
    columns = {
        "study": st.column_config.TextColumn("study", pinned=True),
        "best": st.column_config.TextColumn("best", help="the best value of each study's first objective", alignment="right"),
        "updated": st.column_config.DatetimeColumn("updated", format="distance"),
        **{state.value: st.column_config.NumberColumn(state.value.lower(), width="small") for state in TrialState},
    }
    st.dataframe(studies_table(summaries, complete), hide_index=True, column_config=columns, key="studies", alt="Table of studies")
