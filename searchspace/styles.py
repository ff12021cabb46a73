"""The published bundles of switches, named for the variant that introduced each: t, s, l, h and g."""

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from searchspace.model_config import ABLATIONS, DEEPEST, ModelConfig

POST_NORM_EVERY = 6  # H and G put an extra norm after every sixth block of stage 3
_DEFAULTS: Mapping[str, Any] = {field.name: field.default for field in fields(ModelConfig)}

STYLES: Mapping[str, Mapping[str, Any]] = {
    "t": {},
    "s": {"post_norm": True, "layer_scale": 1e-5},
    "l": {"post_norm": True, "layer_scale": 1e-5, "offset_scale": 2.0},
    "h": {"res_post_norm": True, "dw_kernel_size": 5, "center_feature_scale": True, "clip_projector": True, "level2_post_norm": True},
    "g": {"post_norm": True, "dw_kernel_size": 5, "center_feature_scale": True, "clip_projector": True, "level2_post_norm": True},
}


def styled(*, channels: int, group_channels: int, depths: tuple[int, int, int, int], style: str = "t") -> ModelConfig:
    """The architecture of these widths and depths with the switches of `style`; ValueError for an unknown style."""
    return ModelConfig(channels=channels, group_channels=group_channels, depths=depths, **switches(style, depths[2]))


def switches(style: str, l3: int) -> dict[str, Any]:
    """The `ModelConfig` fields that `style` sets for a stage 3 of `l3` blocks."""
    if style not in STYLES:
        raise ValueError(f"unknown style {style!r}; known: {', '.join(STYLES)}")
    values = dict(STYLES[style])
    if values.pop("level2_post_norm", False):
        values["level2_post_norm_block_ids"] = post_norm_ids(l3)
    return values


def post_norm_ids(l3: int) -> tuple[int, ...]:
    """The blocks of a stage 3 of `l3` blocks that have a norm behind them in H and G: every sixth."""
    return tuple(range(POST_NORM_EVERY - 1, min(l3, DEEPEST), POST_NORM_EVERY))


def has_post_norms(config: ModelConfig) -> bool:
    """Whether norms stand behind every sixth block of stage 3, or would if it were deep enough, as H's and G's head goes with them."""
    ids = config.level2_post_norm_block_ids
    return ids == post_norm_ids(config.depths[2]) and (bool(ids) or config.clip_projector)


def style_of(config: ModelConfig) -> str:
    """The style whose switches `config` has, or `custom`."""
    for style in STYLES:
        if config == styled(channels=config.channels, group_channels=config.group_channels, depths=config.depths, style=style):
            return style
    return "custom"


def style_text(config: ModelConfig) -> str:
    """The style in words: its name, for others the nearest one's and what differs from it, `t with kernel_size=5`."""
    changes = [(style, _changes(config, style)) for style in STYLES]
    style, nearest = min(changes, key=lambda change: len(change[1]))
    return f"{style} with {', '.join(nearest)}" if nearest else style


def _changes(config: ModelConfig, style: str) -> list[str]:
    plain = restyled(config, style)
    plain = replace(plain, **{name: _DEFAULTS[name] for name in ("kernel_size", "mlp_ratio", *ABLATIONS)})
    return [
        f"{field.name}={getattr(config, field.name)}"
        for field in fields(config)
        if getattr(config, field.name) != getattr(plain, field.name)
    ]


def restyled(config: ModelConfig, style: str) -> ModelConfig:
    """`config` with the switches of another style; widths, depths, kernel, MLP ratio and ablations stay."""
    every_switch = {name for style in STYLES for name in switches(style, POST_NORM_EVERY)}
    return replace(config, **{name: _DEFAULTS[name] for name in every_switch} | switches(style, config.depths[2]))


def restack(config: ModelConfig, *, channels: int, group_channels: int, depths: tuple[int, int, int, int]) -> ModelConfig:
    """`config` with other widths and depths and its own style."""
    style = style_of(config)
    if style != "custom":
        return styled(channels=channels, group_channels=group_channels, depths=depths, style=style)
    kept = tuple(i for i in config.level2_post_norm_block_ids if i < depths[2])
    ids = post_norm_ids(depths[2]) if has_post_norms(config) else kept
    group = channels if config.one_group else group_channels
    return replace(config, channels=channels, group_channels=group, depths=depths, level2_post_norm_block_ids=ids)
