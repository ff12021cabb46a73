"""What a view is given: the chosen study as read from the store a moment ago, and the selection that lives in the address."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
import streamlit as st

from studies.constraints import Constraint, constraints_of
from studies.records import Objective, StudyRecord, StudySummary
from studies.store import Store


@dataclass(frozen=True)
class Page:
    """A study as a view shows it: `frame` is its `trials_frame` with `on_front`; `live` when a search is at work on it."""

    store: Store
    summary: StudySummary
    frame: pd.DataFrame
    live: bool

    @property
    def study(self) -> StudyRecord:
        """The study's record."""
        return self.summary.study

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """The study's objectives in their order."""
        return self.study.objectives

    @property
    def constraints(self) -> Sequence[Constraint]:
        """What a trial must reach to stand on the front."""
        return constraints_of(self.study)

    @property
    def selected(self) -> int | None:
        """The number of the trial that the address selects, if the study has it."""
        asked = st.query_params.get("trial", "")
        return int(asked) if asked.isdecimal() and int(asked) in set(self.frame["number"]) else None


def select_trial(number: int | None) -> None:
    """Put a trial, or none, into the address."""
    if number is None:
        st.query_params.pop("trial", None)
    else:
        st.query_params["trial"] = str(number)
