"""Compound scaling against the paper's rule and the published family."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from searchspace.cost import cost
from searchspace.presets import PRESETS, preset
from searchspace.scaling import PAPER_PAIRS, compound_scale, effective_phi, paper_depth, split_depth
from searchspace.stacking import stack
from searchspace.styles import style_of

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
