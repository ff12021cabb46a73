"""Architectures as data: configurations, rules, exact cost and search spaces; standard library, NumPy and PyYAML only."""

from searchspace.cost import Cost, cost, cost_by_part
from searchspace.cost_arrays import CostArrays, cost_arrays
from searchspace.memory import Training, TrainingMemory, memory_bytes
from searchspace.model_config import ModelConfig
from searchspace.presets import PRESETS, Preset, preset
from searchspace.scaling import compound_scale, effective_phi
from searchspace.sizes import Limit, Target
from searchspace.space import Candidate, SearchSpace
from searchspace.stacking import stack
from searchspace.styles import STYLES, style_of, styled
from searchspace.switch_flags import with_settings

__all__ = [
    "PRESETS",
    "STYLES",
    "Candidate",
    "Cost",
    "CostArrays",
    "Limit",
    "ModelConfig",
    "Preset",
    "SearchSpace",
    "Target",
    "Training",
    "TrainingMemory",
    "compound_scale",
    "cost",
    "cost_arrays",
    "cost_by_part",
    "effective_phi",
    "memory_bytes",
    "preset",
    "stack",
    "style_of",
    "styled",
    "with_settings",
]
