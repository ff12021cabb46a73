"""The zero-cost scores of untrained networks by name: what each is, where it comes from and what had to be changed; loads no torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Literal

CONSTANT = 1e-9  # of the largest value: what rounding leaves of differences that are none


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreFacts:
    """A score in words; `direction` is the one in which its paper takes it to predict a better accuracy after training."""

    label: str
    paper: str
    adapted: str
    direction: Literal["minimize", "maximize"] = "maximize"


SCORE_TABLE: Mapping[str, ScoreFacts] = {
    "synflow": ScoreFacts(
        label="log SynFlow",
        paper="Tanaka et al., NeurIPS 2020, arXiv 2006.05467",
        adapted="the logarithm of the sum, in float64, constants divided out of the trunk and added back: the sum itself overflows; "
        "LayerNorm, BatchNorm and GELU become the identity (a LayerNorm takes away the very scale that is measured) and biases zero, so "
        "that the network is linear; DCNv3 counts as the mean filter that it starts as, so its depthwise convolution, offsets and masks "
        "add nothing; layer scale counts as the parameter that it is; an attention pool weighs all tokens alike",
    ),
    "naswot": ScoreFacts(
        label="NASWOT",
        paper="Mellor et al., ICML 2021, arXiv 2006.04647",
        adapted="the sign of what goes into each GELU, at every pixel, in place of a ReLU's on or off; one batch of training images",
    ),
    "grad_norm": ScoreFacts(
        label="gradient norm",
        paper="Abdelfattah et al., ICLR 2021, arXiv 2101.08134",
        adapted="one Euclidean norm over all parameters instead of a sum over layers, which would count the layers; plain cross-entropy of "
        "one batch of training images, without stochastic depth",
    ),
    "zen": ScoreFacts(
        label="Zen",
        paper="Lin et al., ICCV 2021, arXiv 2102.01063",
        adapted="each LayerNorm that the features go through adds the log of what it divides by, as a BatchNorm does (the root of the "
        "mean variance, over pixels instead of channels); those that only shape DCNv3's offsets and masks do not: these stay zero and "
        "nothing of them arrives; residual links are cut as in the paper, layer scale with them; float64; the features are the last that "
        "are still a map",
    ),
    "params": ScoreFacts(label="params", paper="none: the baseline", adapted="exact count of the full variant, 1000 classes"),
    "flops": ScoreFacts(label="FLOPs", paper="none: the baseline", adapted="exact count of the full variant, 224 px, 1000 classes"),
}


def is_constant(values: Sequence[float]) -> bool:
    """Whether a score tells none of several candidates apart: all equal up to rounding, or none of them finite."""
    finite = [value for value in values if isfinite(value)]
    if len(values) < 2 or 0 < len(finite) < len(values):
        return False
    return not finite or max(finite) - min(finite) <= CONSTANT * max(map(abs, finite))


def known_scores(names: Sequence[str]) -> tuple[str, ...]:
    """`names`, each once and in order; ValueError for an unknown one lists those that are known."""
    if unknown := [name for name in names if name not in SCORE_TABLE]:
        raise ValueError(f"unknown score {unknown[0]!r}; known: {', '.join(SCORE_TABLE)}")
    return tuple(dict.fromkeys(names))
