"""The vocabulary of InternImage's own configurations, which all formats of other projects share, to and from a `ModelConfig`."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, fields
from typing import Any

from searchspace.model_config import STAGES, ModelConfig

CORE_OP = "DCNv3"
# What the classification repository and Hugging Face cannot say; dense backbones besides drop `remove_center` without a word.
INEXPRESSIBLE = ("kernel_size", "mask_activation", "unshared_weights")
DEFAULTS: Mapping[str, Any] = {field.name: field.default for field in fields(ModelConfig)}
# Keys that have one value in the only network meant here.
FIXED: Mapping[str, tuple[Any, ...]] = {
    "core_op": (CORE_OP, "DCNv3_pytorch"),
    "act_layer": ("GELU",),
    "norm_layer": ("LN",),
    "cls_scale": (1.5,),
    "use_dcn_v4_op": (False,),
}
ARCHITECTURE = (
    "channels",
    "depths",
    "groups",
    "mlp_ratio",
    "layer_scale",
    "offset_scale",
    "post_norm",
    "res_post_norm",
    "dw_kernel_size",
    "use_clip_projector",
    "level2_post_norm",
    "level2_post_norm_block_ids",
    "center_feature_scale",
    "remove_center",
)


@dataclass(frozen=True, slots=True)
class Section:
    """The values of a configuration under lower-case keys, with how the file spells a key."""

    values: Mapping[str, Any]
    spell: Callable[[str], str]

    def check_keys(self, known: Collection[str]) -> None:
        """ValueError for keys that are unknown or stand for another network."""
        if unknown := [self.spell(key) for key in self.values if key not in known]:
            raise ValueError(f"unknown keys {', '.join(unknown)}; known: {', '.join(map(self.spell, known))}")
        for key, allowed in FIXED.items():
            if key in self.values and self.values[key] not in allowed:
                raise ValueError(f"{self.spell(key)} must be {allowed[0]!r}, got {self.values[key]!r}")

    def whole(self, key: str, default: int | None = None) -> int:
        """A whole number of at least 1, 4.0 included; `default` where the key is missing or null."""
        value = self.values.get(key)
        value = default if value is None else value
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if type(value) is not int or value < 1:
            raise ValueError(f"{self.spell(key)} must be whole and at least 1, got {value!r}")
        return value

    def number(self, key: str) -> float | None:
        """A number, or None where the key is missing or null."""
        value = self.values.get(key)
        if value is not None and (not isinstance(value, int | float) or isinstance(value, bool)):
            raise ValueError(f"{self.spell(key)} must be a number, got {value!r}")
        return value

    def switch(self, key: str) -> bool:
        """True or false; false where the key is missing or null."""
        value = self.values.get(key)
        if value is not None and not isinstance(value, bool):
            raise ValueError(f"{self.spell(key)} must be true or false, got {value!r}")
        return bool(value)

    def wholes(self, key: str) -> tuple[int, ...]:
        """A list of whole numbers; ValueError where it is missing."""
        value = self.values.get(key)
        if not isinstance(value, list | tuple) or any(type(item) is not int for item in value):
            raise ValueError(f"{self.spell(key)} must be a list of whole numbers, got {value!r}")
        return tuple(value)


def to_keys(config: ModelConfig, format: str, *, inexpressible: tuple[str, ...] = INEXPRESSIBLE) -> dict[str, Any]:
    """The architecture under the shared lower-case keys; ValueError names a switch that `format` cannot express, and its value."""
    for name in inexpressible:
        if getattr(config, name) != DEFAULTS[name]:
            raise ValueError(f"the format {format} cannot express {name}={getattr(config, name)!r}, only {name}={DEFAULTS[name]!r}")
    ids = list(config.level2_post_norm_block_ids)
    return {
        "core_op": CORE_OP,
        "depths": list(config.depths),
        "groups": list(config.groups),
        "channels": config.channels,
        "layer_scale": None if config.layer_scale is None else float(config.layer_scale),
        "offset_scale": float(config.offset_scale),  # typed readers take no 1 for 1.0
        "mlp_ratio": float(config.mlp_ratio),
        "post_norm": config.post_norm,
        "res_post_norm": config.res_post_norm,
        "dw_kernel_size": config.dw_kernel_size,
        "use_clip_projector": config.clip_projector,
        "level2_post_norm": bool(ids),
        "level2_post_norm_block_ids": ids or None,
        "center_feature_scale": config.center_feature_scale,
        "remove_center": config.remove_center,
    }


def from_keys(section: Section) -> ModelConfig:
    """The architecture that a configuration describes; ValueError names the key and the rule."""
    channels = section.whole("channels")
    group_channels, one_group = _group_channels(section, channels)
    offset_scale = section.number("offset_scale")
    return ModelConfig(
        channels=channels,
        group_channels=group_channels,
        depths=section.wholes("depths"),  # type: ignore[arg-type]  # four of them is the configuration's own rule
        mlp_ratio=section.whole("mlp_ratio", DEFAULTS["mlp_ratio"]),
        dw_kernel_size=section.whole("dw_kernel_size", DEFAULTS["dw_kernel_size"]),
        offset_scale=DEFAULTS["offset_scale"] if offset_scale is None else offset_scale,
        layer_scale=section.number("layer_scale"),
        post_norm=section.switch("post_norm"),
        res_post_norm=section.switch("res_post_norm"),
        center_feature_scale=section.switch("center_feature_scale"),
        level2_post_norm_block_ids=_block_ids(section),
        clip_projector=section.switch("use_clip_projector"),
        remove_center=section.switch("remove_center"),
        one_group=one_group,
    )


def _group_channels(section: Section, channels: int) -> tuple[int, bool]:
    """C' and whether one group holds all channels of every stage."""
    groups = section.wholes("groups")
    if groups == (1,) * STAGES:
        return channels, True
    first = groups[0] if groups else 0
    if first < 1 or groups != tuple(first * 2**stage for stage in range(STAGES)):
        raise ValueError(f"{section.spell('groups')} must double from stage to stage (or be 1 in all four), got {list(groups)}")
    if channels % first:
        raise ValueError(
            f"{section.spell('channels')} must be a multiple of {section.spell('groups')}[0], got {channels} channels in {first} groups"
        )
    return channels // first, False


def _block_ids(section: Section) -> tuple[int, ...]:
    """Blocks of stage 3 with a norm behind them; a list that is switched off counts for nothing, as in the networks themselves."""
    return section.wholes("level2_post_norm_block_ids") if section.switch("level2_post_norm") else ()
