"""Looks into the trained network of a trial: where it samples images and what each stage sees, kept as a file beside its weights."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.api import Study
from nas.errors import NasError
from nas.export import trial_document
from nas.export_weights import Trained, WeightsSource, intact, trained
from nas.inspection_findings import BYTES, find
from nas.inspection_images import as_evaluated, as_seen, image_name, read_image
from nas.kept_weights import recorded_weights
from nas.network import filled
from searchspace.model_config import STAGES, ModelConfig
from searchspace.recipes import RECIPES
from studies.artifacts import sha256
from studies.inspections import INSPECTION, write_inspection
from studies.records import Artifact, Trial
from trainer.whole_file import replacing

if TYPE_CHECKING:
    from trainer.internimage import InternImage

LARGEST = 1_000_000_000  # bytes of points in a file


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What is looked at: images (files, or `validation:3` of the trial's data set), stages from 1 to 4, and a place x, y of the images.

    `weights` names a file in place of the recorded one. ValueError for no image and for an unknown stage.
    """

    images: Sequence[str]
    stages: Sequence[int] = tuple(range(1, STAGES + 1))
    at: tuple[int, int] | None = None
    weights: Path | None = None

    def __post_init__(self) -> None:
        if not self.images:
            raise ValueError("images must name at least one image: a file, or validation:0 of the trial's data set")
        if unknown := sorted(set(self.stages) - set(range(1, STAGES + 1))):
            raise ValueError(f"stages are numbered from 1 to {STAGES}, got {unknown[0]}")


@dataclass(frozen=True, slots=True)
class Inspected:
    """The file that an inspection left, and its facts, as `studies.inspections` explains them."""

    artifact: Artifact
    facts: Mapping[str, Any]


def inspect(study: Study, number: int, look: Look) -> Inspected:
    """Show images to a trial's trained network and record where it samples them and what its stages see, in place of what was before.

    At the proxy's size, on images as it was evaluated on, in float32 on the CPU; `before` training is the network of the trial's seed.
    NasError for a trial without recorded weights and for weights that are gone or changed, ValueError for weights of another training and
    for what is no image.
    """
    trial = study.trial(number)
    if "recipe" not in trial.fidelity:
        raise NasError(
            f"trial {number} of {study.name!r} is {trial.state.value} and has not been trained; `nas show` lists those that have"
        )
    network = _trained(study, trial, look.weights)
    side = network.image_size
    _check_size(network, look)
    recipe = RECIPES[trial.fidelity["recipe"]]
    images = as_evaluated([read_image(text, trial.fidelity, side) for text in look.images], recipe, side)
    found = find(_networks(network, trial), images, sorted(set(look.stages)), look.at)
    facts = {
        "study": study.name,
        "trial": number,
        "variant": ModelConfig.from_dict(trial.model or {}).short_name,
        "network": network.document.config.short_name,
        "weights": sha256(network.file),
        "fidelity": dict(trial.fidelity),
        "images": [image_name(text) for text in look.images],
        "image_size": side,
        "at": look.at,
        "strides": found.strides,
        "centres": found.centres,
        "stages": found.rows,
    }
    file = network.file.with_name(f"{network.file.name.removesuffix('.safetensors')}.{INSPECTION}.npz")
    with replacing(file) as temporary:
        write_inspection(temporary, facts, found.points, images=as_seen(images, recipe), fields=found.fields)
    return Inspected(study.store.artifacts.record(trial, INSPECTION, file), facts)


def _trained(study: Study, trial: Trial, chosen: Path | None) -> Trained:
    """The network that was trained, the proxy where that was one, with the file of its weights."""
    document = trial_document(study, trial)
    source = WeightsSource(path=chosen, as_proxy=trial.fidelity.get("channel_divisor", 1) != 1)
    return trained(document, source, chosen or _recorded(study, trial), format="torch")


def _recorded(study: Study, trial: Trial) -> Path:
    found = recorded_weights(study.store, study.record)
    if trial.number not in found:
        raise NasError(
            f"no weights are recorded of trial {trial.number} of {study.name!r}, so there is nothing to look into: searches keep those of "
            "the front, with --keep-weights all those of every trial; --weights names a file"
        )
    return intact(found[trial.number])


def _networks(network: Trained, trial: Trial) -> Mapping[str, "InternImage"]:
    """The network after its training, and before: what a training with the trial's seed begins with."""
    import torch

    from trainer.internimage import InternImage

    model, _ = filled(network.document.config, network.file)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(trial.seed)
        return {"before": InternImage(network.document.config, num_classes=model.head.out_features), "after": model}


def _check_size(network: Trained, look: Look) -> None:
    """ValueError for points that would fill a disk."""
    config, side = network.document.config, network.image_size
    points = config.kernel_size**2 - config.remove_center
    layers = ((config.depths[stage - 1], config.groups[stage - 1], -(-side // 2 ** (stage + 1))) for stage in set(look.stages))
    size = len(look.images) * sum(depth * groups * extent**2 * points * BYTES for depth, groups, extent in layers)
    if size > LARGEST:
        kept = f"at most {LARGEST / 1e9:.1f} GB are kept"
        raise ValueError(f"the points of all layers would take {size / 1e9:.1f} GB; {kept}: name fewer images or stages")
