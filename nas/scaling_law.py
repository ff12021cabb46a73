"""The law of a scaling study: error over cost and shape, the best (α, β) with what is left open, predictions; stored with the study."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from nas.api import Study
from nas.errors import NasError
from nas.scaling_form import Law
from nas.scaling_inference import LEVEL, Inference, Repeats, infer
from nas.scaling_points import Growth, LawMetric, Point, points_of, sample_of
from nas.scaling_refusal import why_constant, why_no_best, why_no_law
from searchspace.family import PHIS
from searchspace.scaling import ALPHA, BETA
from studies.records import Fit, StudyRecord
from studies.store import Store

UNTOLD: dict[str, Any] = {
    "law": None,
    "best": None,
    "paper": None,
    "tied": [],
    "predictions": [],
    "noise": None,
    "noise_source": None,
    "r2": None,
}
BOUNDS: Mapping[LawMetric, tuple[float, float]] = {"error": (0.0, 1.0), "loss": (0.0, math.inf)}  # what a training can measure
ROUNDING = 0.05  # of φ: so far may the costs of one φ lie apart


def fit_study(study: Study, metric: LawMetric = "error", *, phis: Sequence[float] = PHIS) -> Fit:
    """Fit the law to the study's complete trials, predict it at `phis`, and store what came out, a refusal too.

    ValueError for a study of another space, and for trials without the metric; nothing is stored then.
    """
    growth = Growth.of(study)
    points, left_out = points_of(study, metric)
    content = {"metric": metric, **law_of(points, growth, phis), "left_out": left_out}
    least, most = BOUNDS[metric]
    content["predictions"] = [{**each, "low": max(least, each["low"]), "high": min(most, each["high"])} for each in content["predictions"]]
    return study.store.fits.add(study.record, metric, content)


def best_pair(store: Store, study: StudyRecord) -> tuple[float, float]:
    """The best (α, β) of the study's newest fit of the error, or of the loss where none of the error is stored.

    NasError where nothing was fitted, or the fit refused to name a pair.
    """
    fits = sorted(store.fits.of(study), key=lambda fit: fit.metric != "error")  # stable: the newest stays in front
    if not fits:
        raise NasError(f"study {study.name!r} has no fitted pair; run `nas fit {study.name}` first")
    content = fits[0].content
    if content["best"] is None:
        raise NasError(f"study {study.name!r} tells no best pair: {content['refused']}; then run `nas fit {study.name}`")
    return float(content["best"]["alpha"]), float(content["best"]["beta"])


def law_of(points: Sequence[Point], growth: Growth, phis: Sequence[float] = PHIS) -> dict[str, Any]:
    """Everything that is told of these points, as plain JSON values; what cannot be told is null, and `refused` says why."""
    found, refused = _inferred(points)
    law = None if found is None else found.law
    return {
        **_scaled(growth),
        "level": LEVEL,
        **UNTOLD,
        **({} if found is None else _told(found, growth, phis)),
        **({} if found is None or refused else _preferred(points, found, growth)),
        "refused": refused,
        "points": [_plain(point, law) for point in points],
        "searched": {"alpha": list(_searched(points))},
    }


def _inferred(points: Sequence[Point]) -> tuple[Inference | None, str | None]:
    """What can be inferred, if anything, and why there is no best pair, if so."""
    if refused := why_no_law(points):
        return None, refused
    found = infer(sample_of(points), Repeats.of([point.values for point in points]))
    if refused := why_constant(found):
        return None, refused
    return found, why_no_best(found, _searched(points))


def _told(found: Inference, growth: Growth, phis: Sequence[float]) -> dict[str, Any]:
    return {
        "law": asdict(found.law),
        "predictions": [_prediction(found, growth, phi) for phi in phis],
        "noise": found.noise.deviation,
        "noise_source": found.noise.source,
        "r2": found.explained,
    }


def _preferred(points: Sequence[Point], found: Inference, growth: Growth) -> dict[str, Any]:
    """The best pair, the paper's beside it, and the measured variants whose share of depth lies in the interval of the best."""
    low, high = found.share
    best = {**_pair(growth, found.best_share), "share": found.best_share, "low": _pair(growth, low), "high": _pair(growth, high)}
    paper = growth.share_of(ALPHA, BETA)
    tied = [point for point in points if point.share is not None and low <= point.share <= high]
    return {
        "best": best,
        "paper": {"alpha": ALPHA, "beta": BETA, "share": paper, "tied": low <= paper <= high},
        "tied": [{**_own_pair(point), "variant": point.config.short_name, "phi": point.asked_phi} for point in tied],
    }


def _scaled(growth: Growth) -> dict[str, Any]:
    scaled = growth.scaled
    return {
        "scale_metric": scaled.setting.metric,
        "exponents": asdict(scaled.exponents),
        "base": scaled.base.short_name,
        "base_model": scaled.base.to_dict(),
    }


def _pair(growth: Growth, share: float) -> dict[str, float]:
    alpha, beta = growth.pair(share)
    return {"alpha": alpha, "beta": beta}


def _prediction(inference: Inference, growth: Growth, phi: float) -> dict[str, float]:
    """What one training of the best share's variant at φ will measure, with its band; `extrapolation` in cost beyond the points."""
    depth = inference.best_share * phi
    value = float(inference.law.at(phi, depth))
    low, high = inference.band(phi, depth)
    measured = inference.sample.phi
    beyond = max(phi - float(measured.max()), float(measured.min()) - phi)
    cost = growth.scaled.asked(phi)
    return {"phi": phi, "cost": cost, "value": value, "low": low, "high": high, "extrapolation": 2.0**beyond if beyond > ROUNDING else 1.0}


def _own_pair(point: Point) -> dict[str, float | None]:
    alpha, beta = point.pair or (None, None)
    return {"alpha": alpha, "beta": beta}


def _plain(point: Point, law: Law | None) -> dict[str, Any]:
    return {
        "trials": list(point.trials),
        "variant": point.config.short_name,
        "phi": point.phi,
        "asked_phi": point.asked_phi,
        "share": point.share,
        **_own_pair(point),
        "cost": point.cost,
        "value": point.value,
        "std": point.std,
        "seeds": len(point.values),
        "predicted": None if law is None else float(law.at(point.phi, point.depth)),
    }


def _searched(points: Sequence[Point]) -> tuple[float, float]:
    """The smallest and the largest α of the variants; 1 where there is none but the base."""
    alphas = [point.pair[0] for point in points if point.pair is not None] or [1.0]
    return min(alphas), max(alphas)
