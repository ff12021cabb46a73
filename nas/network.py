"""Any variant as a network: fresh, or with the weights of a file."""

import logging
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from searchspace.cost import cost
from searchspace.formats import load_variant
from searchspace.formats.plain import one_line
from searchspace.model_config import ModelConfig
from searchspace.recipes import IMAGENET

if TYPE_CHECKING:
    import torch

    from trainer.internimage import InternImage
    from trainer.weights import LoadReport

LARGEST_AT_ONCE = 1_000_000_000  # parameters; 4 GB in float32

logger = logging.getLogger(__name__)


def build(
    variant: "ModelConfig | Mapping[str, Any] | str | os.PathLike[str] | None",
    *,
    num_classes: int | None = None,
    weights: "str | os.PathLike[str] | None" = None,
    drop_path_rate: float = 0.0,
    device: "str | torch.device | None" = None,
) -> "InternImage":
    """The network of an architecture, of a trial's `model`, or of what `load_variant` takes, on `device` (otherwise the CPU).

    `weights` is a file that `trainer.weights.load` reads; without `num_classes` it decides how many there are, 1000 if it does not say.
    Without weights and device a network of more than a billion parameters has shapes only, on the meta device, and a warning says so.
    ValueError in one line for everything that cannot be.
    """
    config = variant if isinstance(variant, ModelConfig) else _variant(variant)
    if device is not None:
        _check_device(device)
    if weights is not None:
        return filled(config, weights, num_classes=num_classes, drop_path_rate=drop_path_rate, device=device)[0]
    classes = IMAGENET.num_classes if num_classes is None else num_classes
    return _on(_default_device(config) if device is None else device, config, classes, drop_path_rate)


def _variant(variant: object) -> ModelConfig:
    if isinstance(variant, Mapping):
        return ModelConfig.from_dict(variant)
    if not isinstance(variant, str | os.PathLike):
        raise ValueError(f"variant must be a ModelConfig, text or a path, got {type(variant).__name__}")
    return load_variant(os.fspath(variant))


def filled(
    config: ModelConfig,
    path: "str | os.PathLike[str]",
    *,
    num_classes: int | None = None,
    drop_path_rate: float = 0.0,
    device: "str | torch.device | None" = None,
) -> "tuple[InternImage, LoadReport]":
    """A network with the weights of a file, and what became of them; errors as for `build`."""
    from trainer.weights import load, read

    weights = read(path)
    found = IMAGENET.num_classes if weights.num_classes is None else weights.num_classes
    model = _on("meta", config, found if num_classes is None else num_classes, drop_path_rate)
    return model, load(model, weights, device="cpu" if device is None else device)


def _on(device: "str | torch.device", config: ModelConfig, num_classes: int, drop_path_rate: float) -> "InternImage":
    import torch

    from trainer.internimage import InternImage

    with torch.device(device):
        return InternImage(config, num_classes=num_classes, drop_path_rate=drop_path_rate)


def _default_device(config: ModelConfig) -> str:
    params = cost(config).params
    if params <= LARGEST_AT_ONCE:
        return "cpu"
    logger.warning("%s has %s parameters: built on the meta device, without memory; name a device", config.short_name, f"{params:,}")
    return "meta"


def _check_device(device: "str | torch.device") -> None:
    import torch

    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, TypeError, ImportError) as error:
        raise ValueError(f"device {device!r} cannot be used: {one_line(error)}") from None
