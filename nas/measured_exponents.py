"""How latency grows with depth and width, measured: a base beside itself twice as deep and twice as wide."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from nas.errors import NasError
from searchspace.exponents import Exponents, doubled_depth, doubled_width
from searchspace.model_config import ModelConfig
from trainer.latency_setting import Latency, LatencySetting, OutOfMemory

Measure = Callable[[Sequence[ModelConfig], LatencySetting], Sequence[Latency]]


def _measure(configs: Sequence[ModelConfig], setting: LatencySetting) -> Sequence[Latency]:
    """The real latencies; torch is loaded here."""
    from trainer.latency import measure_latency

    return measure_latency(configs, setting)


def latency_exponents(base: ModelConfig, setting: LatencySetting | None = None, *, measure: Measure = _measure) -> Exponents:
    """log2 of how many times longer a batch takes with twice the depth, and with twice the width, each measured beside `base`.

    NasError where the device has no memory for one of them, or where latency hardly grows, so that no size can be matched by it.
    """
    if not isinstance(base, ModelConfig):
        raise ValueError(f"base must be a ModelConfig, as load_variant makes it, got {base!r}")
    setting = replace(setting or LatencySetting(), anchor=base)
    try:
        deep, wide = (latency.ratio for latency in measure([doubled_depth(base), doubled_width(base)], setting))
    except OutOfMemory as error:
        raise NasError(f"{error}; take a smaller --latency-batch") from None
    try:
        return Exponents(math.log2(deep), math.log2(wide))
    except ValueError as error:
        raise NasError(
            f"{base.short_name} takes {deep:.3g} times as long with twice the depth and {wide:.3g} times with twice the width: {error}; "
            "take a larger --latency-batch"
        ) from None
