"""Outcome constraints: read as people write them, kept or broken by a trial, refused where no trial could keep them."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from studies.constraints import Constraint, Sense, check_constraints
from studies.records import METRICS, Trial, TrialState

FRACTIONS = [name for name, metric in METRICS.items() if metric.scale == 0.01]


@st.composite
def constraints(draw: st.DrawFn) -> Constraint:
    metric = draw(st.sampled_from(sorted(METRICS)))
    bound = draw(st.floats(0, 1) if metric in FRACTIONS else st.floats(-1e15, 1e15))
    return Constraint(metric, draw(st.sampled_from([">=", "<="])), bound)


def trial(**metrics: float) -> Trial:
    values = {"params": {}, "model": None, "cost": {"flops": 4_000_000_000}, "metrics": metrics, "fidelity": {}, "seed": 0}
    return Trial(id=0, number=0, state=TrialState.COMPLETE, **values)  # type: ignore[arg-type]


@given(constraints())
def test_a_constraint_reads_back_what_it_writes(constraint: Constraint) -> None:
    assert Constraint.parse(constraint.text) == constraint
    assert Constraint.from_dict(constraint.to_dict()) == constraint


@pytest.mark.parametrize(
    ("text", "metric", "sense", "bound"),
    [
        ("top1>=0.9", "top1", ">=", 0.9),
        (" top1 >= 90% ", "top1", ">=", 0.9),
        ("flops<=5G", "flops", "<=", 5e9),
        ("params<=30M", "params", "<=", 30e6),
        ("latency_ms<=12.5", "latency_ms", "<=", 12.5),
        ("zen>=-3", "zen", ">=", -3.0),
        ("loss<=1e-1", "loss", "<=", 0.1),
    ],
)
def test_bounds_are_read_in_plain_units_percentages_and_suffixes(text: str, metric: str, sense: Sense, bound: float) -> None:
    assert Constraint.parse(text) == Constraint(metric, sense, bound)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("top1>0.9", "malformed constraint 'top1>0.9'; write top1>=0.9"),
        ("top1", "malformed constraint"),
        ("beauty>=1", "unknown metric 'beauty' in a constraint; known: top1, top5"),
        ("beauty>=1%", "unknown metric 'beauty'"),
        ("flops<=5X", "not a quantity: '5X'"),
        ("top1>=90", "top1 is a fraction from 0 to 1, got the bound 90; write 90%"),
        ("flops<=50%", "flops is no fraction, got the bound '50%'"),
        ("loss<=inf", "the bound of loss must be a finite number"),
        ("loss<=nan", "the bound of loss must be a finite number"),
    ],
)
def test_what_no_constraint_can_mean_is_refused_with_the_rule(text: str, rule: str) -> None:
    with pytest.raises(ValueError, match="^" + rule.replace("(", r"\(")):
        Constraint.parse(text)


def test_a_stored_constraint_with_other_keys_is_refused() -> None:
    with pytest.raises(ValueError, match="a constraint has metric, sense and bound, got metric, value"):
        Constraint.from_dict({"metric": "top1", "value": 0.9})


def test_the_violation_is_how_far_a_trial_is_beyond_the_bound() -> None:
    assert Constraint.parse("top1>=0.9").violation(trial(top1=0.75)) == pytest.approx(0.15)
    assert Constraint.parse("top1>=0.75").violation(trial(top1=0.75)) == 0
    assert Constraint.parse("flops<=3G").violation(trial(top1=0.75)) == pytest.approx(1e9)
    assert Constraint.parse("flops<=5G").violation(trial()) < 0
    assert Constraint.parse("loss<=9").violation(trial(top1=0.75)) == math.inf


def test_constraints_that_no_trial_can_meet_are_refused_together() -> None:
    wide = [Constraint.parse(text) for text in ("top1>=0.5", "top1<=0.9", "top1>=0.9", "flops<=5G")]
    check_constraints(wide, ["top1", "flops"])
    with pytest.raises(ValueError, match="nobody reports flops, so that no trial can meet flops<=5000000000; reported: top1, loss"):
        check_constraints(wide, ["top1", "loss"])
    with pytest.raises(ValueError, match=r"no trial can meet both top1>=0.95 and top1<=0.9"):
        check_constraints([*wide, Constraint.parse("top1>=0.95")], ["top1", "flops"])
