"""Compound scaling against the paper's rule and the published family."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from searchspace.cost import cost
from searchspace.cost_arrays import cost_arrays
from searchspace.presets import PRESETS, preset
from searchspace.scaling import PAPER_PAIRS, compound_scale, effective_phi, paper_depth, split_depth
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
