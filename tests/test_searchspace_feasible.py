"""The feasible set as arrays against the enumeration that builds every candidate: the same candidates, in order, at the same sizes."""

import math
import pickle
import re
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from searchspace.cost import cost
from searchspace.memory import Training, memory_bytes
from searchspace.model_config import DEEPEST
from searchspace.size_form import SIZE_METRICS
from searchspace.sizes import Limit, Target
from searchspace.space import Candidate, SearchSpace
from searchspace.spaces import RULES, scaling_space, stacking_space, wide_stacking_space
from searchspace.stacks import stack_variant

Draw = st.DrawFn
EVEN = st.integers(1, 48).map(lambda half: 2 * half)


def domain(values: st.SearchStrategy[int], most: int) -> st.SearchStrategy[list[int]]:
    return st.lists(values, min_size=1, max_size=most, unique=True)


@st.composite
def spaces(draw: Draw) -> SearchSpace:
    """Stacking spaces with domains in any order, and sizes asked for that some candidates miss and others meet."""
    l1 = draw(domain(st.integers(1, 9), 3))
    domains = {"channels": draw(domain(EVEN | st.just(7), 3)), "group_channels": draw(domain(st.sampled_from([1, 2, 4, 8]), 2)), "l1": l1}
    if draw(st.booleans()):
        domains["kernel_size"] = draw(domain(st.sampled_from([1, 3, 5, 7]), 2))
    style = draw(st.sampled_from("tslhg"))
    given = {"style": style, "image_size": draw(st.sampled_from([32, 96, 224])), "num_classes": 10, "batch_size": draw(st.integers(1, 9))}
    known = stack_variant(64, 4, max(l1), draw(st.integers(max(l1), 20)), style=style)
    bare = SearchSpace(name="stacking", domains={**domains, "l3": (1,)}, rule=RULES["stacking"], **given)

    def near() -> tuple[str, int]:
        metric = draw(st.sampled_from(SIZE_METRICS))
        return metric, math.ceil(bare.size(known, metric) * draw(st.floats(0.3, 1.5)))

    given["limits"] = tuple(Limit(*near()) for _ in range(draw(st.integers(0, 2))))
    if draw(st.booleans()):
        domains["l3"] = draw(domain(st.integers(1, 24), 6))
    else:
        metric, value = near()
        given["target"] = Target(value, metric, draw(st.sampled_from([0.0, 0.02, 0.3])))
    order = draw(st.permutations(sorted(domains)))
    return SearchSpace(name="stacking", domains={name: tuple(domains[name]) for name in order}, rule=RULES["stacking"], **given)


def built(candidate: Candidate) -> tuple[Any, int]:
    assert candidate.config is not None
    assert candidate.cost is not None
    return candidate.config, candidate.cost.params


@given(spaces())
@settings(max_examples=80, deadline=None)
def test_the_arrays_hold_what_building_every_candidate_finds(space: SearchSpace) -> None:
    candidates = space.enumerate()
    expected = [candidate for candidate in candidates if candidate.feasible]
    if not expected:
        with pytest.raises(ValueError, match=r"no candidate of space stacking (meets|keeps the rules)"):
            space.feasible_set()
        return
    feasible = space.feasible_set()
    assert space.feasible() == [feasible.candidate(index) for index in range(len(feasible))] == expected
    numbers = iter(range(len(expected)))
    assert [feasible.index(candidate.params) for candidate in candidates] == [next(numbers) if c.feasible else None for c in candidates]
    how = Training(batch_size=space.batch_size, image_size=space.image_size, num_classes=10)
    configs = [built(candidate)[0] for candidate in expected]
    for metric in ("params", "flops", "activations"):
        assert feasible.costs(metric).tolist() == [getattr(cost(config, space.image_size, 10), metric) for config in configs]
    assert feasible.costs("memory").tolist() == [memory_bytes(config, how).total for config in configs]
    steps = [[values.index(candidate.params[name]) for name, values in space.domains.items()] for candidate in expected]
    assert feasible.positions().tolist() == steps


@given(spaces(), st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None)
def test_the_nearest_free_candidate_is_the_nearest_of_all(space: SearchSpace, random: Any) -> None:
    assume(any(candidate.feasible for candidate in space.enumerate()))
    feasible = space.feasible_set()
    free = np.array([random.random() < 0.6 for _ in range(len(feasible))])
    params = {name: random.choice(values) for name, values in space.domains.items()}

    candidates = space.feasible()

    def distance(index: int) -> float:
        other = candidates[index].params
        return sum(abs(values.index(params[n]) - values.index(other[n])) / len(values) for n, values in space.domains.items())

    found = feasible.nearest(params, free)
    if not free.any():
        assert found is None
        return
    nearest = min(map(distance, np.flatnonzero(free).tolist()))
    assert found is not None
    assert free[found]
    assert distance(found) == pytest.approx(nearest)


def test_a_choice_outside_the_domains_has_no_number_and_no_neighbour() -> None:
    feasible = stacking_space().feasible_set()
    for params in ({"channels": 50, "group_channels": 16, "l1": 1}, {"channels": 48}):
        assert feasible.index(params) is None
        with pytest.raises(ValueError, match="outside the domains of space stacking"):
            feasible.nearest(params, np.ones(19, bool))


def test_what_is_taken_out_is_gone_and_the_rest_keeps_its_order_and_costs() -> None:
    feasible = stacking_space().feasible_set()
    feasible.costs("flops")
    left = feasible.without([0, 18, 3])
    kept = [index for index in range(19) if index not in (0, 3, 18)]
    assert [left.candidate(index) for index in range(len(left))] == [feasible.candidate(index) for index in kept]
    assert left.costs("flops").tolist() == feasible.costs("flops")[kept].tolist()
    assert left.costs("params").tolist() == feasible.costs("params")[kept].tolist()
    assert left.index(feasible.candidate(3).params) is None
    with pytest.raises(ValueError, match="left to draw"):
        feasible.without(range(19)).sample(1, np.random.default_rng(0))
    with pytest.raises(IndexError, match=r"index must lie in \[0, 16\), got 16"):
        left.candidate(16)


def test_a_scaling_space_has_a_set_without_the_variants_that_come_twice() -> None:
    pairs = [(1.09, 1.36), (1.091, 1.36), (1.12, 1.34)]
    space = scaling_space(pairs=pairs, phi=[1.74], formula=True, with_base=False, limits=[Limit("memory", 10**11)])
    feasible = space.feasible_set()
    assert [feasible.candidate(index) for index in range(len(feasible))] == [c for c in space.enumerate() if c.feasible]
    assert feasible.positions()[:, 0].tolist() == [0, 2]
    assert feasible.costs("memory").tolist() == [space.memory(built(candidate)[0]) for candidate in space.feasible()]


@pytest.mark.parametrize("space", [stacking_space(), wide_stacking_space(limits=[Limit.parse("flops<=2G"), Limit.parse("memory<=8G")])])
def test_draws_are_uniform_over_the_feasible_candidates(space: SearchSpace) -> None:
    feasible = space.feasible_set()
    drawn = feasible.sample(40 * len(feasible), np.random.default_rng(1))
    assert chisquare(np.bincount(drawn, minlength=len(feasible))).pvalue > 0.001
    assert all(candidate.feasible for candidate in space.sample(50, np.random.default_rng(2)))


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_chunks_hold_every_feasible_candidate_once_in_order(size: int) -> None:
    space = stacking_space(l3=range(1, 9), limits=[Limit.parse("params<=30M")])
    chunks = list(space.chunks(size, metrics=["params"]))
    rows = [
        dict(zip(chunk.params, row, strict=True))
        for chunk in chunks
        for row in zip(*(v.tolist() for v in chunk.params.values()), strict=True)
    ]
    assert rows == [candidate.params for candidate in space.feasible()]
    assert [chunk.start for chunk in chunks] == list(range(0, len(rows), size))
    assert [params for chunk in chunks for params in chunk.sizes["params"].tolist()] == space.feasible_set().costs("params").tolist()


def test_a_million_choices_are_counted_and_ten_million_is_the_most() -> None:
    space = stacking_space(channels=range(16, 1601, 16), group_channels=[8, 16], l1=range(1, 11), l3=range(1, 501))
    assert len(space) == 10**6
    assert sum(len(chunk.sizes["flops"]) for chunk in space.chunks(metrics=["flops"])) == 200 * sum(501 - l1 for l1 in range(1, 11))
    with pytest.raises(ValueError, match=r"has 10,000,200 choices, more than 10,000,000 to enumerate; narrow its domains"):
        stacking_space(channels=range(16, 1601, 16), group_channels=[8], l1=[1], l3=range(1, 100_003)).chunks()
    with pytest.raises(ValueError, match=r"1,000,000 choices, more than 100,000 to build one by one; .* \(chunks\)"):
        space.enumerate()
    with pytest.raises(ValueError, match=r"feasible candidates, more than 100,000 to build one by one; .* \(chunks\)"):
        space.feasible()


@pytest.mark.parametrize(
    "space",
    [
        stacking_space(target=Target(1_000_000)),
        stacking_space(target=Target(10**12)),
        stacking_space(l1=[3, 4], target=Target(100_000_000, "flops")),
        stacking_space(channels=[48, 80], l1=[2, 3], target=Target(10**8, "memory"), batch_size=8, kernel_size=[3, 5]),
        stacking_space(channels=[16, 64], l1=[1, 2], l3=range(1, 9), limits=[Limit("memory", 10**6)]),
        wide_stacking_space(channels=[64, 32], limits=[Limit("params", 10**5), Limit("activations", 10**6)], kernel_size=[5, 7], style="h"),
    ],
)
def test_what_cannot_be_reached_is_answered_with_the_nearest_that_can(space: SearchSpace) -> None:
    domains = space.domains

    def missed(stack: tuple[Any, ...]) -> tuple[float, float]:
        config = stack_variant(*stack[:4], style=space.style, kernel_size=stack[4])
        over = [space.size(config, limit.metric) / limit.value for limit in space.limits]
        ratio = space.size(config, space.target.metric) / space.target.value if space.target else 1.0
        return max([1.0, *over]), max(ratio, 1 / ratio)

    def depths(l1: Any) -> list[Any]:
        every = domains.get("l3", (*range(1, 9), DEEPEST) if len(domains) == 3 else range(1, 9))
        return sorted(l3 for l3 in every if int(l3) >= l1)[:9]

    legal = [(c, g) for c, g in product(domains["channels"], domains["group_channels"]) if int(c) % int(g) == 0]
    open_stacks = [(c, g, l1, k) for (c, g), l1, k in product(legal, domains["l1"], domains.get("kernel_size", (3,)))]
    stacks = [(c, g, l1, l3, k) for c, g, l1, k in open_stacks for l3 in depths(l1)]
    c, g, l1, l3, k = min(stacks, key=missed)
    with pytest.raises(ValueError, match="the nearest reachable is") as raised:
        space.feasible_set()
    named = f"nearest reachable is {c},{g},{l1},{l3}" + ("" if k == 3 else f" (kernel_size {k})") + " with"
    assert named in str(raised.value)
    assert ("in float32)" in str(raised.value)) == ("memory" in str(raised.value))
    with pytest.raises(ValueError, match=re.escape(str(raised.value))):
        space.sample(1, np.random.default_rng(0))


def test_a_limit_on_memory_says_of_which_training() -> None:
    space = stacking_space(limits=[Limit.parse("memory<=2G")], l3=[1, 20], l1=[1], batch_size=32)
    reasons = [candidate.reason for candidate in space.enumerate() if candidate.reason and "memory" in candidate.reason]
    assert reasons
    assert re.fullmatch(r"over the limit: memory \S+G > 2\.00G \(bytes of training 32 images of 224 px in float32\)", reasons[0])


def test_the_set_is_found_once_and_is_no_part_of_the_space() -> None:
    space, other = stacking_space(), stacking_space()
    packed = pickle.dumps(space)
    assert space.feasible_set() is space.feasible_set()
    assert space == other
    assert pickle.dumps(space) == packed
    copy = pickle.loads(packed)
    assert copy == space
    assert len(copy.feasible_set()) == 19
    narrower = replace(space, limits=(Limit.parse("flops<=5G"),))
    assert len(narrower.feasible_set()) < 19


def test_costs_cannot_be_written_over_and_unknown_ones_are_named() -> None:
    feasible = stacking_space().feasible_set()
    with pytest.raises(ValueError, match="read-only"):
        feasible.costs("params")[0] = 1
    with pytest.raises(ValueError, match=r"unknown size 'latency_ms'; known: params, flops, activations, memory"):
        feasible.costs("latency_ms")


def test_sizes_beyond_int64_are_refused_rather_than_wrong() -> None:
    space = stacking_space(channels=[2**20], group_channels=[16], l1=[10_000], target=Target(10**17, "flops"))
    with pytest.raises(ValueError, match=r"flops must stay below 2\^61 .* C1=1048576, C'=16, L1=10000"):
        space.feasible_set()
