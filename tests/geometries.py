"""Drawn lattices of the operator, with input sizes that they fit."""

from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

Pair = tuple[int, int]


@st.composite
def geometries(
    draw: st.DrawFn, *, kernels: st.SearchStrategy[Pair], padding: int, groups: int, room: int, scales: Sequence[float]
) -> tuple[dict[str, Any], Pair]:
    """The fields of a `Geometry` and (height, width) up to `room` pixels above the least that give an output."""
    kernel, dilation, pads = draw(kernels), draw(pairs(1, 2)), draw(pairs(0, padding))
    needed = [max(1, d * (k - 1) + 1 - 2 * p) for k, d, p in zip(kernel, dilation, pads, strict=True)]
    height, width = (least + draw(st.integers(0, room)) for least in needed)
    geometry = {
        "kernel_size": kernel,
        "stride": draw(pairs(1, 3)),
        "padding": pads,
        "dilation": dilation,
        "groups": draw(st.integers(1, groups)),
        "offset_scale": draw(st.sampled_from(scales)),
        "remove_center": kernel[0] % 2 == 1 and kernel[1] % 2 == 1 and kernel != (1, 1) and draw(st.booleans()),
    }
    return geometry, (height, width)


def pairs(low: int, high: int) -> st.SearchStrategy[Pair]:
    """(height, width), each from `low` to `high`."""
    return st.tuples(st.integers(low, high), st.integers(low, high))
