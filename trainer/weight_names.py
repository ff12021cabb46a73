"""The names that others give an InternImage's tensors, brought to the published ones, and the shape of an ablation without a centre."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from searchspace.model_config import ModelConfig

WRAPPERS = ("module.", "_orig_mod.", "model.")  # data parallelism, torch.compile, Hugging Face
BACKBONE = "backbone."
# What turns feature maps into logits: a detector's file does without, part by part.
HEAD_PARTS = ("conv_head.", "dcnv3_head_x4.", "dcnv3_head_x3.", "clip_projector.", "fc_norm.", "head.")
SHOWN = 3

_LAYER_SCALE = re.compile(r"(^|\.)layer_scale([12])$")
_GAMMA = re.compile(r"(^|\.)gamma([12])$")
_POINTWISE = re.compile(r"\.dcn\.(offset|mask|second_mask_proj|output_proj)\.(weight|bias)$")


@dataclass(frozen=True, slots=True)
class Renamed:
    """Values under the published names; what was changed and dropped on the way, in words; whether they were a detector's backbone."""

    values: Mapping[str, Any]
    converted: tuple[str, ...]
    dropped: tuple[str, ...]
    backbone: bool


def published_names(values: Mapping[str, Any]) -> Renamed:
    """The network's values without the prefixes of wrappers and detectors; ValueError when two would have the same name."""
    converted: list[str] = []
    while prefix := next((prefix for prefix in WRAPPERS if values and all(name.startswith(prefix) for name in values)), None):
        values = {name.removeprefix(prefix): value for name, value in values.items()}
        converted.append(f"names without {prefix!r}")
    backbone = {name.removeprefix(BACKBONE): value for name, value in values.items() if name.startswith(BACKBONE)}
    dropped = _parts(name for name in values if not name.startswith(BACKBONE)) if backbone else ()
    if backbone:
        converted.append(f"names without {BACKBONE!r}")
    named = backbone or values
    published = {_LAYER_SCALE.sub(r"\1gamma\2", name): value for name, value in named.items()}
    if len(published) < len(named):
        raise ValueError("holds layer_scale1|2 and gamma1|2 for the same block")
    if published.keys() != named.keys():
        converted.append("layer_scale1|2 named gamma1|2")
    return Renamed(published, tuple(converted), dropped, bool(backbone))


def huggingface_names(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A network's state dict under the names of the Hugging Face repositories; `trainer.weights.load` reads them back."""
    return {"model." + _GAMMA.sub(r"\1layer_scale\2", name): tensor for name, tensor in state_dict.items()}


def without_center(tensors: Mapping[str, Tensor], shapes: Mapping[str, torch.Size], config: ModelConfig) -> dict[str, Tensor] | None:
    """The tensors of a network of all points for one of these shapes that leaves the middle point out; None unless they are that."""
    if not config.remove_center:
        return None
    converted = {}
    for name, shape in shapes.items():
        axis = _axis_of_points(name, config)
        if axis is None or name not in tensors:
            continue
        whole = (*shape[:axis], shape[axis] // config.points * config.kernel_size**2, *shape[axis + 1 :])
        if tensors[name].shape != whole:
            return None
        converted[name] = _without_middle(tensors[name], axis, config.kernel_size**2, _values_per_point(name, shape))
    return {**tensors, **converted} if converted else None


def few(names: Iterable[str]) -> str:
    """The first names, and how many more there are."""
    listed = list(names)
    more = f" and {len(listed) - SHOWN} more" if len(listed) > SHOWN else ""
    return ", ".join(listed[:SHOWN]) + more


def _parts(names: Iterable[str]) -> tuple[str, ...]:
    counts = Counter(name.partition(".")[0] for name in names)
    parts: Sequence[str] = [f"{part} ({count} tensors)" for part, count in counts.items()]
    return (f"outside the backbone: {few(parts)}",) if parts else ()


def _axis_of_points(name: str, config: ModelConfig) -> int | None:
    """The axis along which a tensor has something for every sampling point."""
    found = _POINTWISE.search(name)
    if found is None:
        return None
    if found[1] == "output_proj":
        return 1 if config.unshared_weights and found[2] == "weight" else None
    return 0


def _values_per_point(name: str, shape: torch.Size) -> int:
    """Length of one point's part: x and y of an offset, one mask, or a whole output projection's columns."""
    return {"offset": 2, "output_proj": shape[0]}.get(name.split(".")[-2], 1)


def _without_middle(tensor: Tensor, axis: int, points: int, length: int) -> Tensor:
    """`tensor`, whose axis holds groups of `points` parts of this length, without the middle part of each group."""
    grouped = torch.arange(tensor.shape[axis]).view(-1, points, length)
    middle = points // 2
    return tensor.index_select(axis, torch.cat([grouped[:, :middle], grouped[:, middle + 1 :]], 1).flatten())
