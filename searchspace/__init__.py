"""Architectures as data: configurations, rules, exact cost and search spaces; standard library, NumPy and PyYAML only."""

from searchspace.cost import Cost, cost, cost_by_part
from searchspace.model_config import ModelConfig
from searchspace.presets import PRESETS, Preset, preset
from searchspace.scaling import compound_scale, effective_phi
from searchspace.sizes import Limit, Target
from searchspace.space import Candidate, SearchSpace
from searchspace.stacking import stack
from searchspace.styles import STYLES, style_of, styled

__all__ = [
    "PRESETS",
    "STYLES",
    "Candidate",
    "Cost",
    "Limit",
    "ModelConfig",
    "Preset",
    "SearchSpace",
    "Target",
    "compound_scale",
    "cost",
    "cost_by_part",
    "effective_phi",
    "preset",
    "stack",
    "style_of",
    "styled",
]
