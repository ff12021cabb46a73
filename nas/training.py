"""Training what was found: a study of a single variant, whose proxy is the variant itself at full width on all of the data."""

import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from nas.api import Study, open_study, search
from nas.config import StudyConfig
from nas.errors import NasError
from nas.export import export_document, trial_document
from nas.progress_record import Listener
from searchspace.formats import VariantDocument, file_stem, load_document
from searchspace.formats.scaled import classifier_drop_path_rate
from searchspace.model_config import ModelConfig
from searchspace.recipes import IMAGENET
from searchspace.spaces import single_space
from studies.database import StoreError
from studies.records import DEFAULT_STORE, Objective, TrialState
from trainer.dataset_spec import SOURCES, parse_dataset
from trainer.proxy_config import MIN_IMAGE_SIZE, ProxyConfig, ProxyResult

log = logging.getLogger(__name__)
CHECKPOINTS = "checkpoints"


@dataclass(frozen=True, slots=True)
class Checkpointed:
    """The evaluator of a training that may take days: a checkpoint after each epoch, `processes` devices for the one network."""

    checkpoints: Path
    processes: int = 1

    def __call__(self, config: ModelConfig, proxy: ProxyConfig, *, seed: int, weights: Path | None = None) -> Iterator[ProxyResult]:
        """A result after each epoch, those before an interruption among them."""
        from trainer.proxy import run_proxy

        try:
            with FileLock(self.checkpoints.parent / ".training.lock", timeout=0):
                yield from run_proxy(config, proxy, seed=seed, weights=weights, checkpoints=self.checkpoints, world=self.processes)
        except Timeout:  # of another study: each would take the other's checkpoints for its own
            raise NasError(f"another process trains in {self.checkpoints.parent}; wait for it, or choose another --out") from None


def full_proxy(config: ModelConfig, *, dataset: str, recipe: str = "published", **settings: Any) -> ProxyConfig:
    """How `config` is trained at full width: for the published length, unless `settings` of `ProxyConfig` say otherwise.

    Images in files have the recipe's size, embedded and drawn ones stay small; a published variant has its own stochastic depth.
    """
    defaults: dict[str, Any] = {"epochs": IMAGENET.epochs, "image_size": _image_size(dataset)}
    if recipe == "published":
        defaults["drop_path_rate"] = classifier_drop_path_rate(config)
    return ProxyConfig(**{**defaults, **settings, "dataset": dataset, "recipe": recipe, "channel_divisor": 1, "train_fraction": 1.0})


def train(
    variant: VariantDocument | ModelConfig | str | os.PathLike[str],
    proxy: ProxyConfig,
    *,
    out: str | os.PathLike[str],
    seed: int = 0,
    name: str | None = None,
    store: str = DEFAULT_STORE,
    processes: int = 1,
    resume: bool = False,
    listener: Listener | None = None,
) -> Study:
    """Train a variant and return the study that holds its one trial; `out` gets its checkpoints, weights and exported configuration.

    The variant is an architecture or what `load_variant` takes, the proxy one of `full_proxy`: at full width, on all of the data.
    An interrupted training goes on with `resume`, from its last whole checkpoint. ValueError for bad input, NasError when `out` holds a
    training and `resume` is not asked for, when the study's training is in another folder, and when the training fails.
    """
    if processes < 1:
        raise ValueError(f"processes must be at least 1, got {processes}")
    if (proxy.channel_divisor, proxy.train_fraction) != (1, 1):
        given = f"channel_divisor={proxy.channel_divisor}, train_fraction={proxy.train_fraction}"
        raise ValueError(f"a training is of the whole variant on all of the data, got {given}; full_proxy makes such a proxy")
    document, out = _document(variant), Path(out)
    checkpoints = out / CHECKPOINTS
    begun = checkpoints.is_dir() and any(checkpoints.iterdir())
    if begun and not resume:
        raise NasError(f"{out} holds a training; --resume goes on with it, or choose another --out")
    name = name or study_name(document)
    config = StudyConfig(space=single_space(document.name, document.config), proxy=proxy, objectives=(Objective.of("top1"),), seed=seed)
    known = trained_study(name, store)
    if known is None and begun:
        log.warning("no study %r in the store, so a new one goes on with the training in %s", name, out)
    elif known is not None and known.config == config:
        _check_place(known, out, begun=begun)
        _requeue_failed(known)
    study = search(
        config,
        name=name,
        store=store,
        trials=1,
        engine="local",
        listener=listener,
        evaluate=Checkpointed(checkpoints, processes),
        keep_weights="all",
        weights_folder=out,
    )
    export_document(trial_document(study, study.trials()[0]), format="yaml", out=out)
    return study


def _document(variant: object) -> VariantDocument:
    if isinstance(variant, VariantDocument):
        return variant
    if isinstance(variant, ModelConfig):
        return VariantDocument(variant.short_name, variant)
    if not isinstance(variant, str | os.PathLike):
        raise ValueError(f"variant must be a ModelConfig, text or a path, got {type(variant).__name__}")
    return load_document(variant)


def study_name(document: VariantDocument) -> str:
    """What the study of a variant's training is called, unless it is named."""
    return f"train-{file_stem(document.name)}"


def trained_study(name: str, store: str) -> Study | None:
    """The stored study of an earlier training; None where there is none."""
    try:
        return open_study(name, store=store)
    except StoreError:
        return None


def _check_place(study: Study, out: Path, *, begun: bool) -> None:
    """NasError where the study has reported epochs and `out` holds none of them: it would begin again, or pass for done."""
    if not begun and study.store.reports(study.record):
        raise NasError(
            f"study {study.name!r} has been trained before, and {out} holds no checkpoint of it: name the folder that does, with --resume, "
            "or choose another --name"
        )


def _requeue_failed(study: Study) -> None:
    """Let a training that failed (a full disk, a lost device, memory that another program held) go on as an interrupted one does."""
    for trial in study.trials():
        if trial.started_at is not None and trial.state in (TrialState.FAILED, TrialState.INFEASIBLE):
            study.store.requeue(trial)


def _image_size(dataset: str) -> int:
    return IMAGENET.image_size if SOURCES[parse_dataset(dataset).name].files else MIN_IMAGE_SIZE


def trained_as(weights: Path) -> dict[str, Any]:
    """Recipe and image size that a file of ours says its network was trained with; nothing for other files."""
    from trainer.weights import describe

    fidelity = (describe(weights) or {}).get("provenance", {}).get("fidelity", {})
    return {name: fidelity[name] for name in ("recipe", "image_size") if name in fidelity}
