"""Float32 matrix products by oneDNN wherever that keeps float32's accuracy.

PyTorch multiplies with one library at the precision "highest" and hands float32 products to oneDNN at "medium". On processors without
matrix units oneDNN loses nothing, and on some of them it is much the faster of the two; with such units it rounds to bfloat16. Which of
the two a processor does is not documented, so the error is measured, once in a process. The time is not: a choice that hung on it would
make two runs of one seed differ.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch
from torch.nn import functional as F

DEFAULT, BY_ONEDNN = "highest", "medium"
LARGEST_ERROR = 3e-6  # relative, Frobenius norm: float32 stays below 1e-6 over 512 terms, bfloat16 comes to 2e-3
ROWS, INPUTS, OUTPUTS = 512, 512, 1024


@contextmanager
def fastest_float32_matmul(device: str = "cpu") -> Iterator[None]:
    """Float32 products take the route that `float32_precision` names; the setting of before comes back afterwards.

    Nothing happens on other devices, where the same setting means something else (TF32 on CUDA).
    """
    if torch.device(device).type != "cpu":
        yield
        return
    with _precision(float32_precision()):
        yield


@cache
def float32_precision() -> str:
    """The precision setting of this processor: "medium" if that is exact, PyTorch's own "highest" otherwise."""
    return BY_ONEDNN if product_error(BY_ONEDNN) <= LARGEST_ERROR else DEFAULT


def product_error(precision: str) -> float:
    """Relative error of one layer's product against float64 at a precision setting."""
    generator = torch.Generator().manual_seed(0)
    x, weight = (torch.randn(rows, INPUTS, generator=generator) for rows in (ROWS, OUTPUTS))
    exact = F.linear(x.double(), weight.double())
    with _precision(precision):
        return float((F.linear(x, weight) - exact).norm() / exact.norm())


@contextmanager
def _precision(precision: str) -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
