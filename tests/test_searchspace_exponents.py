"""The exponents of size in depth and width, and the pairs on the curve that they draw."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from searchspace.cost import cost
from searchspace.exponents import Exponents, check_pair, doubled_depth, doubled_width, exponents, nearest_pair
from searchspace.memory import Training, memory_bytes
from searchspace.presets import preset
from searchspace.scaling import PAPER_PAIRS

T = preset("T").config
any_exponents = st.builds(Exponents, st.floats(0.5, 2), st.floats(0.5, 2.5))


@pytest.mark.parametrize(("metric", "width"), [("params", 1.9953), ("flops", 1.9779)])
def test_a_size_that_is_counted_grows_with_depth_once_and_with_the_width_of_the_backbone(metric: str, width: float) -> None:
    found = exponents(T, metric)
    assert found.depth == 1
    assert found.width == pytest.approx(width, abs=5e-5)


@pytest.mark.parametrize("batch_size", [1, 64])
def test_the_exponents_of_memory_are_its_predicted_growth(batch_size: int) -> None:
    found = exponents(T, "memory", batch_size=batch_size)
    base, deep, wide = (memory_bytes(config, Training(batch_size=batch_size)).total for config in (T, doubled_depth(T), doubled_width(T)))
    assert 2**found.depth == pytest.approx(deep / base)
    assert 2**found.width == pytest.approx(wide / base)


def test_a_large_batch_makes_memory_grow_less_with_width_than_weights_do() -> None:
    widths = [exponents(T, "memory", batch_size=size).width for size in (1, 8, 64)]
    assert widths == sorted(widths, reverse=True)
    assert 1 < widths[-1] < widths[0] < exponents(T, "params").width


def test_doubling_keeps_the_switches_and_the_other_dimension() -> None:
    for name in ("T", "L", "H"):
        base = preset(name).config
        assert doubled_depth(base).depths == tuple(2 * depth for depth in base.depths)
        assert (doubled_width(base).channels, doubled_width(base).depths) == (2 * base.channels, base.depths)
        assert doubled_width(base).group_channels == doubled_depth(base).group_channels == base.group_channels
        assert cost(doubled_depth(base)).params < 2 * cost(base).params < cost(doubled_width(base)).params


@pytest.mark.parametrize("pair", PAPER_PAIRS)
@pytest.mark.parametrize("metric", ["params", "flops"])
def test_the_paper_s_own_pairs_are_accepted(pair: tuple[float, float], metric: str) -> None:
    check_pair(*pair, exponents(T, metric))


@given(any_exponents, st.floats(1, 2))
def test_a_pair_on_the_curve_is_accepted_and_its_own_nearest(rule: Exponents, beta: float) -> None:
    alpha = rule.alpha_of(beta)
    if alpha >= 1:
        check_pair(alpha, beta, rule)
        assert nearest_pair(alpha, beta, rule) == pytest.approx((alpha, beta))
    assert rule.beta_of(alpha) == pytest.approx(beta)


@given(any_exponents, st.floats(1, 4), st.floats(1, 4), st.floats(0, 1))
def test_no_pair_on_the_curve_is_nearer_than_the_nearest(rule: Exponents, alpha: float, beta: float, share: float) -> None:
    def distance(pair: tuple[float, float]) -> float:
        return math.hypot(math.log(pair[0] / alpha), math.log(pair[1] / beta))

    nearest = nearest_pair(alpha, beta, rule)
    assert min(nearest) >= 1 - 1e-12
    assert rule.growth(*nearest) == pytest.approx(2)
    assert distance(nearest) <= distance((2 ** (share / rule.depth), 2 ** ((1 - share) / rule.width))) + 1e-9


def test_a_pair_off_the_curve_is_refused_with_the_nearest_one_on_it() -> None:
    with pytest.raises(
        ValueError, match=r"must be 2 within 0\.02.*got 2\.216 for alpha=1\.2, beta=1\.36; nearest: 1\.1755,1\.3052"
    ) as raised:
        check_pair(1.2, 1.36, exponents(T, "params"))
    assert "\n" not in str(raised.value)
    near_alpha, near_beta = map(float, str(raised.value).rsplit(": ", 1)[1].split(","))
    check_pair(near_alpha, near_beta, exponents(T, "params"))
    for alpha, beta in ((0.9, 1.5), (1.5, 0.9), (1, math.inf), (math.nan, 1.4)):
        with pytest.raises(ValueError, match="alpha and beta must be at least 1"):
            check_pair(alpha, beta, exponents(T, "params"))


def test_what_cannot_be_computed_or_used_is_said() -> None:
    with pytest.raises(ValueError, match="latency_ms are measured"):
        exponents(T, "latency_ms")
    with pytest.raises(ValueError, match=r"one of params, flops, memory, latency_ms, got 'speed'"):
        exponents(T, "speed")
    for wrong in (0.0, -1, 11, math.nan, "2", True):
        with pytest.raises(ValueError, match=r"exponent of width must lie in \[0\.1, 10\]"):
            Exponents(1, wrong)  # type: ignore[arg-type]
