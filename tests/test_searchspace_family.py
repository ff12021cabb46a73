"""A scaled family beside the published one, what one variant has over another, and all variants of a size."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from searchspace.cost import Cost, cost
from searchspace.explain import explain
from searchspace.exponents import Exponents, exponents
from searchspace.family import ScaleRule, check_rule, pair_on, published_family, scaled_family, solve_phi
from searchspace.iso import doublings, iso_size, widths_for
from searchspace.iso_cells import RULES
from searchspace.matched_depth import Sizing
from searchspace.memory import Training, memory_bytes
from searchspace.model_config import ModelConfig
from searchspace.presets import PRESETS, preset
from searchspace.scaling import PAPER_PAIRS
from searchspace.sizes import Limit, Target
from searchspace.spaces import stacking_space
from searchspace.stacking import stack
from searchspace.styles import style_of, styled
from searchspace.switch_flags import with_settings

T = preset("T").config
PAPER = ScaleRule()
pairs = st.sampled_from(PAPER_PAIRS)
bases = st.builds(
    lambda group, width, l1, more, style: stack(2 * group * width, group, l1, l1 + more, style=style),
    *(st.sampled_from([8, 16]), st.integers(1, 5), st.integers(1, 6), st.integers(0, 20), st.sampled_from(["t", "s", "h"])),
)


def test_the_published_family_stands_in_the_rule_s_terms() -> None:
    members = published_family(T, PAPER)
    assert [(member.name, round(member.phi_width or 0, 2), round(member.phi_depth or 0, 2)) for member in members] == [
        *(("T", 0, 0), ("S", 0.73, 1.11), ("B", 1.82, 1.11)),
        *(("L", 2.98, 2.43), ("XL", 3.57, 3.04), ("H", 5.23, 5.93)),
    ]
    assert [style_of(member.config) for member in members] == ["t", "s", "s", "l", "l", "h"]
    assert [member.cost for member in members] == [cost(PRESETS[member.name or ""].config) for member in members]
    # The power law is within a few percent of the truth for T to XL; H has groups twice as wide.
    assert [round(member.size_error, 3) for member in members] == [0, -0.025, -0.030, -0.027, -0.039, -0.119]


def test_a_family_grows_from_its_base_and_says_how_far_each_size_is_off() -> None:
    members = scaled_family(T, [0, 1, 2, 3, 4, 5, 6], PAPER)
    assert members[0].config == T
    assert [member.config.short_name for member in members[3:5]] == ["160,16,5,24", "224,16,6,24"]
    assert [member.size for member in members] == sorted(member.size for member in members)
    assert [member.size_error for member in members] == [cost(m.config).params / (29_918_424 * 2**m.phi) - 1 for m in members]
    assert all(abs((member.phi_width or 0) - member.phi) < 0.3 for member in members)


def test_matched_members_have_the_size_that_phi_asks_for_in_every_metric() -> None:
    for metric in ("params", "flops"):
        members = scaled_family(T, [0, 1, 2, 3, 4], ScaleRule(match=True, metric=metric))
        assert max(abs(member.size_error) for member in members) < 0.03
        assert members[0].config == T
        assert all(member.size == getattr(member.cost, metric) for member in members)
    memory = ScaleRule(alpha=1.3, match=True, metric="memory", beta=pair_on(exponents(T, "memory"), 1.3, None)[1])
    (member,) = scaled_family(T, [1], memory)
    assert member.size == memory_bytes(member.config, Training(batch_size=64)).total
    assert abs(member.size_error) < 0.03


def test_a_measured_latency_scales_by_its_exponents_as_a_multiple_of_the_base() -> None:
    rule = ScaleRule(alpha=1.2, beta=(2 / 1.2) ** (1 / 1.5), match=True, metric="latency_ms", exponents=Exponents(1.0, 1.5))
    check_rule(T, rule)
    (member,) = scaled_family(T, [2], rule)
    assert member.asked == 4
    assert member.size == pytest.approx(4, rel=0.03)


@settings(max_examples=25)
@given(bases, pairs, st.floats(-1.5, 5), st.sampled_from(["ratio", "keep-l1"]), st.sampled_from(["params", "flops", "memory"]))
def test_the_solved_phi_comes_nearest_of_all(base: ModelConfig, pair: tuple[float, float], times: float, split: str, metric: str) -> None:
    rule = ScaleRule(alpha=pair[0], beta=pair[1], split=split, metric=metric)
    size = rule.sizing.of(base, base) * 2**times
    try:
        member = solve_phi(base, size, rule)
    except ValueError:
        assume(False)
    assert rule.plain(base, member.phi) == member.config
    grid = []
    for phi in [*np.arange(-4, 7, 0.1).tolist(), *(member.phi + step / 50 for step in range(-20, 21))]:
        try:
            grid.append(abs(rule.sizing.of(rule.plain(base, phi), base) - size))
        except ValueError:
            assert phi < 0, "only a depth below its least cannot be built here"
    assert abs(member.size - size) <= min(grid)


def test_a_target_is_solved_to_a_short_phi_and_one_out_of_reach_names_the_nearest() -> None:
    member = solve_phi(T, 100e6, PAPER)
    assert (member.phi, member.config.short_name, member.asked) == (1.58, "112,16,5,19", 100e6)
    assert solve_phi(T, cost(T).params, PAPER).phi == 0
    matched = solve_phi(T, 97_436_520, ScaleRule(match=True))
    assert (matched.config.short_name, matched.size_error) == ("112,16,4,21", 0)
    for rule in (PAPER, ScaleRule(match=True)):
        with pytest.raises(ValueError, match=r"no phi in \[-20, 20\] brings 64,16,4,18 near params 1.00K; the nearest is 16,16,1,\d"):
            solve_phi(T, 1000, rule)


def test_one_coefficient_alone_decides_the_other() -> None:
    curve = exponents(T, "params")
    for alpha, beta in PAPER_PAIRS:
        assert pair_on(curve, alpha, None) == (alpha, pytest.approx(beta, abs=0.006))
        assert pair_on(curve, None, beta) == (pytest.approx(alpha, abs=0.015), beta)
        check_rule(T, ScaleRule(alpha=alpha, beta=beta))
        check_rule(T, ScaleRule(alpha=alpha, beta=pair_on(curve, alpha, None)[1], match=True))
    assert pair_on(curve, None, None) == (1.09, 1.36)


def test_what_cannot_be_scaled_is_said_with_its_phi_and_a_way_out() -> None:
    with pytest.raises(ValueError, match=r"phi=-9 cannot be built: split keep-l1 needs a depth of at least .* a phi nearer to 0 can"):
        scaled_family(T, [1, -9], ScaleRule(split="keep-l1"))
    with pytest.raises(ValueError, match="each phi may be given once, got phi=2 again"):
        scaled_family(T, [2, 1, 2], PAPER)
    with pytest.raises(ValueError, match=r"^compound scaling needs an AABA base .*\(2, 2, 48, 4\)"):
        scaled_family(preset("G").config, [1], PAPER)
    with pytest.raises(ValueError, match=r"^phi must lie in \[-20, 20\], got phi=21"):
        scaled_family(T, [21], PAPER)
    with pytest.raises(ValueError, match=r"nearest: 1\.2360,1\.2728"):
        check_rule(T, ScaleRule(alpha=1.2, beta=1.2))
    with pytest.raises(ValueError, match="alpha and beta must be at least 1"):
        check_rule(T, ScaleRule(alpha=0.9))


@given(bases, bases)
def test_the_costs_of_the_changes_add_up_and_nothing_differs_from_itself(before: ModelConfig, after: ModelConfig) -> None:
    itself = explain(before, before)
    assert itself.same
    assert (itself.changes, itself.switches, itself.phi_width, itself.phi_depth) == ((), {}, 0, 0)
    assert all(growth.doublings == growth.depth == growth.width == 0 for growth in itself.growth)
    found = explain(before, after)
    difference = cost(after) - cost(before)
    assert sum((change.cost for change in found.changes), Cost()) == difference
    assert sum((part.cost_after - part.cost_before for part in found.parts), Cost()) == difference
    assert bool(found.changes) == (before != after)


def test_growth_is_told_in_phi_and_doublings_and_each_change_alone() -> None:
    found = explain(T, preset("B").config)
    assert (found.phi_width, found.phi_depth) == (pytest.approx(1.82, abs=0.005), pytest.approx(1.11, abs=0.005))
    alone = {change.what: change for change in found.changes}
    assert list(alone) == ["depth", "width", "switches", "together"]
    assert alone["depth"].cost == cost(stack(64, 16, 4, 21)) - cost(T)
    assert alone["width"].cost == cost(stack(112, 16, 4, 18)) - cost(T)
    assert alone["switches"].cost == cost(stack(64, 16, 4, 18, style="s")) - cost(T)
    params, flops = found.growth
    assert (params.before, params.after) == (29_918_424, 97_461_832)
    assert flops.depth == pytest.approx(math.log2(33 / 30))
    assert params.width == pytest.approx(math.log2(112 / 64) * exponents(T, "params").width)
    assert found.switches == {"layer_scale": (None, 1e-5), "post_norm": (False, True)}
    assert found.parts[3].before == (256, 16, 18)
    assert found.parts[3].after == (448, 28, 21)


def test_a_stack_of_uneven_depths_and_widths_off_the_other_s_lattice_are_explained_too() -> None:
    giant = explain(preset("H").config, preset("G").config)
    assert giant.phi_depth == pytest.approx(math.log(56 / 50) / math.log(1.09))
    assert giant.switches == {"post_norm": (False, True), "res_post_norm": (True, False)}
    narrow, wide = stack(64, 32, 4, 18), stack(80, 16, 4, 18)
    (change,) = explain(narrow, wide).changes
    assert (change.what, change.config) == ("width and C'", wide)
    one_group = with_settings(T, ["one_group=true"])
    assert [change.what for change in explain(T, one_group).changes] == ["switches"]
    assert explain(T, one_group).switches == {"one_group": (False, True)}
    assert [change.what for change in explain(one_group, replace(one_group, channels=80, group_channels=80)).changes] == ["width"]
    (back,) = explain(one_group, T).changes
    assert (back.what, back.cost) == ("switches", cost(T) - cost(one_group))
    norms = styled(channels=64, group_channels=16, depths=(4, 4, 18, 4))
    normed = replace(norms, level2_post_norm_block_ids=(3,))
    assert [change.what for change in explain(norms, normed).changes] == ["switches"]
    assert explain(T, preset("S").config, beta=1).phi_width is None
    with pytest.raises(ValueError, match=r"alpha and beta must be at least 1, got alpha=0\.5"):
        explain(T, T, alpha=0.5)


LATTICE = {"channels": (16, 24, 32, 48, 64), "group_channels": (8, 16, 32), "l1": (1, 2, 3, 4), "l3": (1, 2, 3, 4, 5, 7, 9, 10, 12, 16)}


@settings(max_examples=20)
@given(
    st.integers(400_000, 30_000_000),
    st.sampled_from(["params", "flops", "memory"]),
    st.sampled_from([0.0, 0.02, 0.2, 0.6]),
    st.sampled_from(["t", "s", "h"]),
    st.sampled_from([(), (Limit("flops", 2_000_000_000),), (Limit("params", 12_000_000), Limit("flops", 3_000_000_000))]),
)
def test_iso_is_brute_force_on_a_small_lattice(size: int, metric: str, tolerance: float, style: str, limits: tuple[Limit, ...]) -> None:
    space = stacking_space(**LATTICE, style=style, limits=limits)
    sizing, near = Sizing(metric=metric), {}
    for widths in itertools.product(*LATTICE.values()):
        if widths[0] % widths[1] == 0 and widths[2] <= widths[3]:
            config = stack(*widths, style=style)
            if all(limit.violation(getattr(cost(config), limit.metric)) is None for limit in limits):
                near[widths] = int(sizing.of(config, config))
    value = sorted(near.values(), key=lambda got: abs(got - size))[0] if metric == "params" or not near else size * 500
    target = Target(value, metric, tolerance)
    expected = {widths: got for widths, got in near.items() if target.violation(got) is None}
    if not expected:
        with pytest.raises(ValueError, match=f"no variant of the lattice has {metric}=.*; the nearest is .* binds: "):
            iso_size(space, target)
        return
    found = iso_size(space, target)
    stacks = list(zip(*(column.tolist() for column in (found.channels, found.group_channels, found.l1, found.l3)), strict=True))
    assert stacks == list(expected)
    assert found.size.tolist() == list(expected.values())
    assert found.flops.tolist() == [cost(stack(*widths, style=style)).flops for widths in stacks]
    with_some = {widths[:3] for widths in stacks}
    assert sum(bound.count for bound in found.bounds) == 5 * 3 * 4 - len(with_some)
    after = {16: 24, 24: 32, 32: 48, 48: 64}
    for (channels, group, l1, _), deeper, wider in zip(stacks, found.next_l1.tolist(), found.next_channels.tolist(), strict=True):
        assert (deeper == 0) == ((channels, group, l1 + 1) in with_some)
        assert (wider == 0) == ((after.get(channels), group, l1) in with_some)


def test_each_rule_that_binds_is_named_with_what_is_wrong_there() -> None:
    limits = [Limit("flops", 9_000_000_000)]
    space = stacking_space(channels=(64, 72, 80), group_channels=(16,), l1=(1, 2, 6, 8), l3=range(1, 41), limits=limits)
    found = iso_size(space, Target(50_000_000, "params", 0.01))
    bounds = {bound.rule: bound for bound in found.bounds}
    assert list(bounds) == ["width lattice", "L1 <= L3", "tolerance", "depth lattice", "limit"]
    assert (bounds["width lattice"].first, bounds["width lattice"].count) == ((72, 16, 1), 4)
    assert "nearest: 64, 80" in bounds["width lattice"].reason
    assert bounds["L1 <= L3"].reason == "L3 may not be below L1=8, and L3=8 is +10.3% off"
    assert bounds["tolerance"].reason == "L3=29 is -1.3% off and L3=30 is +1.1% off"
    assert bounds["depth lattice"].reason == "the size asks for L3=57, none of the 40 values from 1 to 40"
    assert bounds["limit"].reason == "L3=34 is over the limit: flops 9.24G > 9.00G"
    stacks = zip(found.channels.tolist(), found.l1.tolist(), found.l3.tolist(), strict=True)
    assert list(stacks) == [(64, 6, 35), (64, 6, 36), (64, 8, 27), (80, 6, 12)]
    assert [RULES[rule] for rule in found.next_l1.tolist()] == ["", "", "end of the lattice", "L1 <= L3"]
    assert [RULES[rule] for rule in found.next_channels.tolist()] == ["width lattice"] * 3 + ["end of the lattice"]


def test_shares_are_counted_from_a_base_and_left_open_at_its_own_size() -> None:
    space = stacking_space(channels=(64, 80, 112), group_channels=(16,), l1=(4,), l3=range(1, 65))
    for value in (29_918_424, 50_000_000):
        target = Target(value)
        found = iso_size(space, target)
        depth, width, share = doublings(found, T, target)
        of_t = found.channels == 64
        assert np.all(width[of_t] == 0)
        assert depth[of_t] == pytest.approx(np.log2((12 + found.l3[of_t]) / 30))
        assert np.isnan(share[of_t]).tolist() == [value < 30e6] * int(of_t.sum())
        assert share[np.isfinite(share)] == pytest.approx((depth / np.where(depth + width, depth + width, 1))[np.isfinite(share)])


def test_widths_reach_as_far_as_one_block_a_stage_fits() -> None:
    widths = widths_for(Target(50_000_000))
    assert widths[0] == 16
    assert cost(stack(widths[-1], 16, 1, 1)).params <= 51_000_000 < cost(stack(widths[-1] + 16, 16, 1, 1)).params
    assert widths_for(Target(1000)) == (16,)
