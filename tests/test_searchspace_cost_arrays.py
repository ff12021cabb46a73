"""The cost of many candidates at once against the cost of each."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from searchspace.closed_form import closed_form
from searchspace.cost import COST_METRICS, cost
from searchspace.cost_arrays import PIECE, CostArrays, cost_arrays
from searchspace.model_config import ModelConfig
from searchspace.polynomial import Polynomial
from searchspace.styles import STYLES, switches

widths = st.tuples(st.integers(1, 40), st.integers(1, 20)).map(lambda drawn: (2 * drawn[0] * drawn[1], drawn[0]))
candidates = st.tuples(widths, st.integers(1, 9), st.integers(1, 70)).map(lambda drawn: (*drawn[0], *drawn[1:]))
ABLATED = ModelConfig(
    channels=2,
    group_channels=1,
    depths=(1, 1, 1, 1),
    kernel_size=5,
    dw_kernel_size=7,
    mlp_ratio=3,
    remove_center=True,
    unshared_weights=True,
    center_feature_scale=True,
    layer_scale=1.0,
)


@given(st.lists(candidates, min_size=1, max_size=8), st.sampled_from(sorted(STYLES)), st.sampled_from([32, 224, 512]), st.integers(1, 2000))
@settings(max_examples=60)
def test_every_element_is_the_cost_of_its_candidate(drawn: list[tuple[int, ...]], style: str, image_size: int, num_classes: int) -> None:
    counts = cost_arrays(*np.array(drawn).T, style=style, image_size=image_size, num_classes=num_classes)
    for index, (c1, group, l1, l3) in enumerate(drawn):
        config = ModelConfig(channels=c1, group_channels=group, depths=(l1, l1, l3, l1), **switches(style, l3))
        assert of(counts, index) == of(cost(config, image_size, num_classes))


@given(st.lists(candidates, min_size=1, max_size=8), st.booleans(), st.integers(1, 300))
@settings(max_examples=30)
def test_an_architecture_lends_its_switches(drawn: list[tuple[int, ...]], one_group: bool, image_size: int) -> None:
    values: dict[str, Any] = {**ABLATED.to_dict(), "one_group": one_group, "group_channels": 2 if one_group else 1}
    style = ModelConfig.from_dict(values)
    c1, group, l1, l3 = np.array(drawn).T
    groups = c1 if one_group else group
    counts = cost_arrays(c1, groups, l1, l3, style=style, image_size=image_size)
    for index in range(len(drawn)):
        shape = {"channels": int(c1[index]), "group_channels": int(groups[index])}
        depths = (int(l1[index]), int(l1[index]), int(l3[index]), int(l1[index]))
        config = ModelConfig.from_dict({**values, **shape, "depths": depths})
        assert of(counts, index) == of(cost(config, image_size))


def of(counts: Any, index: int | None = None) -> tuple[int, ...]:
    numbers = (getattr(counts, metric) for metric in COST_METRICS)
    return tuple(int(number if index is None else number[index]) for number in numbers)


def test_arrays_broadcast_and_keep_their_shape() -> None:
    counts = cost_arrays(np.array([[64], [80]]), 16, 4, np.arange(1, 19))
    assert counts.params.shape == counts.flops.shape == (2, 18)
    assert counts.params[0, 17] == 29_918_424
    assert cost_arrays(64, 16, 4, 18).params == 29_918_424
    nothing = np.array([], int)
    assert cost_arrays(nothing, 16, 4, nothing).activations.shape == (0,)


def test_pieces_do_not_show() -> None:
    depths = np.arange(1, 2 * PIECE + 3)
    counts = cost_arrays(64, 16, 4, depths, style="h")
    norms = np.diff(counts.params) - np.diff(counts.params)[0]
    assert set(np.flatnonzero(norms)) == set(range(4, len(norms), 6))  # from L3 = 5 to 6, from 11 to 12, ...
    assert isinstance(counts, CostArrays)


def test_the_largest_int64_is_exact_and_more_is_refused() -> None:
    form = closed_form("t").metrics["flops"]
    channels = 2_000_000
    deepest = (2**63 - 1 - form({"half": channels // 2, "g1": 1, "l1": 1, "l3": 0, "norms": 0})) // form.coefficient_of("l3")(
        {"half": channels // 2, "g1": 1}
    )
    counts = cost_arrays(channels, channels, 1, [1, deepest - 1], style="t")
    assert int(counts.flops[1]) == form({"half": channels // 2, "g1": 1, "l1": 1, "l3": deepest - 1, "norms": 0})
    with pytest.raises(ValueError, match=r"below 2\^63.* candidate 1 \(C1,C',L1,L3 = 2000000,2000000,1,"):
        cost_arrays(channels, channels, 1, [1, deepest + 1])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (([64, 48], [16, 32], 4, 18), "multiple of group_channels.*candidate 1"),
        ((3, 1, 4, 18), "even"),
        ((64, 16, 0, 18), "at least 1"),
        ((64.0, 16, 4, 18), "whole numbers"),
        ((np.array([2**63], np.uint64), 16, 4, 18), "fit int64"),
    ],
)
def test_candidates_that_cannot_be_are_named(given: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cost_arrays(*given)


def test_the_closed_form_is_the_paper_s() -> None:
    """Section 3 of the paper worked out for C1 = 2 · half: 23 and 12100 are the linear part of the style of T."""
    params = closed_form("t").metrics["params"].terms
    assert params[("half", "half", "l1")] == 4 * 10 * 69
    assert params[("half", "half", "l3")] == 4 * 10 * 16
    assert params[("half", "half")] == 4 * 478.5
    assert (params[("half", "l1")], params[("half", "l3")]) == (2 * 23 * 11, 2 * 23 * 4)
    assert params[("half",)] == 2 * 12100
    assert params[()] == 1000


@given(st.integers(-9, 9), st.integers(-9, 9), st.integers(-9, 9))
def test_polynomials_add_and_multiply_as_their_values_do(a: int, b: int, c: int) -> None:
    x, y = Polynomial.symbol("x"), Polynomial.symbol("y")
    at = {"x": a, "y": b}
    assert ((x + c) * (y * c + x) + 2 * x * y)(at) == (a + c) * (b * c + a) + 2 * a * b
    assert (x * y * c + y).coefficient_of("x")(at) == b * c
    assert (x * y + y * c).without("x")(at) == b * c
    assert (x * 0).terms == (x + x * -1).terms == {}
