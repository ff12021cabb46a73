"""Device code made by NVRTC at first use: no compiler, no header of the CUDA toolkit, no device needed; kept in the kernel cache."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from dcnv3.cache import cached, fingerprint

SOURCES = Path(__file__).parent / "csrc" / "cuda"
OPTIONS = ("--std=c++17", "--ptxas-options=-v")


def version() -> tuple[int, int]:
    """NVRTC's version; ImportError or RuntimeError where cuda-bindings or the library is missing."""
    major, minor = _checked(_nvrtc().nvrtcVersion())
    return major, minor


def target(capability: tuple[int, int]) -> str:
    """`sm_XY` for devices that NVRTC knows, else the newest `compute_XY` at or below, whose PTX the driver translates."""
    wanted = capability[0] * 10 + capability[1]
    known = sorted(_checked(_nvrtc().nvrtcGetSupportedArchs())[0])
    if wanted in known:
        return f"sm_{wanted}"
    below = [number for number in known if number < wanted]
    if not below:
        raise RuntimeError(
            f"NVRTC {_spelled(version())} compiles for compute capability {known[0] / 10} and later, this device has {wanted / 10}"
        )
    return f"compute_{below[-1]}"


def device_code(entry: Path, macros: Sequence[str], architecture: str) -> bytes:
    """The cubin (PTX for a `compute_XY`) of `entry`, whose includes are `SOURCES`, from the cache or made now."""
    key = fingerprint(*_sources(entry), architecture, _spelled(version()), *OPTIONS, *macros)
    return cached(
        f"{entry.stem}-{architecture}-{key}.bin", lambda path: _write(path, compile_source(entry, macros, architecture)[0])
    ).read_bytes()


def compile_source(entry: Path, macros: Sequence[str], architecture: str) -> tuple[bytes, str]:
    """Device code and the compiler's log, which names registers and spills; RuntimeError with that log when it fails."""
    nvrtc = _nvrtc()
    names = sorted(path.name for path in SOURCES.glob("*.cuh"))
    headers = [(SOURCES / name).read_bytes() for name in names]
    program = _checked(
        nvrtc.nvrtcCreateProgram(entry.read_bytes(), entry.name.encode(), len(names), headers, [name.encode() for name in names])
    )[0]
    try:
        options = [option.encode() for option in (f"--gpu-architecture={architecture}", *OPTIONS, *(f"-D{macro}" for macro in macros))]
        (status,) = nvrtc.nvrtcCompileProgram(program, len(options), options)
        log = _text(program)
        if status != nvrtc.nvrtcResult.NVRTC_SUCCESS:
            raise RuntimeError(f"NVRTC could not compile {entry.name} for {architecture} with {list(macros)} ({status.name}):\n{log}")
        return _code(program, "CUBIN" if architecture.startswith("sm_") else "PTX"), log
    finally:
        nvrtc.nvrtcDestroyProgram(program)


def _text(program: Any) -> str:
    size = _checked(_nvrtc().nvrtcGetProgramLogSize(program))[0]
    log = bytes(size)
    _checked(_nvrtc().nvrtcGetProgramLog(program, log))
    return log.rstrip(b"\0").decode(errors="replace")


def _code(program: Any, kind: str) -> bytes:
    size = _checked(getattr(_nvrtc(), f"nvrtcGet{kind}Size")(program))[0]
    code = bytes(size)
    _checked(getattr(_nvrtc(), f"nvrtcGet{kind}")(program, code))
    return code


def _checked(result: tuple[Any, ...]) -> tuple[Any, ...]:
    """What a call returned after its status; RuntimeError when the status is an error."""
    status, *values = result
    if status.value:
        raise RuntimeError(f"NVRTC: {_nvrtc().nvrtcGetErrorString(status)[1].decode()}")
    return tuple(values)


def _nvrtc() -> Any:
    from cuda.bindings import nvrtc

    return nvrtc


@cache
def _sources(entry: Path) -> tuple[bytes, ...]:
    return entry.read_bytes(), *(path.read_bytes() for path in sorted(SOURCES.glob("*.cuh")))


def _spelled(numbers: tuple[int, int]) -> str:
    return ".".join(map(str, numbers))


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)
