"""What is installed and active on this machine, and why."""

import os
import platform
import warnings
from collections.abc import Callable
from dataclasses import dataclass

from studies.database import StoreError, shown
from studies.provenance import installed_version
from studies.store import Store


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    what: str
    state: str
    why: str


def examine(store: str) -> list[Finding]:
    """Python, torch, device, operator, Ray, Optuna, store and dashboard, each with its state and the reason."""
    operators = [_operator, *_operator_on_cuda()]
    checks: list[Callable[[], Finding]] = [_python, _torch, _device, *operators, _ray, _optuna, lambda: _store(store), _dashboard]
    return [check() for check in checks]


def _python() -> Finding:
    cores = len(os.sched_getaffinity(0))
    return Finding("python", platform.python_version(), f"{platform.system()} {platform.machine()}, {cores} processors for this process")


def _torch() -> Finding:
    import torch

    cuda = f"built with CUDA {torch.version.cuda}" if torch.version.cuda else "built without CUDA"
    return Finding("torch", torch.__version__, cuda)


def _device() -> Finding:
    import torch

    if torch.cuda.is_available():
        return Finding("device", "cuda", f"{torch.cuda.device_count()} × {torch.cuda.get_device_name(0)}; choose it with --device cuda")
    why = "torch finds no CUDA device" if torch.version.cuda else "this torch is built without CUDA"
    return Finding("device", "cpu", why)


def _operator() -> Finding:
    return _kernel("operator", "cpu")


def _operator_on_cuda() -> list[Callable[[], Finding]]:
    import torch

    return [lambda: _kernel("operator on cuda", "cuda")] if torch.cuda.is_available() else []


def _kernel(what: str, device: str) -> Finding:
    import dcnv3

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a fallback is what this line shows
        try:
            active = dcnv3.backend(device)
        except ValueError as error:
            return Finding(what, "not usable", str(error))
    return Finding(what, active.name, active.reason)


def _ray() -> Finding:
    return Finding("ray", installed_version("ray"), "a cluster is started on this machine for each search; usage reporting is off")


def _optuna() -> Finding:
    return Finding("optuna", installed_version("optuna"), "its studies live in memory; the store is the record")


def _store(url: str) -> Finding:
    try:
        count = len(Store(url, create=False).studies())
    except StoreError as error:
        return Finding("store", "not usable", str(error))
    return Finding("store", shown(url), "1 study" if count == 1 else f"{count} studies")


def _dashboard() -> Finding:
    state = installed_version("streamlit")
    why = "pip install 'nas-scaling[dashboard]'" if state == "not installed" else "`nas dashboard` opens it; usage reporting is off"
    return Finding("dashboard", state, why)
