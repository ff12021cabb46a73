"""The published recipes scaled to a variant's size: stochastic depth grows with the logarithm of the parameters."""

import math
from collections.abc import Mapping
from functools import cache

import numpy as np

from searchspace.cost import cost
from searchspace.model_config import ModelConfig
from searchspace.presets import PRESETS
from searchspace.recipes import DENSE_DROP_PATH_RATES, SEGMENTATION, SegmentationRecipe

CLASSIFIER_DROP_PATH_RATES: Mapping[str, float] = {name: PRESETS[name].drop_path_rate for name in ("T", "S", "B")}
DECIMALS = 3


def published_name(config: ModelConfig) -> str | None:
    """The preset that `config` is exactly; None when it is none."""
    return next((name for name, preset in PRESETS.items() if preset.config == config), None)


def classifier_drop_path_rate(config: ModelConfig) -> float:
    """Stochastic depth on ImageNet: a published variant's own, else scaled between T, S and B and constant beyond them."""
    name = published_name(config)
    return _scaled(config, CLASSIFIER_DROP_PATH_RATES) if name is None else PRESETS[name].drop_path_rate


def dense_drop_path_rate(config: ModelConfig) -> float:
    """Stochastic depth in detection and segmentation, scaled between T, S and B and constant beyond them."""
    return _scaled(config, DENSE_DROP_PATH_RATES)


def segmentation_recipe(config: ModelConfig) -> SegmentationRecipe:
    """The recipe of T, S and B up to the size halfway (in logarithms) between B and L, that of L and XL above."""
    border = (_log_params("B") + _log_params("L")) / 2
    return SEGMENTATION["T, S, B" if math.log(cost(config).params) <= border else "L, XL"]


def _scaled(config: ModelConfig, rates: Mapping[str, float]) -> float:
    sizes = [_log_params(name) for name in rates]
    return round(float(np.interp(math.log(cost(config).params), sizes, list(rates.values()))), DECIMALS)


@cache
def _log_params(name: str) -> float:
    return math.log(cost(PRESETS[name].config).params)
