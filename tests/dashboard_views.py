"""Stores with small studies, and one view of the dashboard by itself on them."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
import pytest
from streamlit.testing.v1 import AppTest

from dashboard.plot import draw
from searchspace.space import Candidate, SearchSpace
from studies.records import NewTrial, Report, StudyRecord, Trial, TrialState
from studies.store import Store

HOSTILE = "<script>alert(1)</script><b>x</b> | *y* `z`"
OBJECTIVES = [{"metric": "top1", "direction": "maximize"}, {"metric": "flops", "direction": "minimize"}]
FIDELITY = {"dataset": "digits", "synthetic": True, "image_size": 32, "epochs": 3, "channel_divisor": 4, "train_fraction": 1.0, "seed": 0}
ONE_VIEW = """
import os
from importlib import import_module

import streamlit as st

from dashboard.page import Page
from studies.frames import trials_frame
from studies.store import Store

store = Store(os.environ["NAS_STORE"], create=False)
[summary] = [summary for summary in store.studies() if summary.study.name == st.query_params["study"]]
frame = trials_frame(store.trials(summary.study), summary.study.objectives)
view = st.query_params["view"]
getattr(import_module(f"dashboard.views.{view}"), f"show_{view}")(Page(store, summary, frame, False))
store.close()
"""


def open_study(store: Store, space: SearchSpace | None, name: str = "s", **settings: Any) -> StudyRecord:
    """A study without trials."""
    return store.open(name, {"objectives": OBJECTIVES, **({} if space is None else {"space": space.to_dict()}), **settings})


def add(store: Store, study: StudyRecord, candidate: Candidate, *, seed: int = 0) -> Trial:
    """A candidate as a trial, queued where it is feasible."""
    new = NewTrial(
        params=candidate.params,
        seed=seed,
        state=TrialState.QUEUED if candidate.feasible else TrialState.INFEASIBLE,
        model=candidate.config.to_dict() if candidate.config else None,
        cost=dataclasses.asdict(candidate.cost) if candidate.cost else {},
        reason=candidate.reason,
    )
    [trial] = store.add(study, [new])
    return trial


def train(store: Store, trial: Trial, top1: float, *, epochs: int = 3, state: TrialState = TrialState.COMPLETE) -> None:
    """Report so many epochs that lead up to an accuracy, and end the trial."""
    store.start(trial, worker="here-0")
    for epoch in range(1, epochs + 1):
        metrics = {"top1": top1 * epoch / epochs, "loss": 3.0 - top1 * epoch}
        store.report(trial, Report(epoch, metrics), fidelity={**FIDELITY, "epochs": epoch})
    store.finish(trial, state)


def fill(store: Store, space: SearchSpace, values: Sequence[float], name: str = "s", *, seeds: int = 1, **settings: Any) -> StudyRecord:
    """A study whose feasible candidates are complete with these accuracies in turn, the seeds of one after each other."""
    study = open_study(store, space, name, **settings)
    turn = 0
    for candidate in space.enumerate():
        for seed in range(seeds if candidate.feasible else 1):
            trial = add(store, study, candidate, seed=seed)
            if candidate.feasible:
                train(store, trial, values[turn % len(values)])
                turn += 1
    return study


@dataclasses.dataclass(frozen=True)
class Shown:
    """A view that has run, and the figures that it drew by their key."""

    app: AppTest
    figures: Mapping[str, go.Figure]

    def again(self) -> None:
        """Run it anew with what was set."""
        self.figures.clear()  # type: ignore[attr-defined]
        self.app.run()
        assert not self.app.exception

    @property
    def words(self) -> str:
        """All that it says outside tables and figures."""
        kinds = (self.app.markdown, self.app.caption, self.app.info, self.app.warning, self.app.error, self.app.subheader, self.app.code)
        return "\n".join(element.value for kind in kinds for element in kind)


def show(monkeypatch: pytest.MonkeyPatch, view: str, *modules: str, study: str = "s", **query: str) -> Shown:
    """A view of a study in the store of NAS_STORE, as this address has it; `modules` are the views that draw its figures."""
    figures: dict[str, go.Figure] = {}

    def record(figure: go.Figure, key: str, **rest: Any) -> None:
        figures[key] = figure
        draw(figure, key, **rest)

    for module in (view, *modules):
        monkeypatch.setattr(f"dashboard.views.{module}.draw", record)
    app = AppTest.from_string(ONE_VIEW, default_timeout=60)
    for key, value in {"view": view, "study": study, **query}.items():
        app.query_params[key] = value
    shown = Shown(app, figures)
    shown.again()
    return shown
