"""Writes a discovered variant as a file that other projects read, with where it comes from."""

import os
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from nas.api import Study
from nas.errors import NasError
from searchspace.formats import VariantDocument, document_text
from searchspace.model_config import ModelConfig
from studies.records import Trial


def export_trial(study: Study, number: int, *, format: str, out: Path) -> Path:
    """Write a trial's variant to `out` and return the file; it appears whole or not at all.

    ValueError for an unknown format, StoreError for an unknown trial, NasError for a trial without an architecture or a folder that
    cannot be written.
    """
    trial = study.trial(number)
    if trial.model is None:
        raise NasError(f"trial {number} of {study.name!r} has no architecture to export: {trial.reason}")
    name = f"{study.name}-trial-{number}"
    document = VariantDocument(name, ModelConfig.from_dict(trial.model), provenance(study, trial))
    text = document_text(document, format)
    return write_atomically(out / f"{_file_name(name)}.{format}", text)


def provenance(study: Study, trial: Trial) -> dict[str, Any]:
    """Study, trial, choice, metrics with their fidelity, seed and versions; no host, user or path."""
    return {
        "study": study.name,
        "trial": trial.number,
        "state": trial.state.value,
        "choice": dict(trial.params),
        "metrics": dict(trial.metrics),
        "fidelity": dict(trial.fidelity),
        "seed": trial.seed,
        "exported_with": {package: _version(package) for package in ("nas-scaling", "torch", "optuna", "ray")},
    }


def write_atomically(path: Path, text: str) -> Path:
    """Write `text` beside `path` and move it there, so that a reader never sees half a file."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            temporary = Path(file.name)
            try:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
                temporary.chmod(0o644)
                temporary.replace(path)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
    except OSError as error:
        raise NasError(f"cannot write {path}: {error.strerror}") from None
    return path


def _file_name(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in name)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
