"""A scaling study as the plane of (α, β): where its variants lie, and the families that a pair makes, in words."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from dashboard.quantities import shown
from dashboard.stacking_cells import placed
from searchspace.depth_split import paper_depth
from searchspace.exponents import Exponents, exponents
from searchspace.family import Member
from searchspace.model_config import ModelConfig
from searchspace.scaling_rule import scaled_base
from searchspace.space import SearchSpace
from searchspace.styles import style_of

PHI = "param_phi"


def scaling_points(frame: pd.DataFrame, base: ModelConfig, metric: str) -> pd.DataFrame:
    """One row a complete choice of a scaling study's `trials_frame` above φ = 0: φ, effective α and β, mean and spread over its seeds."""
    trials = placed(frame)
    complete = trials[trials["state"] == "COMPLETE"] if PHI in trials and metric in trials else trials.iloc[:0]
    if complete.empty:
        return pd.DataFrame(columns=["phi", "alpha", "beta", "variant", "value", "spread", "seeds", "number"])
    complete = complete.assign(phi=pd.to_numeric(complete[PHI]), measured=pd.to_numeric(complete[metric], errors="coerce"))
    complete = complete[(complete["phi"] != 0) & complete["measured"].notna()]
    step = 1 / complete["phi"]
    alpha = ((3 * complete["l1"] + complete["l3"].astype(float)) / paper_depth(base)) ** step
    beta = (complete["channels"] / base.channels) ** step
    told = {"value": ("measured", "mean"), "spread": ("measured", "std"), "seeds": ("measured", "size"), "number": ("number", "first")}
    points = complete.assign(alpha=alpha, beta=beta).groupby(["phi", "alpha", "beta", "variant"]).agg(**told)
    return points.reset_index()


def exponents_of(space: SearchSpace, fitted: Mapping[str, Any] | None) -> Exponents:
    """The exponents of the constraint curve: of the fit, of the space, or for a space of an earlier version those of the parameters."""
    if fitted is not None:
        return Exponents(float(fitted["exponents"]["depth"]), float(fitted["exponents"]["width"]))
    if space.scaling is not None:
        return scaled_base(space).exponents
    assert space.base is not None, "a scaling space is made with a base"
    return exponents(space.base, "params")


def curve(by: Exponents, alphas: Sequence[float]) -> tuple[list[float], list[float]]:
    """α and β along the constraint from α = 1 on, as far as the given α reach and a little further, β ≥ 1."""
    end = min(by.alpha_of(1.0), max([1.2, *(alpha for alpha in alphas if np.isfinite(alpha))]) + 0.04)
    along = np.linspace(1.0, end, 100).tolist()
    return along, [by.beta_of(alpha) for alpha in along]


def family_table(members: Sequence[Member]) -> pd.DataFrame:
    """A family row by row, in words."""
    rows = [
        {
            "": member.name or f"φ = {member.phi:g}",
            "C1,C′,L1,L3": member.config.short_name,
            "style": style_of(member.config),
            "D": paper_depth(member.config),
            "params": shown("params", member.cost.params),
            "FLOPs": shown("flops", member.cost.flops),
            "φ of width": _phi(member.phi_width),
            "φ of depth": _phi(member.phi_depth),
            "size error": f"{member.size_error:+.1%}",
        }
        for member in members
    ]
    return pd.DataFrame(rows)


def _phi(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"
