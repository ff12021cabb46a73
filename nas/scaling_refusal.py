"""Why a study tells no law, or no best pair: each in one line with the way out."""

from collections.abc import Sequence

from nas.scaling_grid import NARROWEST
from nas.scaling_inference import FEWEST, SIGNIFICANT, Inference
from nas.scaling_points import Point

AGAIN = "search again with more seeds (--seeds), longer training or a larger --phi"


def why_no_law(points: Sequence[Point]) -> str | None:
    """Why no law can be fitted to these points; None where one can."""
    phis = sorted({point.asked_phi for point in points if point.share is not None})
    if len(phis) == 1:
        return f"one phi only ({phis[0]:g}), and a law needs several; search --phi 2,3,4 under another --name"
    if len(points) < FEWEST:
        return f"too few points: {len(points)} variants are complete, and a law needs {FEWEST}; let the search go on, or search more --phi"
    return None


def why_constant(inference: Inference) -> str | None:
    """Why a law explains nothing; None where it explains more than a constant."""
    if inference.chance_of_cost <= SIGNIFICANT:
        return None
    return f"no better than a constant (F-test, p = {inference.chance_of_cost:.2f}); {AGAIN}"


def why_no_best(inference: Inference, searched: tuple[float, float]) -> str | None:
    """Why no pair can be called the best, of variants whose α lie between two; None where one can."""
    low, high = inference.share
    first, last = inference.sample.shares
    alphas = " to ".join(f"{alpha:.2f}" for alpha in searched)
    if last - first < NARROWEST:
        return f"one shape only: all variants have alpha {alphas}; search widths, or --pairs further apart"
    if low <= first and high >= last:
        return f"no preference shown: the 90 % interval covers every alpha searched, {alphas}; {AGAIN}"
    if (chance := inference.chance_of_shape) > SIGNIFICANT:
        return f"no preference shown: a law that knows no shape does as well (F-test, p = {chance:.2f}); {AGAIN}"
    if high < first:
        return f"the best alpha lies below all that were searched, {alphas}; search a smaller --alpha, or from a shallower --base"
    if low > last:
        return f"the best alpha lies above all that were searched, {alphas}; search a larger --alpha, or from a deeper --base"
    return None
