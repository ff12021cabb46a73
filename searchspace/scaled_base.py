"""A base and how it is scaled: what size a φ asks for, the variant of a width that has it, and which widths a φ can use."""

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from searchspace.exponents import Exponents, exponents
from searchspace.matched_depth import Sizing
from searchspace.model_config import LARGEST, ModelConfig
from searchspace.scaling import compound_scale, effective_pair, lattice_step, matched_scale
from searchspace.scaling_setting import Scaling


@dataclass(frozen=True, slots=True)
class ScaledBase:
    """A base with a setting; sizes are counted at `image_size` with `num_classes` classes, memory for batches of `batch_size`."""

    base: ModelConfig
    setting: Scaling
    image_size: int = 224
    num_classes: int = 1000
    batch_size: int = 64

    @property
    def sizing(self) -> Sizing:
        """The size that a step of φ doubles."""
        return Sizing(metric=self.setting.metric, exponents=self.setting.exponents, **self._counted)

    @property
    def exponents(self) -> Exponents:
        """The measured exponents, or those of the base's size."""
        return self.setting.exponents or _exponents(self)

    @property
    def _counted(self) -> dict[str, Any]:
        return {"image_size": self.image_size, "num_classes": self.num_classes, "batch_size": self.batch_size}

    def asked(self, phi: float) -> float:
        """2^φ times the base's size, in the unit of `Sizing.of`."""
        return float(2**phi * _base_size(self))

    def error(self, config: ModelConfig, phi: float) -> float:
        """Relative distance of a variant's size from the one that `phi` asks for."""
        return self.sizing.of(config, self.base) / self.asked(phi) - 1

    def variant(self, channels: int, phi: float) -> ModelConfig:
        """The variant of a width: as deep as the size asks for, with `formula` as the α of its β says; the base at φ = 0."""
        return _variant(self, channels, phi)

    def alpha(self, channels: int, phi: float) -> float:
        """The effective α of a width, with `formula` that which belongs to its β; ValueError where no depth has the size."""
        if self.setting.formula:
            return self.exponents.alpha_of(float((channels / self.base.channels) ** (1 / phi)))
        return effective_pair(self.base, self.variant(channels, phi), phi)[0]

    def widths(self, phi: float) -> tuple[int, ...]:
        """The widths of the lattice whose α lies in the setting's range, ascending; the base's at φ = 0."""
        return _widths(self, phi)

    def around(self, phi: float) -> dict[int, float]:
        """The widths on both sides of the range with their α, for a φ that has none in it."""
        first, _ = _range(self, phi)
        steps = [k for k in (first - 1, first) if 0 <= k < _steps(self, phi)]
        return {_width(self, phi, k): _alpha_or_end(self, _width(self, phi, k), phi) for k in steps}


@lru_cache(maxsize=64)
def _exponents(scaled: ScaledBase) -> Exponents:
    return exponents(scaled.base, scaled.setting.metric, **scaled._counted)


@lru_cache(maxsize=64)
def _base_size(scaled: ScaledBase) -> float:
    return scaled.sizing.of(scaled.base, scaled.base)


@lru_cache(maxsize=4096)
def _variant(scaled: ScaledBase, channels: int, phi: float) -> ModelConfig:
    base, setting = scaled.base, scaled.setting
    if phi == 0 and channels == base.channels:
        return base
    if setting.formula:
        beta = float((channels / base.channels) ** (1 / phi))
        return compound_scale(base, phi, alpha=scaled.exponents.alpha_of(beta), beta=beta, split=setting.split)
    how: dict[str, Any] = {"metric": setting.metric, "split": setting.split, "exponents": setting.exponents}
    return matched_scale(base, channels, scaled.asked(phi), **how, **scaled._counted)


@lru_cache(maxsize=256)
def _widths(scaled: ScaledBase, phi: float) -> tuple[int, ...]:
    if phi == 0:
        return (scaled.base.channels,)
    return tuple(sorted(_width(scaled, phi, k) for k in range(*_range(scaled, phi))))


def _range(scaled: ScaledBase, phi: float) -> tuple[int, int]:
    """The steps away from the base's width from which on, and up to which, α lies in the range: it only falls on the way."""
    low, high = scaled.setting.alpha

    def minus_alpha(k: int) -> float:
        return -_alpha_or_end(scaled, _width(scaled, phi, k), phi)

    steps = range(_steps(scaled, phi))
    return bisect_left(steps, -high, key=minus_alpha), bisect_right(steps, -low, key=minus_alpha)


def _steps(scaled: ScaledBase, phi: float) -> int:
    """How many widths there are from the base's on to 0, or to one at which α is too small."""
    if phi < 0:
        return scaled.base.channels // lattice_step(scaled.base)
    steps, most = 1, (LARGEST["channels"] - scaled.base.channels) // lattice_step(scaled.base)
    while steps < most and _alpha_or_end(scaled, _width(scaled, phi, steps), phi) >= scaled.setting.alpha[0]:
        steps = min(2 * steps, most)
    return steps + 1


def _width(scaled: ScaledBase, phi: float, k: int) -> int:
    return scaled.base.channels + (k if phi > 0 else -k) * lattice_step(scaled.base)


def _alpha_or_end(scaled: ScaledBase, width: int, phi: float) -> float:
    """α, at its limit for a width so narrow that no depth has the size."""
    try:
        return scaled.alpha(width, phi)
    except ValueError:
        return float("inf") if phi > 0 else 0.0
