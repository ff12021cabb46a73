"""The choice of a trial, and its learning curve among those that reached the same epochs."""

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from dashboard.charts.curves import curves_figure
from dashboard.page import Page, choice, select_trial
from dashboard.plot import draw
from dashboard.trial_facts import rung_mates
from studies.frames import reports_frame
from studies.halving import Halving
from studies.records import METRICS, Objective

METRICS_SHOWN = ("top1", "top5", "loss")
SELECT = "select-trial"


def choose_trial(page: Page) -> int | None:
    """The selected trial by a list that the address sets and is set by, at first the best; None, with what to do, where there is none."""
    if page.frame.empty:
        st.info("This study has no trial yet: its search has not asked for one.", icon=":material/hourglass_empty:")
        return None
    numbers = page.frame["number"].tolist()
    number = page.selected
    if number is None:  # kept in the address from now on, so that a new best does not change the page under its reader
        number = best_trial(page.frame, page.objectives[0])
        select_trial(number)
    if st.session_state.get(SELECT) != number:
        st.session_state[SELECT] = number
    names = dict(zip(numbers, page.frame["variant"], strict=True))
    states = dict(zip(numbers, page.frame["state"].str.lower(), strict=True))
    st.selectbox(
        "Trial",
        numbers,
        format_func=lambda each: f"{each} · {names[each]} · {states[each]}",
        key=SELECT,
        on_change=lambda: select_trial(st.session_state[SELECT]),
    )
    return number


def show_curve(page: Page, number: int) -> None:
    """The trial's learning curve in colour before those of its rung mates."""
    own = page.store.reports(page.study, numbers=[number]).get(number)
    if not own:
        state = page.frame.loc[page.frame["number"] == number, "state"].iloc[0]
        st.info(_why_no_curve(state), icon=":material/hourglass_empty:")
        return
    if not (metrics := [name for name in METRICS_SHOWN if name in own[-1].metrics]):
        st.info(f"This trial reported none of {', '.join(METRICS[name].name for name in METRICS_SHOWN)}.", icon=":material/show_chart:")
        return
    metric = choice("curve", metrics, metrics[0], label="Curve", show=lambda name: METRICS[name].name)
    mates, n = rung_mates(page.frame, number, metric)
    reports = reports_frame(page.store.reports(page.study, numbers=mates))
    names = dict(zip(page.frame["number"], page.frame["variant"], strict=True))
    halving = Halving.of(page.study.config)
    milestones = halving.milestones(int(reports["epoch"].max())) if halving else ()
    figure = curves_figure(reports, metric=metric, names=names, chosen=number, rungs=milestones)
    draw(figure, "curves", alt=f"{METRICS[metric].name} of trial {number} by epoch among its rung mates")
    st.caption(_explained(own[-1].step, len(mates), n, milestones))


def best_trial(frame: pd.DataFrame, objective: Objective) -> int:
    """The number of the best complete trial in an objective, of the first trial where none is complete."""
    complete = frame[frame["state"] == "COMPLETE"].dropna(subset=[objective.metric])
    if complete.empty:
        return int(frame["number"].iloc[0])
    ranked = complete.sort_values([objective.metric, "number"], ascending=[objective.direction == "minimize", True])
    return int(ranked["number"].iloc[0])


def _why_no_curve(state: str) -> str:
    if state in ("INFEASIBLE", "COMPLETE"):
        return "This trial was not trained, so it has no learning curve."
    if state == "FAILED":
        return "This trial failed before its first epoch, so it has no learning curve."
    return "No epoch has been reported yet: the curve appears with the first one."


def _explained(epochs: int, drawn: int, n: int, milestones: Sequence[int]) -> str:
    at = f"Grey: trials that were measured after {epochs} epoch{'' if epochs == 1 else 's'} too"
    some = f", {drawn} of {n:,}, evenly over their ranks" if drawn < n else f", {n - 1:,} of them"
    dotted = f". Dotted: the rungs, at epoch {', '.join(map(str, milestones))}" if milestones else ""
    return f"{at}{some}{dotted}."
