"""The published InternImage family, as a table (paper, tables 1 and 2, and the released configurations)."""

from collections.abc import Mapping
from dataclasses import dataclass

from searchspace.model_config import ModelConfig
from searchspace.styles import styled


@dataclass(frozen=True, slots=True)
class Preset:
    """A published variant: its architecture, image side in pixels, ImageNet top-1 in percent and stochastic-depth rate."""

    name: str
    config: ModelConfig
    image_size: int
    top1: float
    drop_path_rate: float


def _preset(name: str, widths: tuple[int, int], depths: tuple[int, int, int, int], style: str, facts: tuple[int, float, float]) -> Preset:
    return Preset(name, styled(channels=widths[0], group_channels=widths[1], depths=depths, style=style), *facts)


PRESETS: Mapping[str, Preset] = {
    preset.name: preset
    for preset in (
        _preset("T", (64, 16), (4, 4, 18, 4), "t", (224, 83.5, 0.1)),
        _preset("S", (80, 16), (4, 4, 21, 4), "s", (224, 84.2, 0.4)),
        _preset("B", (112, 16), (4, 4, 21, 4), "s", (224, 84.9, 0.5)),
        _preset("L", (160, 16), (5, 5, 22, 5), "l", (384, 87.7, 0.1)),
        _preset("XL", (192, 16), (5, 5, 24, 5), "l", (384, 88.0, 0.2)),
        _preset("H", (320, 32), (6, 6, 32, 6), "h", (224, 88.9, 0.2)),
        _preset("G", (512, 32), (2, 2, 48, 4), "g", (512, 90.1, 0.4)),
    )
}


def preset(name: str) -> Preset:
    """The published variant of this name, in either case; ValueError lists the known ones."""
    if name.upper() not in PRESETS:
        raise ValueError(f"unknown preset {name!r}; known: {', '.join(PRESETS)}")
    return PRESETS[name.upper()]
