"""One architecture as data: the widths, depths, groups and switches of an InternImage."""

import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Self

STAGES = 4
LARGEST_KERNEL = 7  # points a side of the DCNv3 operator
# Far above anything trainable; what goes beyond is a mistake, and listing a billion blocks would take all memory.
LARGEST: Mapping[str, int] = {"channels": 2**20, "mlp_ratio": 2**10, "dw_kernel_size": 2**10}
DEEPEST = 10_000
MASK_ACTIVATIONS = ("softmax", "sigmoid")
SWITCHES = ("post_norm", "res_post_norm", "center_feature_scale", "clip_projector", "remove_center", "one_group", "unshared_weights")
ABLATIONS: Mapping[str, Any] = {"remove_center": False, "one_group": False, "mask_activation": "softmax", "unshared_weights": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """An InternImage, validated at birth; stage i has `channels` · 2^i channels in groups of `group_channels`.

    Symbols as in the InternImage paper (arXiv 2211.05778, section 3.2): C1 is `channels`, C' is `group_channels`, L1..L4 are `depths`.
    The last four switches are ablations of DCNv3: no sampling point in the middle of the kernel, one group in every stage (C' = C_i;
    `group_channels` is stage 1's, so it equals `channels`), `mask_activation` "sigmoid" weighs each point by itself, and
    `unshared_weights` gives every sampling point an output projection of its own and the masks a second one.
    """

    channels: int
    group_channels: int
    depths: tuple[int, int, int, int]
    mlp_ratio: int = 4
    kernel_size: int = 3
    dw_kernel_size: int = 3
    offset_scale: float = 1.0
    layer_scale: float | None = None
    post_norm: bool = False
    res_post_norm: bool = False
    center_feature_scale: bool = False
    level2_post_norm_block_ids: tuple[int, ...] = ()
    clip_projector: bool = False
    remove_center: bool = False
    one_group: bool = False
    mask_activation: str = "softmax"
    unshared_weights: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "depths", tuple(self.depths))
        object.__setattr__(self, "level2_post_norm_block_ids", tuple(self.level2_post_norm_block_ids))
        self._check_numbers()
        self._check_widths()
        self._check_switches()

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of the four stages (rule 1: C_i = 2^(i-1) · C1)."""
        return tuple(self.channels * 2**stage for stage in range(STAGES))

    @property
    def groups(self) -> tuple[int, ...]:
        """Groups of the four stages (rule 2: G_i = C_i / C')."""
        if self.one_group:
            return (1,) * STAGES
        return tuple(width // self.group_channels for width in self.widths)

    @property
    def points(self) -> int:
        """K, sampling points per group and output pixel."""
        return self.kernel_size**2 - self.remove_center

    @property
    def stage_norm(self) -> bool:
        """Whether a LayerNorm follows the blocks of every stage."""
        return not self.post_norm or self.center_feature_scale

    @property
    def is_aaba(self) -> bool:
        """Whether rules 3 and 4 hold: L1 = L2 = L4 ≤ L3."""
        l1, l2, l3, l4 = self.depths
        return l1 == l2 == l4 <= l3

    @property
    def short_name(self) -> str:
        """`64,16,4,18` for an AABA stack, `512,16,2-2-48-4` otherwise."""
        l1, l2, l3, l4 = self.depths
        depths = f"{l1},{l3}" if self.is_aaba else f"{l1}-{l2}-{l3}-{l4}"
        return f"{self.channels},{self.group_channels},{depths}"

    def divide_channels(self, divisor: int) -> Self:
        """The same depths and group counts with `divisor` times fewer channels (C1 / divisor and C' / divisor)."""
        if divisor < 1 or self.channels % divisor or self.group_channels % divisor:
            raise ValueError(
                f"channel divisor must divide channels and group_channels, got divisor={divisor}, "
                f"channels={self.channels}, group_channels={self.group_channels}"
            )
        return replace(self, channels=self.channels // divisor, group_channels=self.group_channels // divisor)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; `from_dict` reads them back to an equal configuration."""
        # Ablations are written where there are any: files and studies without them read alike in every version.
        values = {key: value for key, value in asdict(self).items() if key not in ABLATIONS or value != ABLATIONS[key]}
        values["depths"] = list(self.depths)
        values["level2_post_norm_block_ids"] = list(self.level2_post_norm_block_ids)
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The configuration that `to_dict` wrote; ValueError names unknown and missing keys."""
        known = {field.name for field in fields(cls)}
        unknown = sorted(set(values) - known)
        missing = sorted({"channels", "group_channels", "depths"} - set(values))
        if unknown or missing:
            raise ValueError(f"not a model configuration: unknown keys {unknown}, missing keys {missing}")
        for key in ("depths", "level2_post_norm_block_ids"):
            if key in values and not isinstance(values[key], list | tuple):
                raise ValueError(f"{key} must be a list of whole numbers, got {values[key]!r}")
        return cls(**values)

    def _check_numbers(self) -> None:
        if len(self.depths) != STAGES:
            raise ValueError(f"depths must name {STAGES} stages, got depths={self.depths}")
        for name in ("channels", "group_channels", "mlp_ratio", "kernel_size", "dw_kernel_size"):
            _check_positive(name, getattr(self, name))
        for depth in self.depths:
            _check_positive("depths", depth)
        for name, largest in LARGEST.items():
            if getattr(self, name) > largest:
                raise ValueError(f"{name} must be at most {largest:,}, got {name}={getattr(self, name)}")
        if max(self.depths) > DEEPEST:
            raise ValueError(f"depths must be at most {DEEPEST:,}, got depths={self.depths}")
        for name, value in (("offset_scale", self.offset_scale), ("layer_scale", self.layer_scale)):
            if value is not None and not _is_positive_number(value):
                raise ValueError(f"{name} must be a positive number, got {value!r}")
        for name in SWITCHES:
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name} must be true or false, got {getattr(self, name)!r}")

    def _check_widths(self) -> None:
        if violation := width_violation(self.channels, self.group_channels):
            raise ValueError(violation)
        if self.channels % 2:
            raise ValueError(f"channels must be even (the stem halves them), got channels={self.channels}")
        if self.dw_kernel_size % 2 == 0:
            raise ValueError(f"dw_kernel_size must be odd, got dw_kernel_size={self.dw_kernel_size}")
        if self.kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd, got kernel_size={self.kernel_size}")
        if self.remove_center and self.kernel_size == 1:
            raise ValueError("remove_center needs a kernel_size of at least 3: a kernel of one point has no other, got kernel_size=1")
        if self.kernel_size > LARGEST_KERNEL:
            raise ValueError(f"kernel_size must be at most {LARGEST_KERNEL}, the operator's largest, got kernel_size={self.kernel_size}")

    def _check_switches(self) -> None:
        if self.res_post_norm and (self.post_norm or self.layer_scale is not None):
            raise ValueError(
                "res_post_norm excludes post_norm and layer_scale (the published code would ignore it silently), "
                f"got post_norm={self.post_norm}, layer_scale={self.layer_scale}"
            )
        if self.mask_activation not in MASK_ACTIVATIONS:
            raise ValueError(f"mask_activation must be one of {', '.join(MASK_ACTIVATIONS)}, got {self.mask_activation!r}")
        if self.one_group and self.group_channels != self.channels:
            raise ValueError(
                "one_group makes a group of all channels, so group_channels must equal channels, "
                f"got channels={self.channels}, group_channels={self.group_channels}"
            )
        ids = self.level2_post_norm_block_ids
        if any(type(i) is not int or not 0 <= i < self.depths[2] for i in ids) or list(ids) != sorted(set(ids)):
            raise ValueError(f"level2_post_norm_block_ids must ascend within stage 3's {self.depths[2]} blocks, got {ids}")


def width_violation(channels: int, group_channels: int) -> str | None:
    """Why rules 1 and 2 cannot hold for these widths, with the nearest widths that can; None when they do."""
    if channels % group_channels == 0:
        return None
    below = channels // group_channels * group_channels
    nearest = ", ".join(str(width) for width in (below, below + group_channels) if width)
    return (
        f"channels must be a multiple of group_channels, got channels={channels}, group_channels={group_channels} "
        f"(G1 = {channels / group_channels:g}); nearest: {nearest}"
    )


def _check_positive(name: str, value: object) -> None:
    if type(value) is not int or value < 1:
        raise ValueError(f"{name} must be whole and at least 1, got {value!r}")


def _is_positive_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= sys.float_info.max
