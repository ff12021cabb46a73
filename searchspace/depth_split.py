"""Named rules that split the depth D = 3 · L1 + L3 into whole L1 and L3."""

import math
from collections.abc import Callable, Mapping

from searchspace.model_config import ModelConfig

PUBLISHED_RATIO = 5  # L1 = round(D / 8) gives every split of T, S, B, L, XL and H; T's own ratio of 4.5 would give H an L1 of 7


def paper_depth(config: ModelConfig) -> int:
    """D = 3 · L1 + L3, the depth that the scaling rule multiplies."""
    return 3 * config.depths[0] + config.depths[2]


def split_depth(depth: int, base: ModelConfig, split: str = "ratio") -> tuple[int, int]:
    """(L1, L3) with 3 · L1 + L3 = `depth` and 1 ≤ L1 ≤ L3, by the named rule; ValueError where no whole numbers fit."""
    check_split(split)
    return SPLITS[split](depth, base)


def check_split(split: str) -> None:
    """ValueError for a rule that there is not."""
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}; known: {', '.join(SPLITS)}")


def least_depth(base: ModelConfig, split: str) -> int:
    """The smallest D that a rule can split."""
    return 4 * base.depths[0] if split == "keep-l1" else 4


def round_half_up(value: float) -> int:
    """The nearest whole number; Python's round sends 2.5 to 2, which would make the width lattice uneven."""
    return math.floor(value + 0.5)


def _by_ratio(depth: int, base: ModelConfig) -> tuple[int, int]:
    """L3 / L1 as near as whole blocks allow to the base's."""
    return _split_at(depth, base.depths[2] / base.depths[0])


def _keeping_l1(depth: int, base: ModelConfig) -> tuple[int, int]:
    """All growth in stage 3."""
    l1 = base.depths[0]
    if depth < 4 * l1:
        raise ValueError(f"split keep-l1 needs a depth of at least 4 * L1 = {4 * l1} (L1 <= L3), got {depth}; take split ratio")
    return l1, depth - 3 * l1


def _as_published(depth: int, base: ModelConfig) -> tuple[int, int]:
    """L1 = round(D / 8), which all published AABA variants follow."""
    own = (base.depths[0], base.depths[2])
    if (expected := _split_at(paper_depth(base), PUBLISHED_RATIO)) != own:
        raise ValueError(
            f"split published continues the published L1 = round(D / {3 + PUBLISHED_RATIO}), which the base {base.short_name} breaks: "
            f"D={paper_depth(base)} would be L1={expected[0]}, L3={expected[1]}; take split ratio or keep-l1"
        )
    return _split_at(depth, PUBLISHED_RATIO)


def _split_at(depth: int, ratio: float) -> tuple[int, int]:
    if depth < 4:
        raise ValueError(f"depth must be at least 4 (one block a stage), got {depth}")
    l1 = min(max(1, round_half_up(depth / (3 + ratio))), depth // 4)  # depth // 4: L1 ≤ L3
    return l1, depth - 3 * l1


SPLITS: Mapping[str, Callable[[int, ModelConfig], tuple[int, int]]] = {
    "ratio": _by_ratio,
    "keep-l1": _keeping_l1,
    "published": _as_published,
}
