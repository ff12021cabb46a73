"""Compound scaling against the paper's rule and the published family."""

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from searchspace.cost import cost
from searchspace.cost_arrays import cost_arrays
from searchspace.depth_split import least_depth
from searchspace.exponents import Exponents
from searchspace.matched_depth import Sizing
from searchspace.memory import Training, memory_bytes
from searchspace.model_config import ModelConfig
from searchspace.presets import PRESETS, preset
from searchspace.scaling import (
    PAPER_PAIRS,
    SPLITS,
    compound_scale,
    effective_pair,
    effective_phi,
    matched_scale,
    paper_depth,
    rounding_bound,
    split_depth,
)
from searchspace.stacking import stack
from searchspace.styles import restyled, style_of
from searchspace.switch_flags import with_settings

T = preset("T").config
bases = st.builds(
    lambda g, n, l1, more: stack(2 * g * n, g, l1, l1 + more),
    st.sampled_from([8, 16]),
    st.integers(1, 5),
    st.integers(1, 6),
    st.integers(0, 30),
)


@given(bases)
def test_phi_zero_is_the_identity(base) -> None:  # type: ignore[no-untyped-def]
    assert compound_scale(base, 0) == base


@given(bases, st.sampled_from(["ratio", "keep-l1"]))
def test_phi_zero_is_the_identity_for_every_split(base: ModelConfig, split: str) -> None:
    assert compound_scale(base, 0, split=split) == base
    assert matched_scale(base, base.channels, cost(base).params, split=split) == base


@given(bases, st.floats(-1, 6), st.sampled_from(PAPER_PAIRS))
def test_phi_comes_back_from_the_scaled_variant_within_the_rounding_bound(base: ModelConfig, phi: float, pair: tuple[float, float]) -> None:
    alpha, beta = pair
    if paper_depth(base) * alpha**phi < 4:  # no whole depth can express it
        return
    scaled = compound_scale(base, phi, alpha=alpha, beta=beta)
    bounds = rounding_bound(scaled, alpha=alpha, beta=beta)
    for found, bound in zip(effective_phi(base, scaled, alpha=alpha, beta=beta), bounds, strict=True):
        assert abs(found - phi) <= bound + 1e-9


def test_the_rounding_bounds_from_the_smallest_variant_are_as_documented() -> None:
    page = (Path(__file__).parent.parent / "docs" / "scaling.md").read_text(encoding="utf-8")
    rows = [[float(cell) for cell in row.split("|")[2:-1]] for row in page.splitlines() if re.match(r"\| (width|depth), at most", row)]
    bounds = [rounding_bound(compound_scale(T, phi)) for phi in range(1, 7)]
    assert rows == [[round(bound, 2) for bound in of_dimension] for of_dimension in zip(*bounds, strict=True)]


@given(bases, st.floats(-1, 6), st.floats(0, 3), st.sampled_from(PAPER_PAIRS))
def test_cost_never_falls_as_phi_grows(base: ModelConfig, phi: float, more: float, pair: tuple[float, float]) -> None:
    alpha, beta = pair
    if paper_depth(base) * alpha**phi < 4:
        return
    small, large = (cost(compound_scale(base, step, alpha=alpha, beta=beta)) for step in (phi, phi + more))
    assert small.params <= large.params
    assert small.flops <= large.flops


sizings = st.sampled_from(
    [
        Sizing(),
        Sizing(metric="flops", image_size=64),
        Sizing(metric="memory", image_size=64, num_classes=10, batch_size=8),
        Sizing(metric="latency_ms", exponents=Exponents(0.9, 1.4)),
    ]
)


@settings(max_examples=40)
@given(bases, st.integers(0, 3), st.floats(0.3, 6), sizings, st.sampled_from(["ratio", "keep-l1"]))
def test_no_other_depth_comes_nearer_to_the_size(base: ModelConfig, wider: int, factor: float, sizing: Sizing, split: str) -> None:
    size, channels = factor * sizing.of(base, base), base.channels + 2 * wider * base.group_channels
    how = {name: getattr(sizing, name) for name in ("metric", "image_size", "num_classes", "batch_size", "exponents")}
    found = matched_scale(base, channels, size, split=split, **how)
    assert (found.channels, found.group_channels, found.is_aaba) == (channels, base.group_channels, True)

    def off(depth: int) -> float:
        l1, l3 = split_depth(depth, base, split)
        return abs(sizing.of(stack(channels, base.group_channels, l1, l3), base) - size)

    around = range(max(least_depth(base, split), paper_depth(found) - 3), paper_depth(found) + 4)
    assert off(paper_depth(found)) == min(map(off, around))


@settings(max_examples=20)
@given(bases, st.floats(0.3, 6), st.floats(1, 3))
def test_a_larger_size_is_never_met_by_a_shallower_variant(base: ModelConfig, factor: float, more: float) -> None:
    small, large = (matched_scale(base, base.channels, step * cost(base).params) for step in (factor, factor * more))
    assert paper_depth(small) <= paper_depth(large)


def test_memory_is_that_of_the_prediction_block_by_block() -> None:
    for config in (T, preset("L").config, preset("H").config, with_settings(T, ["kernel_size=5"])):
        assert Sizing(metric="memory", batch_size=4).of(config, T) == memory_bytes(config, Training(batch_size=4)).total


def test_a_matched_variant_takes_another_group_width_and_style() -> None:
    found = matched_scale(T, 320, 1e9, group_channels=32, style="h")
    assert (found.channels, found.group_channels, style_of(found)) == (320, 32, "h")


def test_the_published_split_is_that_of_every_published_stack() -> None:
    for name in ("T", "S", "B", "L", "XL", "H"):
        config = PRESETS[name].config
        assert SPLITS["published"](paper_depth(config), T) == (config.depths[0], config.depths[2])
    assert SPLITS["ratio"](50, T) == (7, 29)
    assert SPLITS["keep-l1"](50, T) == (4, 38)


@pytest.mark.parametrize(
    ("split", "depth", "base", "message"),
    [
        ("published", 40, stack(64, 16, 1, 31), r"the base 64,16,1,31 breaks: D=34 would be L1=4, L3=22; take split ratio or keep-l1"),
        ("keep-l1", 15, T, r"at least 4 \* L1 = 16 .*got 15; take split ratio"),
        ("ratio", 3, T, r"at least 4 \(one block a stage\), got 3"),
        ("even", 30, T, "unknown split 'even'; known: ratio, keep-l1, published"),
    ],
)
def test_a_depth_that_no_whole_numbers_can_split_is_refused(split: str, depth: int, base: ModelConfig, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        split_depth(depth, base, split)


def test_the_effective_pair_leads_from_the_base_to_the_variant() -> None:
    found = compound_scale(T, 3)
    alpha, beta = effective_pair(T, found, 3)
    assert (30 * alpha**3, 64 * beta**3) == pytest.approx((paper_depth(found), found.channels))
    assert effective_phi(T, found, alpha=alpha, beta=beta) == pytest.approx((3, 3))
    with pytest.raises(ValueError, match=r"other than 0 to tell a pair, got phi=0"):
        effective_pair(T, T, 0)


def test_a_size_or_a_width_that_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match=r"no depth up to 10,000 blocks reaches params 30\.0T at this width; take a larger one"):
        matched_scale(T, 64, 3e13)
    with pytest.raises(ValueError, match="size must be a positive number, got nan"):
        matched_scale(T, 64, float("nan"))
    with pytest.raises(ValueError, match="latency_ms needs the measured exponents"):
        matched_scale(T, 64, 2, metric="latency_ms")
    with pytest.raises(ValueError, match="multiple of group_channels, got channels=72"):
        matched_scale(T, 72, 3e7)
    with pytest.raises(ValueError, match=r"AABA base.*\(2, 2, 48, 4\)"):
        matched_scale(preset("G").config, 64, 3e7)


@given(st.floats(-1, 4), st.sampled_from(PAPER_PAIRS))
def test_depth_and_width_are_the_rule_rounded(phi: float, pair: tuple[float, float]) -> None:
    alpha, beta = pair
    config = compound_scale(T, phi, alpha=alpha, beta=beta)
    assert abs(paper_depth(config) - 30 * alpha**phi) <= 0.5
    assert abs(config.channels - 64 * beta**phi) <= 8
    assert config.is_aaba


@given(st.integers(4, 200), bases)
def test_depth_is_split_without_loss(depth: int, base) -> None:  # type: ignore[no-untyped-def]
    l1, l3 = split_depth(depth, base)
    assert 3 * l1 + l3 == depth
    assert 1 <= l1 <= l3


def test_the_paper_s_pairs_at_one_step_round_to_the_known_widths_and_sizes() -> None:
    scaled = [compound_scale(T, 1, alpha=alpha, beta=beta) for alpha, beta in PAPER_PAIRS]
    assert [config.channels for config in scaled] == [96, 96, 80, 80, 80]
    assert [round(cost(config).params / 1e6) for config in scaled] == [68, 70, 50, 53, 54]


@pytest.mark.parametrize(
    ("name", "width", "depth"),
    [("T", 0, 0), ("S", 0.73, 1.11), ("B", 1.82, 1.11), ("L", 2.98, 2.43), ("XL", 3.57, 3.04), ("H", 5.23, 5.93)],
)
def test_the_published_family_has_its_effective_phi(name: str, width: float, depth: float) -> None:
    assert effective_phi(T, PRESETS[name].config) == pytest.approx((width, depth), abs=0.005)


def test_style_and_group_width_can_be_changed_on_the_way() -> None:
    assert style_of(compound_scale(preset("B").config, 1)) == "s"
    changed = compound_scale(T, 3, style="l", group_channels=32)
    assert (style_of(changed), changed.group_channels, changed.channels % 32) == ("l", 32, 0)


def test_coefficients_below_one_and_other_stacks_are_refused() -> None:
    with pytest.raises(ValueError, match=r"at least 1 and at most 4, got alpha=0\.9"):
        compound_scale(T, 1, alpha=0.9)
    with pytest.raises(ValueError, match="phi must lie"):
        compound_scale(T, float("inf"))
    with pytest.raises(ValueError, match=r"AABA base.*\(2, 2, 48, 4\)"):
        compound_scale(preset("G").config, 1)


def test_a_base_of_one_group_grows_in_width_like_any_other() -> None:
    base = with_settings(preset("T").config, ["one_group=true"])
    widths = [compound_scale(base, phi).channels for phi in (0, 1, 2, 3)]
    assert widths == [64, 88, 118, 160]
    assert all(compound_scale(base, phi).groups == (1, 1, 1, 1) for phi in (1, 2.5))
    with pytest.raises(ValueError, match="one_group makes a group of all channels, so it takes no group_channels, got 16"):
        compound_scale(base, 1, group_channels=16)


def test_another_style_keeps_what_is_not_part_of_a_style() -> None:
    base = with_settings(preset("T").config, ["kernel_size=5", "unshared_weights=true", "mlp_ratio=2"])
    scaled = compound_scale(base, 1, style="s")
    assert (scaled.kernel_size, scaled.unshared_weights, scaled.mlp_ratio) == (5, True, 2)
    assert (scaled.post_norm, scaled.layer_scale) == (True, 1e-5)
    assert restyled(restyled(base, "h"), "t") == base
    assert restyled(preset("S").config, "g") == stack(80, 16, 4, 21, style="g")


def test_an_ablation_of_the_largest_keeps_a_norm_behind_every_sixth_block() -> None:
    ablated = with_settings(preset("H").config, ["kernel_size=5"])
    scaled = compound_scale(ablated, 2)
    assert scaled.level2_post_norm_block_ids == compound_scale(preset("H").config, 2).level2_post_norm_block_ids
    l1, _, l3, _ = scaled.depths
    assert cost_arrays(scaled.channels, scaled.group_channels, l1, l3, style=ablated).params == cost(scaled).params
    shallow = stack(64, 32, 1, 4, style="h")
    assert cost_arrays(64, 32, 1, 12, style=shallow).params == cost(stack(64, 32, 1, 12, style="h")).params
