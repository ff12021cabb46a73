"""What is refused before a search begins, because no trial of it could bring what is asked for."""

import numpy as np
import pytest

import nas
from nas.preflight import Asked, check_candidates, check_until
from searchspace.spaces import wide_stacking_space
from studies.constraints import Constraint


@pytest.mark.parametrize(
    ("require", "nearest"),
    [
        (["params<=10M"], r"params<=10000000; the nearest is 80,16,4,4 with params 29,581,900$"),
        (["params>=40M"], r"params>=40000000; the nearest is 80,16,3,9 with params 30,422,475$"),
        (["top1>=90%", "flops<=1G"], r"meets flops<=1000000000; the nearest is 80,16,4,4 with flops 4,277,601,600$"),
        (["memory<=1G"], r"memory [\d,]+ \(bytes of training 64 images of 224 px in float32\)$"),
        (["params>=30M", "flops<=4.7G"], r"nearest is 80,16,3,9 with params 30,422,475, flops 4,741,008,320$"),
    ],
)
def test_bounds_on_costs_that_no_candidate_meets_are_refused_with_the_nearest(require: list[str], nearest: str) -> None:
    with pytest.raises(ValueError, match="no feasible candidate of space stacking") as refused:
        check_candidates(nas.StudyConfig(require=require))
    assert refused.match(nearest)


def test_the_nearest_meets_the_bound_that_it_names_and_a_tighter_one_is_refused() -> None:
    space = wide_stacking_space()
    least = int(np.min(space.feasible_set().costs("flops")))
    check_candidates(nas.StudyConfig(space=space, require=[f"flops<={least}"], sampler="random"))
    with pytest.raises(ValueError, match=f"with flops {least:,}$"):
        check_candidates(nas.StudyConfig(space=space, require=[f"flops<={least - 1}"], sampler="random"))


@pytest.mark.parametrize(
    ("until", "message"),
    [
        ("top1<=90%", "until top1<=0.9 says nothing of success: the study looks for a larger top1; write top1>=0.9"),
        ("flops>=5G", "the study looks for a smaller flops; write flops<=5000000000"),
        ("latency_ms<=5", "nobody reports latency_ms, so that no trial can meet latency_ms<=5"),
        ("params<=10M", "no feasible candidate of space stacking meets params<=10000000; the nearest is"),
    ],
)
def test_an_end_that_no_success_can_bring_is_refused(until: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_until((Constraint.parse(until),), nas.StudyConfig())


def test_an_end_may_name_objectives_on_their_good_side_and_any_other_metric() -> None:
    check_until(tuple(map(Constraint.parse, ("top1>=90%", "flops<=5G", "loss<=1", "params>=29M"))), nas.StudyConfig())


@pytest.mark.parametrize("cpus", [0.0, -1.0, float("nan")])
def test_a_trial_without_processors_is_refused(cpus: float) -> None:
    with pytest.raises(ValueError, match="cpus per trial must be above 0, got"):
        Asked(cpus=cpus)
