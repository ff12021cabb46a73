"""What a computation that must repeat itself runs in: seeded, at a declared number of threads, and out of memory by one name."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from trainer.matmul import fastest_float32_matmul

OUT_OF_MEMORY = ("can't allocate memory", "not enough memory", "CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED")


@contextmanager
def seeded_compute(device: str, *, threads: int, seed: int) -> Iterator[None]:
    """A seeded global generator, that many threads and the fastest exact matrix products; all put back afterwards.

    ValueError where the device is not there.
    """
    check_present(device)
    before = torch.get_num_threads()
    with torch.random.fork_rng(devices=[] if device == "cpu" else [device]):  # its own alone: to look at others would initialise them
        torch.manual_seed(seed)
        torch.set_num_threads(threads)
        try:
            with fastest_float32_matmul(device):
                yield
        finally:
            torch.set_num_threads(before)


def check_present(device: str) -> None:
    """ValueError for a CUDA device that PyTorch does not find."""
    wanted = torch.device(device)
    if wanted.type == "cuda" and not (wanted.index or 0) < torch.cuda.device_count():
        raise ValueError(f"device {device} is not there: torch finds {torch.cuda.device_count()} CUDA devices; use --device cpu")


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


@contextmanager
def sharing_memory(device: str) -> Iterator[None]:
    """Before and after, what PyTorch keeps of a GPU's memory for later is given back: other processes train there too."""
    _give_back(device)
    try:
        yield
    finally:
        _give_back(device)


def _give_back(device: str) -> None:
    if device != "cpu":
        torch.cuda.empty_cache()
