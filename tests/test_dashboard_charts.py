import dataclasses

import plotly.graph_objects as go
import pytest

from dashboard.charts import curves_figure, front_figure, hover_text
from dashboard.plain import as_text
from dashboard.quantities import number_format, shown
from dashboard.tables import reasons_table, trials_table
from searchspace.spaces import stacking_space
from studies.fidelity import fidelity_text
from studies.frames import reports_frame, trials_frame
from studies.pareto import pareto_front
from studies.records import Objective, Report, Trial, TrialState

OBJECTIVES = (Objective("top1", "maximize"), Objective("flops", "minimize"))
HOSTILE = "<script>alert(1)</script><b>x</b>"


def trials(*, epochs: int = 3) -> list[Trial]:
    """A trial for every candidate of the paper's space, with made-up accuracies for the feasible ones."""
    made = []
    for number, candidate in enumerate(stacking_space().enumerate()):
        trial = Trial(
            id=number + 1,
            number=number,
            state=TrialState.COMPLETE if candidate.feasible else TrialState.INFEASIBLE,
            params=candidate.params,
            model=candidate.config.to_dict() if candidate.config else None,
            cost=dataclasses.asdict(candidate.cost) if candidate.cost else {},
            metrics={"top1": 0.5 + number * 7 % 13 / 100, "loss": 1.5} if candidate.feasible else {},
            fidelity={"dataset": "digits", "epochs": epochs} if candidate.feasible else {},
            seed=0,
            reason=candidate.reason,
        )
        made.append(trial)
    return made


def numbers_in(figure: go.Figure, name: str) -> set[int]:
    return {int(number) for trace in figure.data if trace.name == name for number in trace.customdata}


def points_of(figure: go.Figure, name: str) -> list[tuple[float, float]]:
    return [point for trace in figure.data if trace.name == name for point in zip(trace.x, trace.y, strict=True)]


def test_every_complete_trial_has_one_marker():
    complete = {trial.number for trial in trials() if trial.state is TrialState.COMPLETE}
    figure = front_figure(trials_frame(trials(), OBJECTIVES), OBJECTIVES)
    drawn = [int(number) for trace in figure.data for number in trace.customdata]
    assert len(complete) == 19
    assert sorted(drawn) == sorted(complete)


@pytest.mark.parametrize("second", [Objective("flops", "minimize"), Objective("params", "minimize"), Objective("activations", "maximize")])
def test_the_drawn_front_is_the_pareto_front(second):
    objectives = (OBJECTIVES[0], second)
    figure = front_figure(trials_frame(trials(), objectives), objectives)
    assert numbers_in(figure, "Pareto front") == {trial.number for trial in pareto_front(trials(), objectives)}


def test_axes_carry_the_first_objective_upwards_in_the_units_of_the_labels():
    figure = front_figure(trials_frame(trials(), OBJECTIVES), OBJECTIVES)
    assert (figure.layout.yaxis.title.text, figure.layout.xaxis.title.text) == ("top-1 (%)", "FLOPs (G)")
    assert all(50 <= y <= 63 for trace in figure.data for y in trace.y)
    assert all(4 < x < 6 for trace in figure.data for x in trace.x)


def test_no_measured_point_lies_beyond_the_steps_of_the_front():
    figure = front_figure(trials_frame(trials(), OBJECTIVES), OBJECTIVES)
    front = next(trace for trace in figure.data if trace.name == "Pareto front")
    assert front.line.shape == "hv"
    reached = [max(fy for fx, fy in zip(front.x, front.y, strict=True) if fx <= x) - y for x, y in points_of(figure, "dominated")]
    assert len(reached) == 19 - len(front.x)
    assert min(reached) >= 0


def test_a_partly_trained_trial_is_drawn_apart_from_the_front():
    best = max((trial for trial in trials() if trial.metrics), key=lambda trial: trial.metrics["top1"])
    early = dataclasses.replace(best, id=99, number=99, state=TrialState.PRUNED, metrics={"top1": 0.99}, fidelity={"epochs": 1})
    figure = front_figure(trials_frame([*trials(), early], OBJECTIVES), OBJECTIVES)
    assert numbers_in(figure, "partly trained") == {99}
    assert 99 not in numbers_in(figure, "Pareto front")


def test_one_objective_is_drawn_over_the_parameters():
    figure = front_figure(trials_frame(trials(), OBJECTIVES[:1]), OBJECTIVES[:1])
    assert figure.layout.xaxis.title.text == "params (M)"


def test_text_of_the_store_is_escaped_in_figures():
    frame = trials_frame(trials(), OBJECTIVES).assign(variant=HOSTILE)
    reports = reports_frame({0: [Report(1, {"top1": 0.5})]})
    texts = [text for trace in front_figure(frame, OBJECTIVES).data for text in trace.hovertext]
    curves = curves_figure(reports, names={0: HOSTILE}, chosen=0).data
    for text in [*texts, *(trace.name for trace in curves), *curves[0].hovertext]:
        assert "<script>" not in text
        assert "<b>x" not in text
        assert "&lt;b&gt;x&lt;/b&gt;" in text


def test_markup_in_a_study_name_is_shown_letter_by_letter():
    assert as_text("<b>x</b>") == r"\<b\>x\</b\>"
    assert as_text("*y* :red[z] $1$\n# top") == r"\*y\* \:red\[z\] \$1\$ \# top"


def test_hovering_tells_variant_number_costs_and_metrics():
    frame = trials_frame(trials(), OBJECTIVES)
    text = hover_text(frame[frame["variant"] == "64,16,4,18"].iloc[0].to_dict())
    assert "64,16,4,18" in text
    assert "params 29.92M" in text
    assert "FLOPs 4.90G" in text
    assert "top-1 " in text


def test_the_chosen_curve_lies_on_top_in_colour():
    reports = reports_frame({number: [Report(epoch, {"top1": 0.1 * epoch, "loss": 1.0}) for epoch in (1, 2, 3)] for number in range(4)})
    figure = curves_figure(reports, metric="top1", names={1: "64,16,4,18"}, chosen=1)
    assert len(figure.data) == 4
    assert "trial 1" in figure.data[-1].name
    assert figure.data[-1].line.color != figure.data[0].line.color
    assert list(figure.data[-1].y) == pytest.approx([10, 20, 30])


@pytest.mark.parametrize("metric", ["top1", "loss", "seconds"])
def test_curves_without_a_report_are_empty_but_labelled(metric):
    figure = curves_figure(reports_frame({}), metric=metric)
    assert len(figure.data) == 0
    assert figure.layout.xaxis.title.text == "epoch"


def test_the_table_begins_with_the_front_and_leaves_infeasible_trials_out():
    frame = trials_frame(trials(), OBJECTIVES)
    table = trials_table(frame, OBJECTIVES)
    front = [trial.number for trial in pareto_front(trials(), OBJECTIVES)]
    assert list(table["number"][: len(front)]) == front
    assert len(table) == 19
    assert len(reasons_table(frame, TrialState.INFEASIBLE)) == len(frame) - 19
    assert reasons_table(frame, TrialState.FAILED).empty


def test_reasons_stand_beside_what_was_chosen():
    failed = dataclasses.replace(trials()[0], id=99, number=99, state=TrialState.FAILED, params={"channels": 48}, reason=None)
    frame = trials_frame([*trials(), failed], OBJECTIVES)
    infeasible = reasons_table(frame, TrialState.INFEASIBLE).iloc[0]
    assert infeasible["choice"] == "channels=48, group_channels=32, l1=1"
    assert infeasible["reason"].startswith("channels must be a multiple of group_channels")
    assert reasons_table(frame, TrialState.FAILED).iloc[0].to_dict() == {"number": 99, "choice": "channels=48", "reason": "–"}
    assert reasons_table(trials_frame([], OBJECTIVES), TrialState.FAILED).empty


def test_numbers_carry_their_units():
    assert shown("params", 30_100_000) == "30.10M"
    assert shown("flops", 4.9e9) == "4.90G"
    assert shown("top1", 0.7123) == "71.2%"
    assert shown("top1", None) == shown("top1", float("nan")) == "–"
    assert number_format("top1") == "%.1f%%"


def test_fidelity_says_what_was_made_cheap():
    full = {"dataset": "imagenet", "synthetic": False, "image_size": 224, "epochs": 300, "channel_divisor": 1, "train_fraction": 1.0}
    small = {"image_size": 32, "epochs": 1, "channel_divisor": 4, "train_fraction": 0.25}
    cheap = {"dataset": "shapes", "synthetic": True, **small, "seed": 0}
    assert fidelity_text([{**full, "seed": 0}, {**full, "seed": 1}]) == "imagenet, 224 px, 300 epochs"
    assert fidelity_text([cheap]) == "shapes (synthetic), 32 px, 1 epoch, channels / 4, 25% of the training data"
    assert fidelity_text([{}]) == ""


def test_figures_stand_on_a_transparent_ground():
    layout = front_figure(trials_frame(trials(), OBJECTIVES), OBJECTIVES).layout
    assert layout.paper_bgcolor == layout.plot_bgcolor == "rgba(0,0,0,0)"
