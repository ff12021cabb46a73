"""Memory traffic for comparison: moving as many bytes as an operator has to, in order and with next to no arithmetic."""

from functools import partial

import torch

from benchmarks.timing import Run

FLOAT_BYTES = 4


def streaming(moved_bytes: int) -> Run:
    """A sum of two tensors into a third, together of that size: how fast data of this amount come and go at best."""
    first, second, total = (torch.zeros(max(1, moved_bytes // (3 * FLOAT_BYTES))) for _ in range(3))
    return partial(torch.add, first, second, out=total)
