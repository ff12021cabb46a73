"""Weights of an InternImage into and out of files: everything is checked before anything is copied, every difference is said."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from searchspace.model_config import ModelConfig
from trainer.checkpoint_file import CONVERSION, describe, read_file, write_file
from trainer.internimage import InternImage
from trainer.weight_fit import CLASSIFIER, UNCOUNTED, Fit, check_finite, differences, fit
from trainer.weight_names import HEAD_PARTS, few, huggingface_names, published_names

__all__ = ["CONVERSION", "LoadReport", "Weights", "describe", "huggingface_names", "load", "read", "save"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Weights:
    """What a file holds for a network: tensors by their published names, our metadata, and in words what was left out or renamed."""

    path: Path
    tensors: Mapping[str, Tensor]
    metadata: Mapping[str, Any] | None
    converted: tuple[str, ...]
    dropped: tuple[str, ...]
    backbone: bool

    @property
    def num_classes(self) -> int | None:
        """Classes of the classifier in the file; None for a backbone without one."""
        head = self.tensors.get(CLASSIFIER[0])
        return None if head is None or head.ndim == 0 else head.shape[0]


@dataclass(frozen=True, slots=True)
class LoadReport:
    """What became of a file: how many of its tensors a network took, and in words what was not taken as it was.

    `untrained` are the newly initialised parts that matter to what the network says.
    """

    path: Path
    tensors: int
    converted: tuple[str, ...] = ()
    reinitialised: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    untrained: tuple[str, ...] = ()

    def __str__(self) -> str:
        parts = {"converted": self.converted, "newly initialised": self.reinitialised, "dropped": self.dropped}
        said = "".join(f"; {title}: {', '.join(words)}" for title, words in parts.items() if words)
        return f"{self.path}: {self.tensors} tensors{said}"


def read(path: str | PathLike[str]) -> Weights:
    """The weights in a file, without a network: safetensors (ours, Hugging Face's) or `torch.save`'s, of a classifier or a detector.

    Nothing in the file is run. Of a training's file the first of `model`, `state_dict` and `module` counts, never an average beside it.
    ValueError in one line names the file.
    """
    file = Path(path)
    found = read_file(file)
    try:
        named = published_names(found.values)
        for name, value in named.values.items():
            _check_plain_tensor(name, value)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from None
    beside = (f"beside the state dict: {few(found.beside)}",) if found.beside else ()
    return Weights(file, named.values, found.metadata, named.converted, beside + named.dropped, named.backbone)


def load(model: InternImage, weights: Weights | str | PathLike[str], *, device: str | torch.device = "cpu") -> LoadReport:
    """Copy a file's weights into `model` where it is; a model on the meta device gets them on `device` instead.

    Allowed and reported: other precisions, another number of classes (`head` stays as it was, with a warning), detectors' backbones
    (their heads likewise), a network without the centre point from one with it, another initial layer scale, missing
    `num_batches_tracked`. Every other difference, a tensor that is missing, unexpected, of another shape or not finite, and metadata of
    another architecture are ValueErrors that leave the model as it was.
    """
    weights = weights if isinstance(weights, Weights) else read(weights)
    trained_as = None if weights.metadata is None else ModelConfig.from_dict(weights.metadata["model"])
    try:
        taken = fit(model, weights.tensors, trained_as=trained_as, backbone=weights.backbone)
        _place(model, taken, device)
    except ValueError as error:
        raise ValueError(f"{weights.path}: {error}") from None
    absent = {name if reason == UNCOUNTED else name.partition(".")[0]: reason for name, reason in taken.absent.items()}
    reinitialised = tuple(f"{part} ({reason})" for part, reason in absent.items())
    untrained = tuple(said for said, reason in zip(reinitialised, absent.values(), strict=True) if reason != UNCOUNTED)
    if untrained:
        logger.warning("%s: stays as initialised: %s", weights.path, ", ".join(untrained))
    converted = weights.converted + taken.converted
    return LoadReport(weights.path, len(taken.tensors), converted, reinitialised, weights.dropped, untrained)


def save(
    model: InternImage,
    path: str | PathLike[str],
    *,
    config: ModelConfig | None = None,
    provenance: Mapping[str, Any] | None = None,
    huggingface: bool = False,
) -> Path:
    """Write `model`'s weights with its architecture, classes and plain provenance to a `.safetensors` file, whole or not at all.

    `config`, where given, must be the model's; `huggingface` chooses their names. ValueError also for values that are not finite, and for
    a path that cannot be written.
    """
    if config is not None and config != model.config:
        raise ValueError(f"config must be the network's own, got another {differences(config, model.config)}")
    tensors = {name: tensor.detach() for name, tensor in model.state_dict().items()}
    for name, tensor in tensors.items():
        if tensor.is_meta:
            raise ValueError(f"a network on the meta device has no weights to save, got {name}")
        check_finite(name, tensor)
    metadata = {"model": model.config.to_dict(), "num_classes": model.head.out_features, "provenance": dict(provenance or {})}
    write_file(Path(path), huggingface_names(tensors) if huggingface else tensors, metadata)
    return Path(path)


def _check_plain_tensor(name: str, value: Any) -> None:
    if type(value) not in (Tensor, nn.Parameter):
        raise ValueError(f"{name} must be a tensor, got {type(value).__name__}")
    if value.layout != torch.strided or value.device.type != "cpu" or value.is_quantized or value.is_complex():
        raise ValueError(f"{name} must be a dense tensor of real numbers, got {value.dtype}, {value.layout}, {value.device}")


def _place(model: InternImage, taken: Fit, device: str | torch.device) -> None:
    """Copy into the model's tensors; one on the meta device gets memory of its own, and a new network's values for what is absent."""
    own = model.state_dict()
    if not any(tensor.is_meta for tensor in own.values()):
        model.load_state_dict(taken.tensors, strict=False)
        return
    if torch.device(device).type == "meta":
        raise ValueError("weights cannot be held by the meta device")
    sources = {**_fresh_head(model), **taken.tensors} if taken.absent else taken.tensors
    values = {name: torch.empty_like(tensor, device=device).copy_(sources[name]) for name, tensor in own.items()}
    model.load_state_dict(values, assign=True)


def _fresh_head(model: InternImage) -> dict[str, Tensor]:
    """Initial weights of everything behind the stages, taken from the smallest network with this head."""
    config = model.config
    least: dict[str, Any] = {"depths": (1, 1, 1, 1), "mlp_ratio": 1, "kernel_size": 1, "dw_kernel_size": 1}
    with torch.device("cpu"):
        smallest = ModelConfig(channels=config.channels, group_channels=config.channels, clip_projector=config.clip_projector, **least)
        network = InternImage(smallest, num_classes=model.head.out_features)
    return {name: tensor for name, tensor in network.state_dict().items() if name.startswith(HEAD_PARTS)}
