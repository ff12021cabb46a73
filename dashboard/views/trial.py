"""One trial: what it is, what it costs, how it learnt, where it comes from, and its files."""

import streamlit as st

from dashboard.charts.breakdown import breakdown_figure
from dashboard.charts.stages import stages_figure
from dashboard.page import Page
from dashboard.plain import as_text
from dashboard.plot import draw
from dashboard.quantities import shown
from dashboard.trial_facts import metrics_table, provenance_facts, same_choice, seeds_table, spread_over_seeds
from dashboard.views.curves import choose_trial, show_curve
from dashboard.views.downloads import show_downloads
from searchspace.cost import cost_by_part
from searchspace.model_config import ModelConfig
from searchspace.styles import style_text
from studies.fidelity import fidelity_text
from studies.records import METRICS, Artifact, Trial, TrialState
from studies.spaces import space_of

WEIGHTS = "weights"  # the kind of these artifacts
PUBLISHED = (224, 1000)  # image side and classes at which costs are counted unless the space says otherwise


def show_trial(page: Page) -> None:
    """The selected trial."""
    if (number := choose_trial(page)) is None:
        return
    trial, weights = page.store.trial(page.study, number), _weights(page, number)
    _show_outcome(trial)
    if trial.model is not None:
        _show_architecture(page, trial, ModelConfig.from_dict(trial.model))
    if trial.state is not TrialState.INFEASIBLE:
        st.subheader("Learning curve", anchor=False)
        show_curve(page, number)
    _show_numbers(page, trial, weights)
    if trial.model is not None:
        st.subheader("Take it home", anchor=False)
        show_downloads(page.study, trial, recorded=weights is not None)


def _show_outcome(trial: Trial) -> None:
    """Why a trial was left out, broke or stopped."""
    if trial.reason is None:
        return
    if trial.state is TrialState.FAILED:
        st.error("This trial failed:", icon=":material/error:")
        st.code(trial.reason, language=None, wrap_lines=True)
    else:
        st.info(f"{trial.state.value.capitalize()}: {as_text(trial.reason)}", icon=":material/info:")


def _show_architecture(page: Page, trial: Trial, config: ModelConfig) -> None:
    image_size, classes = _counted_at(page)
    st.subheader(as_text(f"{config.short_name}, style {style_text(config)}"), anchor=False)
    left, right = st.columns(2)
    with left:
        st.markdown(f"**Stages** at {image_size} px")
        alt = f"The four stages of {config.short_name}: depths {config.depths}, widths {config.widths}"
        draw(stages_figure(config, image_size), "stages", alt=alt)
    with right:
        st.markdown("**Cost by part**")
        parts = cost_by_part(config, image_size, classes)
        draw(breakdown_figure(parts), "breakdown", alt="Share of each part in parameters and FLOPs")
    if measured := fidelity_text([trial.fidelity]):
        st.caption(f"The variant at full size, {classes:,} classes. It was measured by a training on {as_text(measured)}.")


def _show_numbers(page: Page, trial: Trial, weights: Artifact | None) -> None:
    seeds = same_choice(page.frame, trial.number)
    spread = spread_over_seeds(seeds)
    left, right = st.columns(2)
    with left:
        st.subheader("Numbers", anchor=False)
        deviations = {name: deviation for name, (_, deviation, _) in spread.items()}
        if len(table := metrics_table(trial, spread=deviations)):
            st.dataframe(table, hide_index=True, key="metrics", height="content", alt="Metrics of the trial")
        else:
            st.caption("Nothing is known of a choice that no variant can be built of.")
        if len(seeds) > 1:
            st.markdown("**The same choice with every seed**")
            st.dataframe(seeds_table(seeds), hide_index=True, key="seeds", alt="Trials of the same choice")
            told = [f"{METRICS[name].name} {shown(name, mean)} ± {shown(name, s)} over {n} seeds" for name, (mean, s, n) in spread.items()]
            st.caption(as_text("; ".join(told)) + " (mean and standard deviation)." if told else "Fewer than two are complete.")
    with right:
        st.subheader("Provenance", anchor=False)
        facts = provenance_facts(page.study, trial, weights)
        st.markdown("\n".join(["| | |", "|---|---|", *(f"| {what} | {as_text(value)} |" for what, value in facts.items())]))


def _counted_at(page: Page) -> tuple[int, int]:
    """Image side and classes at which the study's costs are counted."""
    space = space_of(page.study.config)
    return PUBLISHED if space is None else (space.image_size, space.num_classes)


def _weights(page: Page, number: int) -> Artifact | None:
    return next((each for each in page.store.artifacts.of(page.study, number=number) if each.kind == WEIGHTS), None)
