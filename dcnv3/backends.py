"""Which implementation of the operator serves a kind of device, and why."""

import ctypes
import os
import threading
import warnings
from dataclasses import dataclass
from functools import cache

import torch

from dcnv3 import build

CPU_VARIABLE = "DCNV3_CPU"
REFERENCE = "reference"
_building = threading.RLock()


@dataclass(frozen=True, slots=True)
class Backend:
    """Which implementation `dcnv3` runs, and why."""

    name: str
    reason: str


def backend(device: str = "cpu") -> Backend:
    """The implementation that `dcnv3` runs on tensors of `device` in this process; the CPU kernel is compiled now if it has to be."""
    return _backend(torch.device(device).type)


def has_kernel(kind: str) -> bool:
    """Whether a compiled kernel, or only its shape rule (meta), serves a type of device."""
    return kind == "meta" or _backend(kind).name != REFERENCE


@cache
def _backend(kind: str) -> Backend:
    if kind == "cpu":
        return _cpu_backend()
    return _cuda_backend() if kind == "cuda" else Backend(REFERENCE, f"there is no kernel for {kind} devices")


def _cpu_backend() -> Backend:
    with _building:
        return _activated(os.environ.get(CPU_VARIABLE))


def _cuda_backend() -> Backend:
    from dcnv3 import cuda

    reason = cuda.unavailable()
    return Backend("cuda", cuda.describe()) if reason is None else _fallen_back("cuda", reason)


@cache
def load_variant(variant: str) -> ctypes.CDLL:
    """The library of `variant`, whose operators are then in `torch.ops.dcnv3_<variant>`; BuildError when it cannot be had."""
    path = build.library(variant)
    try:
        library = ctypes.CDLL(str(path))
    except OSError as error:
        raise build.BuildError(f"{path} does not load: {error}") from error
    library.dcnv3_activate.restype = None
    return library


@cache
def _activated(wanted: str | None) -> Backend:
    choices = build.supported()
    if wanted == REFERENCE:
        return Backend(REFERENCE, f"${CPU_VARIABLE}={REFERENCE}")
    if wanted and wanted not in choices:
        raise ValueError(f"${CPU_VARIABLE} must be one of {', '.join((*choices, REFERENCE))} on this processor, got {wanted}")
    variant = wanted or choices[0]
    try:
        load_variant(variant).dcnv3_activate()
    except (build.BuildError, OSError) as error:  # a full disk, a file system without locks
        return _fallen_back("CPU", str(error))
    return Backend(variant, f"native kernel {build.library(variant)}")


def _fallen_back(kind: str, reason: str) -> Backend:
    warnings.warn(f"dcnv3 runs its slow PyTorch reference on {kind} tensors: {reason}", RuntimeWarning, stacklevel=2)
    return Backend(REFERENCE, reason)
