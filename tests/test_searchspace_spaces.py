"""The spaces against the facts' table: thirty candidates, nineteen of them legal, eleven with a reason."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from searchspace.sizes import Limit, Target
from searchspace.space import SearchSpace
from searchspace.spaces import scaling_space, space_from_dict, stacking_space

LEGAL = """
48 16 1 61 30126199 5.71|48 16 2 56 29819326 5.55|48 16 3 52 29948041 5.47|48 16 4 48 30076756 5.39|48 16 5 44 30205471 5.31
64 16 1 31 29996316 5.48|64 16 2 27 30227776 5.34|64 16 3 22 29686964 5.05|64 16 4 18 29918424 4.90|64 16 5 14 30149884 4.76
64 32 1 34 30186666 5.54|64 32 2 29 29684356 5.27|64 32 3 25 29898806 5.14|64 32 4 21 30113256 5.01|64 32 5 17 30327706 4.87
80 16 1 17 29694225 5.19|80 16 2 13 30058350 4.97|80 16 3 9 30422475 4.74|80 16 4 4 29581900 4.28
"""


def test_the_paper_s_space_has_its_nineteen_legal_candidates_and_their_cost() -> None:
    expected = [tuple(map(float, row.split())) for line in LEGAL.strip().splitlines() for row in line.split("|")]
    got = []
    for candidate in stacking_space().feasible():
        assert candidate.config is not None
        assert candidate.cost is not None
        depths = candidate.config.depths
        size = (candidate.cost.params, round(candidate.cost.flops / 1e9, 2))
        got.append((candidate.config.channels, candidate.config.group_channels, depths[0], depths[2], *size))
    assert got == expected


def test_the_other_eleven_are_infeasible_each_with_its_reason() -> None:
    infeasible = [candidate for candidate in stacking_space().enumerate() if not candidate.feasible]
    assert len(infeasible) == 11
    reasons = [candidate.reason or "" for candidate in infeasible]
    assert sum("multiple of group_channels" in reason for reason in reasons) == 10
    (rule4,) = (candidate for candidate in infeasible if "rule 4" in (candidate.reason or ""))
    assert rule4.cost is not None
    assert rule4.cost.params == 31_150_725
    assert "36.0M" in (rule4.reason or "")


@given(st.integers(5, 200), st.integers(1, 10))
@settings(max_examples=20, deadline=None)
def test_no_feasible_candidate_misses_its_target_or_exceeds_its_limit(millions: int, gflops: int) -> None:
    space = stacking_space(target=Target(millions * 10**6), limits=[Limit("flops", gflops * 10**9)])
    for candidate in space.enumerate():
        if candidate.feasible:
            assert candidate.cost is not None
            assert abs(candidate.cost.params / (millions * 1e6) - 1) <= 0.02
            assert candidate.cost.flops <= gflops * 1e9
        else:
            assert candidate.reason


def test_a_limit_is_met_by_a_shallower_stage_not_by_dropping_the_candidate() -> None:
    feasible = stacking_space(limits=[Limit("params", 30_000_000)]).feasible()
    sizes = {(c.config.channels, c.config.group_channels, c.config.depths[0]): c.cost.params for c in feasible if c.config and c.cost}
    assert sizes[48, 16, 1] <= 30_000_000  # 30.1M without the limit
    assert max(sizes.values()) <= 30_000_000


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (stacking_space(target=Target(1_000_000)), r"nearest reachable is 48,16,1,1 with params 3\.99M"),
        (stacking_space(limits=[Limit("params", 1_000_000)]), r"params<=1\.00M; the nearest reachable is 48,16,1,1"),
        (stacking_space(channels=[40], group_channels=[16]), "keeps the rules"),
    ],
)
def test_an_empty_space_names_the_nearest_reachable_size(space: SearchSpace, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        space.feasible()


def test_the_scaling_space_shows_what_the_paper_s_pairs_round_to() -> None:
    candidates = scaling_space().enumerate()
    assert [c.config.short_name for c in candidates if c.config] == [
        "112,16,4,20",
        "112,16,4,21",
        "112,16,5,20",
        "112,16,5,22",
        "96,16,5,23",
    ]
    assert [round(100 * (c.size_error or 0), 1) for c in candidates] == [-4.9, -2.5, 5.3, 10.0, -17.2]


def test_a_variant_that_two_choices_round_to_is_trained_once() -> None:
    candidates = scaling_space(pairs=[(1.09, 1.36), (1.091, 1.36)]).enumerate()
    assert candidates[0].feasible
    assert "the same variant as pair=1.09,1.36" in (candidates[1].reason or "")


@pytest.mark.parametrize("space", [stacking_space(), stacking_space(l3=[3, 9], limits=[Limit("flops", 10**10)]), scaling_space(phi=[1, 2])])
def test_a_space_survives_json(space: SearchSpace) -> None:
    assert space_from_dict(json.loads(json.dumps(space.to_dict()))) == space


def test_sampling_draws_feasible_candidates_only() -> None:
    drawn = stacking_space().sample(200, np.random.default_rng(0))
    assert all(candidate.feasible for candidate in drawn)
    assert len({str(candidate.params) for candidate in drawn}) == 19


def test_a_choice_outside_the_domains_is_refused() -> None:
    with pytest.raises(ValueError, match=r"channels=50 is not in the domain"):
        stacking_space().build({"channels": 50, "group_channels": 16, "l1": 1})


def test_malformed_sizes_say_how_to_write_them() -> None:
    assert Target.parse("30M") == Target(30_000_000, "params")
    assert Target.parse("5G") == Target.parse("flops=5G") == Target(5_000_000_000, "flops")
    with pytest.raises(ValueError, match="params<=30M"):
        Limit.parse("params<30M")
    with pytest.raises(ValueError, match="unknown limit metric 'weight'"):
        Limit.parse("weight<=3")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "moon"}, "unknown space 'moon'"),
        ({"domains": {"channels": [48]}}, r"has the domains \['channels', 'group_channels', 'l1'\]"),
        ({"domains": {"channels": [48], "group_channels": [16], "l1": ["two"]}}, "whole numbers from 1 on, got 'two'"),
        ({"domains": 3}, "not a search space"),
        ({"target": {"value": "30M"}}, "not a search space"),
        ({"target": {"value": 3, "metric": "weight"}}, "unknown target metric"),
        ({"colour": "red"}, "not a search space: .*colour"),
        ({"style": "x"}, "unknown style"),
    ],
)
def test_a_space_that_somebody_wrote_is_checked(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        space_from_dict({**stacking_space().to_dict(), **change})


def test_a_scaling_space_needs_pairs_and_a_base_that_can_be_scaled() -> None:
    good = scaling_space().to_dict()
    assert space_from_dict({**good, "base": "T"}) == scaling_space()
    for change, message in (
        ({"base": "G"}, "AABA base"),
        ({"base": None}, "AABA base"),
        ({"domains": {"pair": ["x"], "phi": [1]}}, "a pair reads"),
    ):
        with pytest.raises(ValueError, match=message):
            space_from_dict({**good, **change})
