"""Trained networks as files: which weights fill a variant, and the formats that carry them."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.errors import NasError
from nas.network import build
from nas.placing import Content, place
from searchspace.formats import FORMATS, VariantDocument, file_stem, format_named
from searchspace.formats.source import CONFIG_FILE, PROVENANCE_FILE
from searchspace.model_config import ModelConfig
from searchspace.styles import style_of

if TYPE_CHECKING:
    from trainer.internimage import InternImage

Contents = Mapping[str, Content]  # by their name in the folder
DEFAULT_IMAGE_SIZE = 224


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """What fills exported networks: a file, or the folder in which a search kept those of its trials.

    `as_proxy` exports the configuration that a proxy was trained at; `image_size` is the side of a program's images in pixels.
    """

    path: Path
    as_proxy: bool = False
    image_size: int | None = None

    @classmethod
    def given(cls, path: Path | None, *, as_proxy: bool, image_size: int | None) -> "Weights | None":
        """The record of flags; None without a path, ValueError for flags that mean nothing without one."""
        if path is not None:
            return cls(path=path, as_proxy=as_proxy, image_size=image_size)
        if as_proxy or image_size is not None:
            raise ValueError(f"{'--as-proxy' if as_proxy else '--image-size'} goes with --weights only")
        return None


def export_network(document: VariantDocument, weights: Weights, *, format: str, out: Path) -> Path:
    """Write a variant with its weights to `out` and return the folder.

    ValueError for weights that were trained at another configuration, a proxy's among them, and for a format that carries none.
    """
    if format not in CARRIERS:
        raise ValueError(f"the format {format!r} carries no weights; {', '.join(CARRIERS)} do")
    file = weights.path / f"{file_stem(document.name)}.safetensors" if weights.path.is_dir() else weights.path
    document, image_size = _as_trained(document, file, weights)
    model = build(document.config, weights=file)
    entry = format_named(format).entry(document.name) if format in FORMATS else f"{file_stem(document.name)}_{format}"
    contents = {**CARRIERS[format](document, model, image_size), PROVENANCE_FILE: document.to_json()}
    return place(out, {f"{entry}/{part}": content for part, content in contents.items()})


def _as_trained(document: VariantDocument, file: Path, weights: Weights) -> tuple[VariantDocument, int]:
    """The configuration that the weights belong to, and the side of the images to export it for."""
    from trainer.weights import describe

    described = describe(file)
    origin: Mapping[str, Any] = described["provenance"] if described else {}
    image_size = weights.image_size or int(origin.get("fidelity", {}).get("image_size", DEFAULT_IMAGE_SIZE))
    trained = ModelConfig.from_dict(described["model"]) if described else document.config
    if trained == document.config:
        return document, image_size
    if "proxy_of" not in origin or ModelConfig.from_dict(origin["proxy_of"]) != document.config:
        raise ValueError(f"{file}: weights of {trained.short_name} (style {style_of(trained)}), not of {document.config.short_name}")
    divisor = document.config.channels // trained.channels
    if not weights.as_proxy:
        raise ValueError(
            f"{file}: weights of a proxy (channels / {divisor}: {trained.short_name}), not of {document.config.short_name} itself; "
            "--as-proxy exports the proxy's own configuration"
        )
    proxy = {"of": document.config.to_dict(), "channel_divisor": divisor}
    return replace(document, name=f"{document.name}-proxy", config=trained, provenance={**document.provenance, "proxy": proxy}), image_size


def _huggingface(document: VariantDocument, model: "InternImage", image_size: int) -> Contents:
    from trainer.weights import save

    config = json.loads(format_named("huggingface").parts[CONFIG_FILE](document))
    config["num_classes"] = model.head.out_features
    return {CONFIG_FILE: json.dumps(config, indent=2) + "\n", "model.safetensors": lambda path: save(model, path, huggingface=True)}


def _torch(document: VariantDocument, model: "InternImage", image_size: int) -> Contents:
    from trainer.torch_program import save_torch_program

    return {"model.pt2": lambda path: save_torch_program(model, path, image_size=image_size)}


def _onnx(document: VariantDocument, model: "InternImage", image_size: int) -> Contents:
    from trainer.onnx_program import save_onnx

    def write(path: Path) -> object:
        try:
            return save_onnx(model, path, image_size=image_size)
        except ImportError as error:
            raise NasError(str(error)) from None

    return {"model.onnx": write}


CARRIERS: Mapping[str, Callable[[VariantDocument, "InternImage", int], Contents]] = {
    "huggingface": _huggingface,
    "torch": _torch,
    "onnx": _onnx,
}
