"""Which tensors of a file a network takes: the differences that are allowed, each said, and the checks that leave no other."""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from searchspace.model_config import ModelConfig
from trainer.internimage import InternImage
from trainer.weight_names import HEAD_PARTS, few, without_center

CLASSIFIER = ("head.weight", "head.bias")
COUNTER = "num_batches_tracked"  # of BatchNorm: files older than it lack it, and nothing here depends on it
UNCOUNTED = "not counted in the file"


@dataclass(frozen=True, slots=True)
class Fit:
    """Checked tensors for a network, the conversions in words, and each tensor that the file has not with the reason."""

    tensors: Mapping[str, Tensor]
    converted: tuple[str, ...]
    absent: Mapping[str, str]


def fit(model: InternImage, tensors: Mapping[str, Tensor], *, trained_as: ModelConfig | None, backbone: bool) -> Fit:
    """What `model` takes of a file's tensors by their published names; a `backbone` may lack the head's parts.

    `trained_as` is the architecture that the file names. ValueError for any difference that `trainer.weights.load` does not allow.
    """
    if trained_as is not None:
        _check_architecture(trained_as, model.config)
    own = model.state_dict()
    shapes = {name: tensor.shape for name, tensor in own.items()}
    centerless = without_center(tensors, shapes, model.config)
    converted = () if centerless is None else ("offsets and masks without the centre point",)
    tensors = tensors if centerless is None else centerless
    absent = _other_classes(tensors, shapes) | _missing(tensors, shapes, backbone=backbone)
    tensors = {name: tensor for name, tensor in tensors.items() if name not in absent}
    _check_names(tensors, {name: shape for name, shape in shapes.items() if name not in absent})
    for name, tensor in tensors.items():
        _check_values(name, tensor, own[name].dtype)
    return Fit(tensors, converted + _casts(tensors, own), absent)


def differences(found: ModelConfig, wanted: ModelConfig, allowed: Collection[str] = ()) -> str:
    """The fields in which two architectures differ, with both values; empty when in none but the allowed ones."""
    pairs = {field.name: (getattr(found, field.name), getattr(wanted, field.name)) for field in fields(ModelConfig)}
    unlike = {name: pair for name, pair in pairs.items() if name not in allowed and pair[0] != pair[1]}
    return ", ".join(f"{name} {left!r} instead of {right!r}" for name, (left, right) in unlike.items())


def check_finite(name: str, tensor: Tensor) -> None:
    """ValueError for NaN and infinity, which no training means to keep."""
    if not bool(tensor.isfinite().all()):
        raise ValueError(f"{name} holds values that are not finite numbers in {tensor.dtype}")


def _check_architecture(found: ModelConfig, wanted: ModelConfig) -> None:
    allowed = {"remove_center"} if wanted.remove_center else set()
    if found.layer_scale is not None and wanted.layer_scale is not None:
        allowed.add("layer_scale")  # where training began; the scales themselves are weights
    if unlike := differences(found, wanted, allowed):
        raise ValueError(f"its weights are of another architecture than the network: {unlike}")


def _other_classes(tensors: Mapping[str, Tensor], shapes: Mapping[str, torch.Size]) -> dict[str, str]:
    """The classifier's tensors, if they are whole and differ from the network's in the number of classes alone."""
    weight, bias = (tensors.get(name) for name in CLASSIFIER)
    classes, features = shapes[CLASSIFIER[0]]
    if weight is None or bias is None or weight.shape[1:] != (features,) or weight.shape[:1] != bias.shape or len(bias) in (0, classes):
        return {}
    return dict.fromkeys(CLASSIFIER, f"{len(bias)} classes in the file, {classes} in the network")


def _missing(tensors: Mapping[str, Tensor], shapes: Mapping[str, torch.Size], *, backbone: bool) -> dict[str, str]:
    """The tensors that this file may do without, and does."""
    missing = {name: UNCOUNTED for name in shapes if name.endswith(COUNTER) and name not in tensors}
    for part in HEAD_PARTS if backbone else ():
        if not any(name.startswith(part) for name in tensors):
            missing |= {name: "not in a detector's file" for name in shapes if name.startswith(part)}
    return missing


def _check_names(tensors: Mapping[str, Tensor], shapes: Mapping[str, torch.Size]) -> None:
    reshaped = {name: (tuple(tensor.shape), tuple(shapes.get(name, tensor.shape))) for name, tensor in tensors.items()}
    faults = {
        "missing": [name for name in shapes if name not in tensors],
        "unexpected": [name for name in tensors if name not in shapes],
        "of another shape": [f"{name} {found} instead of {wanted}" for name, (found, wanted) in reshaped.items() if found != wanted],
    }
    if said := [f"{len(names)} {fault} ({few(names)})" for fault, names in faults.items() if names]:
        raise ValueError(f"its tensors do not fit the network: {'; '.join(said)}")


def _check_values(name: str, tensor: Tensor, dtype: torch.dtype) -> None:
    if dtype.is_floating_point and not tensor.is_floating_point():
        raise ValueError(f"{name} must hold floating-point numbers, got {tensor.dtype}")
    check_finite(name, tensor.to(dtype) if dtype.is_floating_point else tensor)


def _casts(tensors: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> tuple[str, ...]:
    pairs = Counter((str(tensor.dtype), str(own[name].dtype)) for name, tensor in tensors.items())
    unlike = {pair: count for pair, count in pairs.items() if pair[0] != pair[1]}
    return tuple(f"{found} to {wanted} ({count})".replace("torch.", "") for (found, wanted), count in unlike.items())
