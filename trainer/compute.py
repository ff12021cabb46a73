"""What a computation that must repeat itself runs in: seeded, at a declared number of threads, and out of memory by one name."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from trainer.matmul import fastest_float32_matmul

OUT_OF_MEMORY = ("can't allocate memory", "not enough memory", "CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED")


@contextmanager
def seeded_compute(device: str, *, threads: int, seed: int) -> Iterator[None]:
    """A seeded global generator, that many threads and the fastest exact matrix products; all put back afterwards."""
    before = torch.get_num_threads()
    with torch.random.fork_rng(devices=[] if device == "cpu" else [device]):  # its own alone: to look at others would initialise them
        torch.manual_seed(seed)
        torch.set_num_threads(threads)
        try:
            with fastest_float32_matmul(device):
                yield
        finally:
            torch.set_num_threads(before)


@contextmanager
def memory_errors() -> Iterator[None]:
    """PyTorch's ways of running out of memory as one MemoryError."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise MemoryError(str(error).splitlines()[0]) from error
    except RuntimeError as error:
        if any(words in str(error) for words in OUT_OF_MEMORY):
            raise MemoryError(str(error).splitlines()[0]) from error
        raise
