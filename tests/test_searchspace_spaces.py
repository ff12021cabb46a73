"""The spaces against the facts' table: thirty candidates, nineteen of them legal, eleven with a reason."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from searchspace.exponents import Exponents
from searchspace.sizes import Limit, Target
from searchspace.space import SearchSpace
from searchspace.spaces import SPACES, scaling_space, space_from_dict, stacking_space, wide_stacking_space

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
    candidates = scaling_space(pairs="paper", phi=[1.74], formula=True, with_base=False).enumerate()
    assert [c.config.short_name for c in candidates if c.config] == [
        "112,16,4,20",
        "112,16,4,21",
        "112,16,5,20",
        "112,16,5,22",
        "96,16,5,23",
    ]
    assert [round(100 * (c.size_error or 0), 1) for c in candidates] == [-4.9, -2.5, 5.3, 10.0, -17.2]


def test_a_variant_that_two_choices_round_to_is_trained_once() -> None:
    candidates = scaling_space(pairs=[(1.09, 1.36), (1.091, 1.36)], phi=[2], with_base=False).enumerate()
    assert candidates[0].feasible
    assert "the same variant as pair=1.09,1.36" in (candidates[1].reason or "")


SURVIVORS = [
    stacking_space(),
    stacking_space(l3=[3, 9], limits=[Limit("flops", 10**10)]),
    stacking_space(kernel_size=[3, 5], limits=[Limit("memory", 10**10)], batch_size=16),
    scaling_space(phi=[1, 2]),
    scaling_space(pairs="paper", formula=True, split="keep-l1"),
    scaling_space(metric="latency_ms", exponents=Exponents(0.9, 1.2), alpha=(1.05, 1.3), lattice="fine"),
]


@pytest.mark.parametrize("space", SURVIVORS)
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
        ({"batch_size": 0}, "batch_size must be whole and at least 1, got 0"),
        ({"style": "h", "image_size": 100}, "attention-pool head"),
        ({"base": "Z"}, "base: unknown preset 'Z'"),
        ({"limits": "flops<=5G"}, r'limits: write a list such as \["flops<=5G"\], got'),
        ({"limits": ["flops<5G"]}, "limits: malformed limit 'flops<5G'"),
        ({"limits": [5]}, "limits: write a text such as flops<=5G.*got 5"),
        ({"limits": [{"metric": "flops", "bound": 5}]}, "limits: .*bound"),
        ({"target": 30_000_000}, "target: write a text such as 30M.*got 30000000"),
        ({"target": "many"}, "target: not a quantity: 'many'"),
        ({"target": {"value": 3, "tolerance": "2%"}}, r"target: tolerance must lie in \[0, 1\), got '2%'"),
    ],
)
def test_a_space_that_somebody_wrote_is_checked(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        space_from_dict({**stacking_space().to_dict(), **change})


def test_a_scaling_space_needs_pairs_and_a_base_that_can_be_scaled() -> None:
    good = scaling_space(pairs="paper").to_dict()
    assert space_from_dict({**good, "base": "T"}) == scaling_space(pairs="paper")
    for change, message in (
        ({"base": "G"}, "AABA base"),
        ({"base": None}, "AABA base"),
        ({"domains": {"pair": ["x"], "phi": [1]}}, "a pair reads"),
    ):
        with pytest.raises(ValueError, match=message):
            space_from_dict({**good, **change})


def test_a_study_file_writes_ranges_and_sizes_as_text() -> None:
    space = read(
        '{name: stacking, domains: {channels: "16:64:16", group_channels: [16], l1: "1:3"}, target: flops=5G, limits: ["memory<=16G"]}'
    )
    limits = [Limit("memory", 16 * 10**9)]
    assert space == stacking_space(
        channels=[16, 32, 48, 64], group_channels=[16], l1=[1, 2, 3], target=Target(5 * 10**9, "flops"), limits=limits
    )


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("l1: 1:3", r'domains\.l1: write a list such as \[48, 64, 80\] or a range in quotes such as "16:160:16", got 63'),  # YAML: base 60
        ('l1: "3:1"', r"domains\.l1: malformed range '3:1': the range is empty"),
        ("l1: []", "domain l1 of space stacking needs values"),
        ("l1: [1, 1]", "needs values, each once"),
        ("l1: [1], kernel_size: [4]", "kernel_size holds odd sizes up to 7, the operator's largest, got 4"),
        ("l1: [1], kernel_size: [9]", "kernel_size holds odd sizes up to 7, the operator's largest, got 9"),
        ("l1: [1], depth: [9]", "has the domains .*got .*'depth'"),
    ],
)
def test_a_domain_that_cannot_be_read_is_named(written: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as raised:
        read(f"{{name: stacking, domains: {{channels: [64], group_channels: [16], {written}}}, target: 30M}}")
    assert "\n" not in str(raised.value)


def test_a_scaling_space_takes_its_pairs_as_a_list_only() -> None:
    with pytest.raises(ValueError, match=r"domains\.pair: write a list, got '1\.03,1\.4'"):
        read('{name: scaling, base: T, domains: {pair: "1.03,1.4", phi: [1]}}')


def test_the_kernel_is_part_of_a_choice_and_of_its_size() -> None:
    space = stacking_space(channels=[64], group_channels=[16], l1=[4], kernel_size=[3, 5], target=Target.parse("30M"))
    three, five = (space.build({"channels": 64, "group_channels": 16, "l1": 4, "kernel_size": size}) for size in (3, 5))
    assert three == stacking_space().build({"channels": 64, "group_channels": 16, "l1": 4})
    assert (five.kernel_size, five.channels, five.depths[0]) == (5, 64, 4)
    assert three.depths[2] > five.depths[2]  # a block has more offsets and masks
    assert abs(space.size(five, "params") / 30e6 - 1) < 0.02


def test_the_wide_space_holds_tens_of_thousands_of_choices_or_solves_the_depth() -> None:
    assert (len(wide_stacking_space()), len(wide_stacking_space(kernel_size=[3, 5, 7]))) == (15_360, 46_080)
    solved = SPACES["wide"](target=Target.parse("30M"))
    assert len(solved) == 240
    assert {tuple(candidate.params.items()) for candidate in stacking_space().feasible()} <= {
        tuple(c.params.items()) for c in solved.feasible()
    }


def test_the_wide_preset_study_is_the_wide_space_within_limits() -> None:
    text = (Path(__file__).parent.parent / "studies" / "presets" / "stacking-wide.yaml").read_text(encoding="utf-8")
    limits = [Limit("params", 60 * 10**6), Limit("flops", 10**10), Limit("memory", 16 * 10**9)]
    space = space_from_dict(yaml.safe_load(text)["space"])
    assert space == wide_stacking_space(limits=limits)
    assert 1000 < len(space.feasible_set()) < len(space)


def test_a_limit_that_keeps_a_candidate_from_its_target_is_named_whatever_it_limits() -> None:
    space = stacking_space(target=Target.parse("flops=5G"), limits=[Limit.parse("memory<=8G")])
    reasons = [candidate.reason or "" for candidate in space.enumerate()]
    assert any("flops=5.00G needs memory" in reason and "over the limit 8.00G" in reason for reason in reasons)


def read(text: str) -> SearchSpace:
    values: dict[str, Any] = yaml.safe_load(text)
    return space_from_dict(values)
