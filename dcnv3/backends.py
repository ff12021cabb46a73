"""Which implementation of the operator serves a kind of device, and why."""

import ctypes
import os
import sys
import threading
import warnings
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch

from dcnv3 import build
from dcnv3.cache import discard

CPU_VARIABLE = "DCNV3_CPU"
REFERENCE = "reference"
_settling = threading.RLock()
_settled: dict[str, "Backend"] = {}


def _unlock() -> None:
    """A child that is forked while another thread compiles has the lock as held, and not the thread that would let go of it."""
    global _settling
    _settling = threading.RLock()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_unlock)


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


def _backend(kind: str) -> Backend:
    if kind not in _settled:
        with _settling:
            if kind not in _settled:
                _settle(kind)
    return _settled[kind]


def _settle(kind: str) -> None:
    try:
        _settled[kind] = _FINDERS[kind]() if kind in _FINDERS else Backend(REFERENCE, f"there is no kernel for {kind} devices")
    except (build.BuildError, OSError, NotImplementedError) as error:  # a full disk, a file system without locks
        _settled[kind] = Backend(REFERENCE, str(error))
        # Last, for a warning may be an error: it is said once all the same.
        text = f"dcnv3 runs its slow PyTorch reference on {kind.upper()} tensors: {error}"
        warnings.warn(text, RuntimeWarning, stacklevel=_stacklevel())


def _stacklevel() -> int:
    """Where the line is that called this package, past PyTorch's own, as `warnings.warn` counts from the caller of this."""
    inside = tuple(f"{Path(module).parent}{os.sep}" for module in (__file__, torch.__file__))
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_code.co_filename.startswith(inside):
        frame, level = frame.f_back, level + 1
    return level


def _cpu_backend() -> Backend:
    choices, wanted = build.supported(), os.environ.get(CPU_VARIABLE)
    if wanted == REFERENCE:
        return Backend(REFERENCE, f"${CPU_VARIABLE}={REFERENCE}")
    if wanted and wanted not in choices:
        raise ValueError(f"${CPU_VARIABLE} must be one of {', '.join((*choices, REFERENCE))} on this processor, got {wanted}")
    variant = wanted or choices[0]
    library = load_variant(variant)
    library.dcnv3_activate()
    return Backend(variant, f"native kernel {library._name}")


def _cuda_backend() -> Backend:
    from dcnv3 import cuda

    reason = cuda.unavailable()
    if reason is not None:
        raise build.BuildError(reason)
    return Backend("cuda", cuda.describe())


_FINDERS = {"cpu": _cpu_backend, "cuda": _cuda_backend}


@cache
def load_variant(variant: str) -> ctypes.CDLL:
    """The library of `variant`, whose operators are then in `torch.ops.dcnv3_<variant>`; BuildError when it cannot be had."""
    path = build.library(variant)
    try:
        library = ctypes.CDLL(str(path))
    except OSError as error:
        library = _loaded_anew(variant, path, error)
    library.dcnv3_activate.restype = None
    return library


def _loaded_anew(variant: str, path: Path, error: OSError) -> ctypes.CDLL:
    """A cached library may come from another machine that shares the folder: it is compiled here, once."""
    if path.parent == build.SHIPPED:
        raise build.BuildError(f"{path} does not load: {error}") from error
    discard(path)
    path = build.library(variant)
    try:
        return ctypes.CDLL(str(path))
    except OSError as again:
        raise build.BuildError(f"{path} does not load: {again}") from again
