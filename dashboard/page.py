"""What a view is given: the chosen study as read from the store a moment ago, and the choices that live in the address."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
import streamlit as st

from dashboard.address import TRIAL, choice, choices, flag, open_study, open_trial, open_view, select_trial, write
from studies.constraints import Constraint, constraints_of
from studies.page_data import read_trials
from studies.records import Objective, StudyRecord, StudySummary
from studies.seeds import seeds_of
from studies.store import Store

__all__ = ["Page", "choice", "choices", "flag", "frame_of", "open_study", "open_trial", "open_view", "select_trial", "stamp", "write"]
KEPT = 32  # frames of as many studies


@dataclass(frozen=True)
class Page:
    """A study as a view shows it: `frame` is its `trials_frame` with `on_front` and `style`; `live` when a search is at work on it.

    The frame is shared between readers and refreshes: a view must not change it.
    """

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
    def seeds(self) -> int:
        """With how many seeds each candidate is trained."""
        return seeds_of(self.study)

    @property
    def selected(self) -> int | None:
        """The number of the trial that the address selects, if the study has it."""
        asked = st.query_params.get(TRIAL, "")
        return int(asked) if asked.isdecimal() and bool((self.frame["number"] == int(asked)).any()) else None


def frame_of(store: Store, summary: StudySummary) -> pd.DataFrame:
    """The trials of a study as `Page` has them, read again only when something has changed."""
    return _read(store, store.url, stamp(summary), summary.study)


def stamp(summary: StudySummary) -> tuple[object, ...]:
    """What differs as soon as anything about a study's trials does.

    A report changes no count, and is not the last one of all where another driver's clock is ahead: each driver's own last word counts.
    """
    study = summary.study
    return study.id, study.name, study.created_at, summary.updated_at, summary.heard_at, tuple(sorted(summary.counts.items()))


@st.cache_resource(max_entries=KEPT, show_spinner=False)
def _read(_store: Store, url: str, stamp: tuple[object, ...], _study: StudyRecord) -> pd.DataFrame:
    return read_trials(_store, _study)
