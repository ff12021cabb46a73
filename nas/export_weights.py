"""Trained networks as files: which weights fill a variant, and the formats that carry them."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.errors import NasError
from nas.network import filled
from nas.placing import Content, place
from searchspace.formats import FORMATS, VariantDocument, file_stem, format_named
from searchspace.formats.source import CONFIG_FILE, PROVENANCE_FILE
from searchspace.model_config import ModelConfig
from searchspace.recipes import IMAGENET
from studies.artifacts import sha256
from studies.records import Artifact

if TYPE_CHECKING:
    from trainer.internimage import InternImage

Contents = Mapping[str, Content]  # by their name in the folder
IMAGE_SIZES = range(32, 8193)


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsSource:
    """Where exported networks get their weights: a file, a folder in which a search kept those of its trials, or what it recorded (None).

    `as_proxy` exports the configuration that a proxy was trained at; `image_size` is the side of a program's images in pixels.
    """

    path: Path | None = None
    as_proxy: bool = False
    image_size: int | None = None

    @classmethod
    def given(cls, path: Path | None, *, as_proxy: bool, image_size: int | None) -> "WeightsSource | None":
        """The record of flags; None without any."""
        return cls(path=path, as_proxy=as_proxy, image_size=image_size) if path or as_proxy or image_size is not None else None


@dataclass(frozen=True, slots=True)
class Trained:
    """A variant, the file with its weights, and the side in pixels of the images that a program of it is for."""

    document: VariantDocument
    file: Path
    image_size: int


def check_carrier(format: str) -> None:
    """ValueError for a format that carries no weights."""
    if format not in CARRIERS:
        raise ValueError(f"the format {format!r} carries no weights; {', '.join(CARRIERS)} do")


def trained(document: VariantDocument, source: WeightsSource, path: Path, *, format: str) -> Trained:
    """What is to be exported of a variant, from the header of its weights' file: `path`, or the file of its name in that folder.

    ValueError for weights of a proxy, unless they are asked for, for those of another training than the trial's.
    """
    if source.image_size is not None and format in FORMATS:
        raise ValueError(f"--image-size is for programs, got it with {format}, whose networks take images of any size")
    file = path / f"{file_stem(document.name)}.safetensors" if path.is_dir() else path
    try:
        return _trained(document, file, source)
    except ValueError as error:
        raise ValueError(str(error) if str(error).startswith(str(file)) else f"{file}: {error}") from None


def export_network(network: Trained, *, format: str, out: Path) -> Path:
    """Write a variant with its weights to `out` and return the folder; ValueError for a file that does not fill all of the network."""
    model, report = filled(network.document.config, network.file)
    if report.untrained:
        raise ValueError(f"{network.file}: would leave a part of the exported network untrained: {', '.join(report.untrained)}")
    weights = {"file": network.file.name, "sha256": sha256(network.file), "num_classes": model.head.out_features}
    changes = {"converted": list(report.converted), "dropped": list(report.dropped)}
    document = replace(network.document, provenance={**network.document.provenance, "weights": {**weights, **changes}})
    contents = {**CARRIERS[format](document, model, network.image_size), PROVENANCE_FILE: document.to_json()}
    entry = FORMATS[format].entry(document.name) if format in FORMATS else f"{file_stem(document.name)}_{format}"
    return place(out, {f"{entry}/{part}": content for part, content in contents.items()})


def intact(artifact: Artifact) -> Path:
    """The file of recorded weights; NasError when it is gone or no longer what was recorded."""
    try:
        found = sha256(artifact.path)
    except OSError as error:
        why = f"are not where they were recorded: {artifact.path}: {error.strerror}"
        raise NasError(f"the weights of trial {artifact.trial} {why}; --weights names another place") from None
    if found != artifact.sha256:
        why = f"have changed since they were recorded: {artifact.path} hashes to {found[:12]} instead of {artifact.sha256[:12]}"
        raise NasError(f"the weights of trial {artifact.trial} {why}; --weights takes them all the same")
    return artifact.path


def _trained(document: VariantDocument, file: Path, source: WeightsSource) -> Trained:
    from trainer.weights import describe

    described = describe(file) or {}
    origin = described.get("provenance", {})
    fidelity = _mapping(origin, "fidelity")
    image_size = source.image_size or fidelity.get("image_size", IMAGENET.image_size)
    if type(image_size) is not int or image_size not in IMAGE_SIZES:
        raise ValueError(f"image_size must be whole, from {IMAGE_SIZES[0]} to {IMAGE_SIZES[-1]}, got {image_size!r}")
    _check_training(document.provenance, origin)
    config = ModelConfig.from_dict(described["model"]) if described else document.config
    of = _mapping(origin, "proxy_of")
    is_proxy = bool(of) and config != document.config and ModelConfig.from_dict(of) == document.config
    if is_proxy and not source.as_proxy:
        divisor = document.config.channels // config.channels
        raise ValueError(
            f"weights of a proxy (channels / {divisor}: {config.short_name}), not of {document.config.short_name} itself; "
            "--as-proxy exports the proxy's own configuration"
        )
    if source.as_proxy and not is_proxy:
        raise ValueError(f"no weights of a proxy of {document.config.short_name}, so there is nothing to export with --as-proxy")
    return Trained(_proxy(document, config) if is_proxy else document, file, image_size)


def _check_training(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> None:
    """ValueError when a trial's metrics were measured in another training than the one that left these weights."""
    for key in ("fidelity", "metrics"):
        known, found = ours.get(key, {}), _mapping(theirs, key)
        if unlike := [name for name in known if name in found and found[name] != known[name]]:
            name = unlike[0]
            raise ValueError(
                f"weights of another training than trial {ours.get('trial')}: {name} {found[name]!r} instead of {known[name]!r}"
            )


def _mapping(values: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = values.get(key, {})
    if not isinstance(value, Mapping):
        raise ValueError(f"{key} of its provenance must be a mapping, got {type(value).__name__}")
    return value


def _proxy(document: VariantDocument, config: ModelConfig) -> VariantDocument:
    proxy = {"of": document.config.to_dict(), "channel_divisor": document.config.channels // config.channels}
    return replace(document, name=f"{document.name}-proxy", config=config, provenance={**document.provenance, "proxy": proxy})


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
