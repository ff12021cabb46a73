"""The speed of the first-level cache, which bounds the operator: vectors loaded, or loaded, changed and stored, in a second."""

import ctypes
import subprocess
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from threading import Barrier

import torch

from benchmarks.operator_shapes import Shape
from dcnv3 import build

SOURCE = Path(__file__).parent / "load_rate.cpp"
VECTOR_BYTES = {"avx512": 64, "avx2": 32, "portable": 16}
ROUNDS = 20_000  # some 5 ms
ATTEMPTS = 15


@dataclass(frozen=True, slots=True)
class Rates:
    """Vectors of `row_bytes` a second: loads, and read-modify-writes, of `threads` threads together."""

    row_bytes: int
    threads: int
    loads: float
    modifications: float


def rates(variant: str, row_bytes: int, threads: int) -> Rates:
    """The best of some attempts, since a bound is what the processor can do, not what it does while it is disturbed."""
    library = _library(variant)
    loads, modifications = (_best(getattr(library, f"{kind}_{row_bytes}"), threads) for kind in ("load", "modify"))
    return Rates(row_bytes, threads, loads, modifications)


def bounds(shape: Shape, variant: str) -> tuple[float, float]:
    """Least seconds of the forward and of the backward pass: every row is loaded in both, and changed in the second as well."""
    width = VECTOR_BYTES[variant]
    measured = _cached_rates(variant, shape.row_bytes(width), torch.get_num_threads())
    vectors = shape.vectors(width)
    return vectors / measured.loads, vectors * (1 / measured.loads + 1 / measured.modifications)


def all_rates(variants: tuple[str, ...]) -> dict[str, list[Rates]]:
    """Every width up to the variant's own, on one thread and on all of PyTorch's."""
    counts = sorted({1, torch.get_num_threads()})
    return {variant: [_cached_rates(variant, width, count) for width in _widths(variant) for count in counts] for variant in variants}


_cached_rates = cache(rates)


def _widths(variant: str) -> list[int]:
    return [width for width in VECTOR_BYTES.values() if width <= VECTOR_BYTES[variant]]


def _best(function: Callable[[int], float], threads: int) -> float:
    function(ROUNDS)  # the clock rises first
    return max(_together(function, threads) for _ in range(ATTEMPTS))


def _together(function: Callable[[int], float], threads: int) -> float:
    barrier = Barrier(threads)

    def run(_: int) -> float:
        barrier.wait()
        return function(ROUNDS)

    with ThreadPoolExecutor(threads) as pool:
        return sum(pool.map(run, range(threads)))


@cache
def _library(variant: str) -> ctypes.CDLL:
    """Compiled with the kernel's own flags; ctypes lets other threads run while it is in there."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "load_rate.so"
        subprocess.run([*build.compiler(), *build.COMMON, *build.VARIANTS[variant], str(SOURCE), "-o", str(target)], check=True)
        library = ctypes.CDLL(str(target))
    for kind in ("load", "modify"):
        for width in _widths(variant):
            function = getattr(library, f"{kind}_{width}")
            function.argtypes, function.restype = [ctypes.c_int64], ctypes.c_double
    return library
