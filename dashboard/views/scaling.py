"""Scaling studies: the plane of (α, β), the fitted law, and the family that its best pair makes."""

import shlex
from collections.abc import Mapping
from typing import Any

import pandas as pd
import streamlit as st

from dashboard.charts.scaling import law_figure, plane_figure, residual_figure
from dashboard.page import Page, choice, open_trial
from dashboard.plain import as_text
from dashboard.plot import draw
from dashboard.scaling_points import exponents_of, family_table, scaling_points
from searchspace.family import PHIS, Member, ScaleRule, published_family, scaled_family
from searchspace.model_config import ModelConfig
from searchspace.scaling import ALPHA, BETA
from searchspace.space import SearchSpace
from studies.records import METRICS, Fit
from studies.spaces import space_of

FILL = "nas search --space scaling --phi 2,3,4"


def show_scaling(page: Page) -> None:
    """The plane, the law and the family of a scaling study; for others the command that makes one."""
    space = space_of(page.study.config)
    if space is None or space.name != "scaling" or space.base is None:
        st.info(f"This is no scaling study. `{FILL}` searches the pair (α, β).", icon=":material/open_in_full:")
        return
    fit = _choose_fit(page)
    content = None if fit is None else fit.content
    _show_verdict(page, fit)
    _show_plane(page, space, content)
    if content is not None and content.get("points"):
        _show_law(content)
    _show_family(space.base, content)


def _choose_fit(page: Page) -> Fit | None:
    """The newest fit of the metric that the reader chose."""
    newest: dict[str, Fit] = {}
    for fit in page.store.fits.of(page.study):
        newest.setdefault(fit.metric, fit)
    if len(newest) < 2:
        return next(iter(newest.values()), None)
    return newest[choice("fitted", list(newest), next(iter(newest)), label="Fit of")]


def _show_verdict(page: Page, fit: Fit | None) -> None:
    """The best pair with its interval, why there is none, or how to fit."""
    command = f"nas fit {shlex.quote(page.study.name)}"
    if fit is None:
        st.info("No law has been fitted to this study:", icon=":material/query_stats:")
        st.code(command, language="bash", wrap_lines=True)
        return
    best = fit.content.get("best")
    if not best:
        st.warning(f"No best pair: {as_text(str(fit.content.get('refused') or 'the fit was refused'))}", icon=":material/block:")
        return
    with st.container(horizontal=True):
        for name, symbol in (("alpha", "α"), ("beta", "β")):
            st.metric(f"best {symbol} (90 % interval)", f"{best[name]:.3f}", _interval(best, name), delta_color="off", delta_arrow="off")
        if fit.content.get("r2") is not None:
            st.metric("explained variance (R²)", f"{fit.content['r2']:.2f}", border=False)
    tied = len(fit.content.get("tied") or ())
    source = {"seeds": "the spread over seeds", "residuals": "the residuals"}.get(str(fit.content.get("noise_source")), "an unknown source")
    said = f"{tied} of the tried pairs {'is' if tied == 1 else 'are'} statistically tied with the best{_paper(fit.content)}."
    st.caption(f"{said} Noise from {source}. Fitted {fit.created_at:%Y-%m-%d %H:%M} UTC; `nas fit` fits it anew.")


def _paper(content: Mapping[str, Any]) -> str:
    """Whether the paper's pair is among those that the fit does not tell from the best."""
    paper = content.get("paper")
    return "" if not paper else f", and the paper's {'is too' if paper['tied'] else 'is not'}"


def _interval(best: Mapping[str, Any], name: str) -> str | None:
    ends = [best[side][name] for side in ("low", "high") if best.get(side)]
    return f"{min(ends):.3f} to {max(ends):.3f}" if len(ends) == len(("low", "high")) else None


def _show_plane(page: Page, space: SearchSpace, content: Mapping[str, Any] | None) -> None:
    assert space.base is not None, "a scaling space is made with a base"
    st.subheader("The plane of (α, β)", anchor=False)
    names = list(dict.fromkeys([*(objective.metric for objective in page.objectives), "top1", "loss"]))
    complete = page.frame[page.frame["state"] == "COMPLETE"]
    metrics = [name for name in names if name in complete and complete[name].notna().any()]
    if not metrics:
        st.info("No trial of this study is complete yet: the first one appears in the plane.", icon=":material/hourglass_empty:")
        return
    metric = choice("metric", metrics, metrics[0], label="Colour", show=lambda name: METRICS[name].name, kind="list")
    points = scaling_points(page.frame, space.base, metric)
    figure = plane_figure(points, exponents_of(space, content), metric, fitted=content)
    draw(figure, "plane", alt=f"{METRICS[metric].name} of {len(points)} variants by α and β", on_click=open_trial)
    st.caption(
        "Where a variant lies after rounding: its effective (α, β). Brighter is better, symbols tell φ apart; on the grey curve each "
        "step of φ doubles the size. The base itself (φ = 0) has no pair."
    )


def _show_law(content: Mapping[str, Any]) -> None:
    left, right = st.columns(2)
    with left:
        st.subheader("The law over cost", anchor=False)
        draw(law_figure(content), "law", alt="The fitted law over cost with its band and the measured variants", on_click=open_trial)
        st.caption("At the best share of depth; the measured variants have shares of their own, so that most lie above the line.")
    with right:
        st.subheader("Predicted against measured", anchor=False)
        draw(residual_figure(content), "residuals", alt="Predicted against measured of every variant", on_click=open_trial)
        st.caption("Bars: the standard deviation over seeds.")


def _show_family(base: ModelConfig, content: Mapping[str, Any] | None) -> None:
    best = (content or {}).get("best")
    alpha, beta = (best["alpha"], best["beta"]) if best else (ALPHA, BETA)
    st.subheader("The family", anchor=False)
    whose = "the fitted pair" if best else "the paper's pair, as there is no fitted one"
    rule = ScaleRule(alpha=alpha, beta=beta)
    try:
        _show_members(f"{base.short_name} scaled by α = {alpha:.3f}, β = {beta:.3f} ({whose})", scaled_family(base, PHIS, rule), "scaled")
    except ValueError as error:
        st.caption(as_text(f"{base.short_name} cannot be scaled so far: {error}"))
    _show_members("As published, in the terms of the same pair", published_family(base, rule), "published")


def _show_members(title: str, members: list[Member], key: str) -> None:
    st.markdown(f"**{as_text(title)}**")
    table: pd.DataFrame = family_table(members)
    st.dataframe(table, hide_index=True, key=f"family-{key}", height="content", alt=title)
