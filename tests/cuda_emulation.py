"""The CUDA operator on the processor: its own Python up to the launch, and from there its kernels as g++ compiles them."""

import ctypes
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from filelock import FileLock
from torch import Tensor

from dcnv3 import cuda, cuda_driver, cuda_plan, nvrtc
from dcnv3.cuda_plan import Device, Element, Instance, Launch, Problem
from tests.cuda_cases import BRAIN, DOUBLE, HALF, SINGLE, square

HERE = Path(__file__).parent
# (value, parameters, channels of a group): every path in float32, the other types where their code differs.
COMPILED = [
    *((SINGLE, SINGLE, channels) for channels in (1, 3, 4, 8, 16, 32)),
    *((DOUBLE, DOUBLE, channels) for channels in (3, 4)),
    *((dtype, dtype, channels) for dtype in (BRAIN, HALF) for channels in (3, 16)),
    (BRAIN, SINGLE, 16),
    (SINGLE, BRAIN, 4),
    (HALF, DOUBLE, 4),
    (DOUBLE, SINGLE, 4),
]
STRATEGIES = ("sums", "fixed", "planes")
WIDE = (SINGLE, SINGLE, 4)  # the one that is compiled for 64-bit thread numbers too


def tiles(channels: int) -> list[int]:
    """All of a group's channels, and the largest part of them."""
    return [channels, *[tile for tile in range(channels - 1, 0, -1) if channels % tile == 0][:1]]


def device_for(problem: Problem, tile: int) -> Device:
    """A device with just the shared memory that makes `fitting_tile` answer `tile`."""
    return Device((8, 0), 2 * cuda_plan.plane_bytes(problem, tile) + cuda_plan.BLOCK_RESERVE, 1)


def elements(value: torch.dtype, parameter: torch.dtype) -> tuple[Element, Element]:
    return cuda.ELEMENTS[value], cuda.ELEMENTS[parameter]


@contextmanager
def counting_in_64_bits() -> Iterator[None]:
    """As if every call had too many threads to count in 32 bits."""
    caches = cuda_plan.plan_forward, cuda_plan.plan_backward
    for plan in caches:
        plan.cache_clear()
    try:
        with patch.object(cuda_plan, "INDEX_LIMIT", 0):
            yield
    finally:
        for plan in caches:
            plan.cache_clear()


def instances() -> set[Instance]:
    """Everything that the emulator is compiled with: what the launcher asks for on small problems."""
    found = {instance for row in COMPILED for instance in _instances_of(*row)}
    with counting_in_64_bits():
        return found | set(_instances_of(*WIDE))


def _instances_of(value: torch.dtype, parameter: torch.dtype, channels: int) -> Iterator[Instance]:
    for kernel in (1, 3):
        problem = Problem(square(kernel), 1, (4, 4), channels, *elements(value, parameter))
        for tile in tiles(channels):
            device = device_for(problem, tile)
            yield cuda_plan.plan_forward(problem).instance
            for strategy in STRATEGIES:
                yield from (step.instance for step in cuda_plan.plan_backward(problem, device, strategy=strategy))


class Emulator:
    """The shared library that g++ makes of the kernels."""

    def __init__(self, path: Path) -> None:
        self.library = ctypes.CDLL(str(path))
        self.library.emulate.restype = ctypes.c_char_p
        self.library.arguments_size.restype = ctypes.c_ulonglong
        self.launched: list[Launch] = []

    def launch(self, step: Launch, arguments: ctypes.Structure, tensors: dict[str, Tensor], order: int) -> None:
        """Run `step`; AssertionError with the rule of CUDA that it broke. What it shall write starts as NaN."""
        written = {"output", "d_offset", "d_mask", *(["d_value"] if step.instance.kernel in ("backward_plane", "backward_tile") else [])}
        for name in written & tensors.keys():
            tensors[name].fill_(torch.nan)
        ranges = [number for tensor in tensors.values() for number in (tensor.data_ptr(), tensor.numel() * tensor.element_size())]
        names = step.instance.kernel.encode(), step.instance.setup.encode()
        known = (ctypes.c_ulonglong * len(ranges))(*ranges)
        sizes = step.blocks, step.threads, ctypes.c_ulonglong(step.shared), order
        broken = self.library.emulate(*names, ctypes.byref(arguments), known, len(tensors), *sizes).decode()
        assert not broken, f"{broken}: {step}"
        self.launched.append(step)

    @contextmanager
    def instead_of_a_device(self, device: Device, order: int = 0) -> Iterator[None]:
        """`dcnv3.cuda` runs its kernels here, threads and blocks in rising (0) or falling (1) order."""
        run, latest = cuda._run, {}

        def remember(*arguments: Any, **tensors: Tensor) -> None:
            latest.clear()
            latest.update(tensors)
            run(*arguments, **tensors)

        def launch(step: Launch, arguments: ctypes.Structure, _: torch.device) -> None:
            self.launch(step, arguments, latest, order)

        self.launched.clear()
        with (
            patch.object(cuda, "_run", remember),
            patch.object(cuda_driver, "launch", launch),
            patch.object(cuda, "_device", lambda _: device),
        ):
            yield


def build(folder: Path) -> Emulator:
    """The emulator, compiled by the first of the test processes that share `folder`."""
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("the emulator is compiled by g++, which is not installed")
    library = folder / "cuda_emulator.so"
    with FileLock(folder / "cuda_emulator.lock"):
        if not library.exists():
            _compile(compiler, folder, library)
    return Emulator(library)


def _compile(compiler: str, folder: Path, library: Path) -> None:
    table = folder / "table.inc"
    table.write_text("".join(sorted(f"ROW({instance.kernel}, {instance.setup})\n" for instance in instances())))
    flags = ["-std=c++17", "-O1", "-fPIC", "-shared", "-ffp-contract=off", "-fno-strict-aliasing", "-Wno-unknown-pragmas"]
    places = [f"-I{nvrtc.SOURCES}", f"-I{HERE}", f'-DTABLE="{table}"']
    unfinished = library.with_suffix(".part")
    subprocess.run([compiler, *flags, *places, "-o", str(unfinished), str(HERE / "cuda_emulator.cpp")], check=True)
    unfinished.rename(library)
