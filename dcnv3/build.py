"""The CPU kernel as a shared library: shipped with the wheel, or compiled once with the machine's own C++ compiler."""

import logging
import os
import platform
import shlex
import shutil
import subprocess
import sysconfig
import time
from functools import cache
from pathlib import Path

import torch

from dcnv3.cache import cached, fingerprint

log = logging.getLogger(__name__)

SOURCE = Path(__file__).parent / "csrc" / "cpu"
SHIPPED = Path(__file__).parent / "lib"

# The flags of each variant beyond the common ones; a processor runs every variant after its own.
VARIANTS: dict[str, tuple[str, ...]] = {
    "avx512": (
        *("-mavx2", "-mfma", "-mf16c", "-mbmi", "-mbmi2", "-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mavx512cd"),
        "-mprefer-vector-width=512",
    ),
    "avx2": ("-mavx2", "-mfma", "-mf16c", "-mbmi", "-mbmi2"),
    "portable": (),
}

# Without errno and traps, comparisons and square roots stay in vectors; NaN and infinity keep their meaning.
COMMON = ("-std=c++20", "-O3", "-fno-math-errno", "-fno-trapping-math", "-Wno-psabi", "-fPIC", "-shared", "-fvisibility=hidden")
STABLE_INTERFACE = "0x020a000000000000"  # of PyTorch 2.10, the oldest release that can load the library


class BuildError(RuntimeError):
    """No library could be made here; the message says why."""


def library(variant: str) -> Path:
    """The shared library of `variant`, from the wheel, from the cache, or freshly compiled; BuildError when there is no way."""
    shipped = SHIPPED / library_name(variant)
    if shipped.exists():
        return shipped
    flags = (*COMMON, *VARIANTS[variant], *_definitions(variant))
    # Homes are shared between machines: a library asks for a C library as new as the one it was built with.
    key = fingerprint(*source_texts(), *flags, torch.__version__, platform.machine(), *platform.libc_ver())
    return cached(f"{variant}-{key}{_suffix()}", lambda target: compile_library(variant, target))


def library_name(variant: str) -> str:
    """The file name of `variant` inside a wheel."""
    return f"dcnv3_{variant}{_suffix()}"


def source_texts() -> list[str]:
    """Every file that goes into the library, in a fixed order."""
    return [path.read_text(encoding="utf-8") for path in sorted(SOURCE.iterdir()) if path.suffix in {".h", ".cpp"}]


def compile_library(variant: str, target: Path) -> None:
    """Write the library of `variant` to `target`; BuildError carries the compiler's words."""
    command = [
        *compiler(),
        *COMMON,
        *VARIANTS[variant],
        *_definitions(variant),
        *_torch_flags(),
        str(SOURCE / "operator.cpp"),
        "-o",
        str(target),
    ]
    command += [f"-L{_torch_folder() / 'lib'}", "-ltorch_cpu"]
    log.info("compiling the DCNv3 kernel for %s, once", variant)
    start = time.perf_counter()
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False, timeout=600)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BuildError(f"{command[0]} could not be run: {error}") from error
    if done.returncode:
        raise BuildError(f"{command[0]} failed with exit code {done.returncode}: {_first_error(done.stderr)}")
    log.info("compiled in %.1f s", time.perf_counter() - start)


def compiler() -> list[str]:
    """The C++ compiler's command: `$CXX`, flags included, or the first of g++, c++ and clang++ on PATH; BuildError when there is none."""
    wanted = os.environ.get("CXX", "").strip()
    try:
        commands = [shlex.split(wanted)] if wanted else [["g++"], ["c++"], ["clang++"]]
    except ValueError as error:
        raise BuildError(f"$CXX is no command: {error}, got {wanted}") from error
    found = next(([path, *flags] for name, *flags in commands if (path := shutil.which(name))), None)
    if found is None:
        raise BuildError(f"no C++ compiler on PATH (looked for {', '.join(name for name, *_ in commands)})")
    return found


def supported() -> tuple[str, ...]:
    """Variants that this processor runs, the fastest first."""
    capability = torch.backends.cpu.get_cpu_capability()
    first = {"AVX512": "avx512", "AVX2": "avx2"}.get(capability, "portable")
    names = tuple(VARIANTS)
    return names[names.index(first) :]


def _definitions(variant: str) -> tuple[str, ...]:
    return f"-DDCNV3_NAMESPACE=dcnv3_{variant}", f"-DTORCH_TARGET_VERSION={STABLE_INTERFACE}"


@cache
def _torch_folder() -> Path:
    return Path(torch.__file__).parent


def _torch_flags() -> tuple[str, ...]:
    return (f"-I{_torch_folder() / 'include'}",)


def _suffix() -> str:
    return sysconfig.get_config_var("SHLIB_SUFFIX") or ".so"


def _first_error(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    first = next((index for index, line in enumerate(lines) if "error" in line.lower()), len(lines) - 1)
    # A linker's own words, a full disk for one, stand in the line before the compiler's.
    start = first - 1 if first > 0 and ("ld returned" in lines[first] or "linker command failed" in lines[first]) else first
    return "; ".join(lines[start : first + 1]) or "it said nothing"
