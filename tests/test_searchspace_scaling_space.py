"""The scaling space: points of equal size at every φ, each variant once, and what of it cannot be built."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from searchspace.cost import cost
from searchspace.exponents import Exponents
from searchspace.model_config import ModelConfig
from searchspace.presets import preset
from searchspace.scaling import compound_scale, effective_pair
from searchspace.scaling_rule import scaled_base, scaling_point
from searchspace.sizes import Limit, Target
from searchspace.space import Candidate, SearchSpace
from searchspace.spaces import scaling_space, space_from_dict
from searchspace.stacking import stack
from searchspace.styles import style_of
from searchspace.switch_flags import with_settings

T = preset("T").config
HOW: list[dict[str, Any]] = [
    {},
    {"metric": "flops"},
    {"metric": "memory"},
    {"metric": "latency_ms", "exponents": Exponents(0.9, 1.3)},
    {"lattice": "fine"},
    {"split": "keep-l1", "alpha": (1.02, 1.3)},
    {"pairs": "paper"},
    {"phi": (-1, 1.5, 3)},
]
deep_bases = st.builds(
    lambda g, n, l1, more, style: stack(2 * g * n, g, l1, l1 + more, style=style),
    st.sampled_from([8, 16]),
    st.integers(2, 4),
    st.integers(3, 5),
    st.integers(6, 30),
    st.sampled_from(["t", "s", "l"]),
)


def built(candidate: Candidate) -> ModelConfig:
    assert candidate.config is not None
    return candidate.config


def check_points(space: SearchSpace) -> None:
    """What holds in every matched space."""
    assert space.scaling is not None
    scaled, feasible = scaled_base(space), space.feasible()
    assert max(Counter(map(built, feasible)).values()) == 1
    for candidate in feasible:
        point = scaling_point(space, candidate.params, built(candidate))
        assert abs(point.size_error) <= space.scaling.tolerance
        assert (
            point.size_error
            == candidate.size_error
            == pytest.approx(
                scaled.sizing.of(built(candidate), scaled.base) / (2**point.phi * scaled.sizing.of(scaled.base, scaled.base)) - 1
            )
        )
        if point.alpha is None or point.beta is None:
            assert (point.phi, built(candidate)) == (0, space.base)
            continue
        assert (point.alpha, point.beta) == effective_pair(scaled.base, built(candidate), point.phi)
        assert point.alpha >= 1
        assert point.beta >= 1
        if "channels" in space.domains:
            assert space.scaling.alpha[0] <= point.alpha <= space.scaling.alpha[1]


@pytest.mark.parametrize("how", HOW, ids=lambda how: ",".join(how) or "default")
def test_all_points_of_a_phi_have_its_size_and_coefficients_of_at_least_one(how: dict[str, Any]) -> None:
    check_points(scaling_space(**how))


@settings(max_examples=15)
@given(deep_bases, st.sampled_from(["params", "flops"]))
def test_that_holds_whatever_the_base(base: ModelConfig, metric: str) -> None:
    check_points(scaling_space(base=base, metric=metric, phi=(2.5, 3.5), tolerance=0.06))


def test_the_default_space_is_the_base_and_every_width_that_a_phi_can_use() -> None:
    space = scaling_space()
    assert space.domains["phi"] == (0, 2, 3, 4)
    widths: dict[Any, list[Any]] = {phi: [] for phi in space.domains["phi"]}
    for candidate in space.enumerate():
        widths[candidate.params["phi"]].append(candidate.params["channels"])
    assert widths == {0: [64], 2: [96, 112, 128], 3: [128, 144, 160, 176], 4: [*range(144, 257, 16)]}
    assert [candidate.params for candidate in space.enumerate() if not candidate.feasible] == [{"phi": 4, "channels": 192}]
    assert "no whole depth comes within 1.5% of the params that phi asks for; the nearest is +1.59% off" in str(
        space.candidate({"phi": 4, "channels": 192}).reason
    )


def test_the_widths_of_a_phi_are_all_whose_effective_alpha_lies_in_the_range() -> None:
    for phi in (-1.0, 2.0, 3.0):
        scaled = scaled_base(scaling_space(phi=[phi], lattice="fine", alpha=(1.05, 1.25), tolerance=0.1))
        lattice = range(8, 2 * T.channels * 8, 8)
        inside = [width for width in lattice if (width > 64) == (phi > 0) and width != 64 and 1.05 <= _alpha(scaled, width, phi) <= 1.25]
        assert scaled.widths(phi) == tuple(inside)


def _alpha(scaled: Any, width: int, phi: float) -> float:
    try:
        return float(scaled.alpha(width, phi))
    except ValueError:  # no depth has the size
        return 0.0


def test_a_choice_that_is_no_point_of_its_own_is_not_listed_and_says_why() -> None:
    space = scaling_space()
    listed = [candidate.params for candidate in space.enumerate()]
    assert len(listed) == 16 < len(space)
    for params, reason in (
        ({"phi": 0, "channels": 96}, "phi=0 is the base itself, with C1=64, got C1=96"),
        ({"phi": 2, "channels": 256}, "at phi=2 C1=256 would mean alpha="),
    ):
        assert params not in listed
        candidate = space.candidate(params)
        assert not candidate.feasible
        assert reason in str(candidate.reason)
        assert space.feasible_set().index(params) is None
    feasible = space.feasible_set()
    assert [feasible.candidate(index) for index in range(len(feasible))] == space.feasible()
    assert feasible.costs("params").tolist() == [cost(built(candidate)).params for candidate in space.feasible()]


def test_a_width_that_no_phi_can_use_is_listed_once_with_its_reason() -> None:
    written = {"name": "scaling", "base": "T", "domains": {"phi": [0, 2], "channels": [64, 112, 800]}, "scaling": {}}
    candidates = space_from_dict(written).enumerate()
    assert [(candidate.params["channels"], candidate.feasible) for candidate in candidates] == [(64, True), (112, True), (800, False)]
    assert "at phi=2 C1=800 would mean alpha=0." in str(candidates[-1].reason)


def test_pairs_at_matched_size_come_out_as_other_pairs_and_the_base_comes_once() -> None:
    space = scaling_space(pairs="paper")
    candidates = space.enumerate()
    assert [candidate.params["pair"] for candidate in candidates if candidate.params["phi"] == 0] == ["1.03,1.4"]
    by_width = {built(candidate).channels: candidate.params["pair"] for candidate in candidates if candidate.params["phi"] == 3}
    assert set(by_width) == {144, 160, 176}
    repeats = [candidate for candidate in candidates if "the same variant as pair=" in str(candidate.reason)]
    assert len(repeats) == 6
    (point,) = [scaling_point(space, c.params, built(c)) for c in candidates if c.params == {"pair": "1.09,1.36", "phi": 3}]
    assert (point.alpha, point.beta) == pytest.approx((1.101, 1.357), abs=5e-4)


def test_a_pair_whose_width_alone_is_too_much_says_so() -> None:
    candidate = scaling_space(pairs=[(1.03, 1.4)], phi=[1, 2], with_base=False).candidate({"pair": "1.03,1.4", "phi": 1})
    assert "C1=96 alone exceeds 2 times the base's params: only 27 of the base's D=30 are left (alpha=0.900)" in str(candidate.reason)


def test_the_formula_keeps_the_paper_s_rounding_and_shows_the_size_error() -> None:
    space = scaling_space(pairs="paper", formula=True)
    feasible = {tuple(c.params.values()): c for c in space.feasible()}
    assert len(feasible) == 16
    for (pair, phi), candidate in feasible.items():
        alpha, beta = map(float, str(pair).split(","))
        assert candidate.config == compound_scale(T, float(phi), alpha=alpha, beta=beta)
    assert feasible["1.06,1.38", 2].size_error == pytest.approx(0.1204, abs=1e-4)
    by_width = scaling_space(formula=True)
    assert all(candidate.feasible for candidate in by_width.enumerate())
    assert max(abs(candidate.size_error or 0) for candidate in by_width.feasible()) > 0.05


def test_a_target_is_the_one_phi_that_reaches_it() -> None:
    space = scaling_space(target=Target.parse("100M"))
    assert space.domains["phi"] == (1.7409,)
    assert [built(candidate).short_name for candidate in space.feasible()] == ["96,16,6,29"]
    assert "off target: params 97.4M is -2.56% from 100M, tolerance 1.5%" in [candidate.reason for candidate in space.enumerate()]
    flops = scaling_space(target=Target.parse("16G"))
    assert flops.scaling is not None
    assert flops.scaling.metric == "flops"
    assert all(abs(c.cost.flops / 16e9 - 1) <= 0.015 for c in flops.feasible() if c.cost)


def test_the_fine_lattice_and_another_style_are_those_of_the_base() -> None:
    space = scaling_space(lattice="fine", style="s", limits=[Limit("flops", 6 * 10**10)])
    assert space.base is not None
    assert (space.base.short_name, style_of(space.base), space.style) == ("64,8,4,18", "s", "s")
    assert {(built(candidate).group_channels, style_of(built(candidate))) for candidate in space.feasible()} == {(8, "s")}
    assert {candidate.params["phi"] for candidate in space.feasible()} == {0, 2, 3}
    assert len(scaling_space(lattice="fine").feasible()) > len(scaling_space().feasible())


def test_a_base_of_one_group_scales_on_its_own_lattice() -> None:
    base = with_settings(T, ["one_group=true"])
    space = scaling_space(base=base, phi=[2])
    check_points(space)
    assert {built(candidate).channels % 4 for candidate in space.feasible()} == {0, 2}
    with pytest.raises(ValueError, match="lattice fine regroups the base, which has one group of all channels"):
        scaling_space(base=base, lattice="fine")


def test_a_space_of_an_earlier_version_means_what_it_meant() -> None:
    text = (Path(__file__).parent.parent / "studies" / "presets" / "scaling-digits.yaml").read_text(encoding="utf-8")
    space = space_from_dict(yaml.safe_load(text)["space"])
    assert space.scaling is None
    assert "scaling" not in space.to_dict()
    assert space_from_dict(space.to_dict()) == space
    assert [(built(c).short_name, round(100 * (c.size_error or 0), 1)) for c in space.enumerate()] == [
        ("112,16,4,20", -4.9),
        ("112,16,4,21", -2.5),
        ("112,16,5,20", 5.3),
        ("112,16,5,22", 10.0),
        ("96,16,5,23", -17.2),
    ]
    assert len(space.feasible()) == 5
    point = scaling_point(space, {"pair": "1.15,1.32", "phi": 1.74}, stack(96, 16, 5, 23))
    assert (point.alpha, point.beta) == pytest.approx((1.146, 1.262), abs=5e-4)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"phi": [0.5]}, r"phi=0\.5 has no width: no multiple of 16 gives an alpha from 1 to 1\.4 \(C1=64 would mean alpha=2\.05, C1=80"),
        ({"phi": [11]}, r"phi must lie in \[-20, 10\] to be searched, got phi=11"),
        ({"phi": [float("nan")]}, r"phi must lie in \[-20, 10\] to be searched, got phi=nan"),
        ({"phi": [2], "target": Target(10**8)}, "phi and target exclude each other"),
        ({"target": Target(10**8, "activations")}, "takes a target on params, flops or memory, got activations"),
        ({"target": Target(10**8), "metric": "flops"}, "decides the scaling metric, got flops"),
        ({"pairs": [(1.2, 1.36)]}, r"got 2\.216 for alpha=1\.2, beta=1\.36; nearest: 1\.1755,1\.3052"),
        ({"pairs": [(0.9, 1.5)]}, "alpha and beta must be at least 1"),
        ({"pairs": "paper", "metric": "memory"}, r"must be 2 within 0\.02"),
        ({"metric": "latency_ms"}, "latency_ms needs measured exponents"),
        ({"exponents": Exponents(1, 2)}, "the other metrics compute theirs, got some for params"),
        ({"metric": "speed"}, "a scaling metric is one of params, flops, memory, latency_ms, got 'speed'"),
        ({"split": "even"}, "unknown split 'even'"),
        ({"split": "published", "base": stack(64, 16, 1, 31)}, "take split ratio or keep-l1"),
        ({"lattice": "finer"}, "unknown lattice 'finer'; known: coarse, fine"),
        ({"alpha": (1.3, 1.1)}, r"alpha must ascend from at least 1 to at most 4, got 1\.3 to 1\.1"),
        ({"alpha": (0.9, 1.1)}, "alpha must ascend from at least 1"),
        ({"base": preset("G").config}, "needs an AABA base .*got 512,32,2-2-48-4"),
        (
            {"base": stack(16, 4, 1, 2), "phi": [1, 2]},
            "nothing but the base is feasible; of 3 candidates the nearest: .*allow a larger tolerance",
        ),
    ],
)
def test_a_space_that_cannot_be_is_refused_in_one_line(how: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as raised:
        scaling_space(**how)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scaling": 3}, "scaling: expected a mapping"),
        ({"scaling": {"colour": "red"}}, "scaling: .*colour"),
        ({"scaling": {"tolerance": 2}}, r"scaling: tolerance must lie in \(0, 1\), got 2"),
        ({"scaling": {"formula": "yes"}}, "formula must be true or false, got 'yes'"),
        ({"scaling": {"alpha": 1.2}}, r"alpha must be a range such as \[1, 1\.4\], got 1\.2"),
        ({"style": "s"}, "has the style of its base, t, got s"),
        ({"domains": {"phi": [2], "channels": [100]}}, "multiples of 16, the base's lattice, got 100"),
        ({"domains": {"phi": [2], "l1": [4]}}, r"has the domains \['channels', 'phi'\]"),
        ({"domains": {"phi": ["two"], "channels": [112]}}, "domain phi holds numbers, got 'two'"),
        ({"domains": {"phi": [30], "channels": [112]}}, r"phi must lie in \[-20, 20\], got phi=30"),
        ({"name": "stacking"}, "scaling: only a scaling space has such a setting, got one for the space 'stacking'"),
        ({"scaling": None}, r"has the domains \['pair', 'phi'\]"),
    ],
)
def test_a_scaling_space_that_somebody_wrote_is_checked(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        space_from_dict({**scaling_space().to_dict(), **change})


def test_sizes_are_counted_for_the_images_and_batches_of_the_space() -> None:
    large = scaling_space(metric="memory")
    small = space_from_dict({**large.to_dict(), "image_size": 64, "num_classes": 10, "batch_size": 4})
    check_points(small)
    assert max(scaled_base(small).widths(3)) < max(scaled_base(large).widths(3))  # weights, which grow faster with width, weigh more
