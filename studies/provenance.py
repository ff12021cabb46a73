"""Where a variant that leaves a store comes from: its study, trial, choice and measurements, and the versions that wrote it."""

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from searchspace.formats import VariantDocument
from searchspace.model_config import ModelConfig
from studies.records import Trial
from studies.version import VERSION

PACKAGES = ("torch", "optuna", "ray")


def trial_name(study: str, trial: int) -> str:
    """What a trial is called where its study is not at hand; the stem of its files' names."""
    return f"{study}-trial-{trial}"


def trial_document(study: str, trial: Trial) -> VariantDocument:
    """A trial's variant with its provenance; ValueError for a trial without an architecture."""
    if trial.model is None:
        raise ValueError(f"trial {trial.number} of {study!r} has no architecture to export: {trial.reason}")
    return VariantDocument(trial_name(study, trial.number), ModelConfig.from_dict(trial.model), provenance(study, trial))


def provenance(study: str, trial: Trial) -> dict[str, Any]:
    """Study, trial, choice, metrics and what was measured before them with the fidelity, seed and versions; no host, user or path."""
    return {
        "study": study,
        "trial": trial.number,
        "state": trial.state.value,
        "choice": dict(trial.params),
        "metrics": dict(trial.metrics),
        **({"premeasured": dict(trial.premeasured)} if trial.premeasured else {}),
        "fidelity": dict(trial.fidelity),
        "seed": trial.seed,
        "exported_with": versions(),
    }


def versions() -> Mapping[str, str]:
    """The versions of this project and of what searches stand on, without importing them."""
    return {"nas-scaling": VERSION, **{package: installed_version(package) for package in PACKAGES}}


def installed_version(package: str) -> str:
    """The version of a package, without importing it; "not installed" where it is not."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
