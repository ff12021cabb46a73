"""The trials that were left out or broke, each with its reason."""

import pandas as pd
import streamlit as st

from dashboard.tables import reasons_table
from studies.records import TrialState

TITLES = {TrialState.INFEASIBLE: "Infeasible, never trained", TrialState.FAILED: "Failed"}
COLUMNS = {
    "number": st.column_config.NumberColumn("trial", width=60),
    "choice": st.column_config.TextColumn("choice", width=265),
    "reason": st.column_config.TextColumn("reason", width=410),
}
WRAPPED = 66  # pixels a row: Streamlit wraps the text of rows above 64


def show_left_out(frame: pd.DataFrame) -> None:
    """An expander for each kind that occurs."""
    for state, title in TITLES.items():
        table = reasons_table(frame, state)
        if len(table):
            with st.expander(f"{title} ({len(table)})", key=f"left-out-{state.value}"):
                key, alt = f"reasons-{state.value}", f"{title}: reasons"
                st.dataframe(table, hide_index=True, column_config=COLUMNS, row_height=WRAPPED, key=key, alt=alt)
