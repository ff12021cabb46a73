"""Batches where a device computes: copied there once if they fit, else gathered ahead of time by a thread; the same ones either way."""

import math
from collections.abc import Generator, Iterator
from contextlib import closing
from queue import SimpleQueue
from threading import Event, Semaphore, Thread
from typing import TypeVar

import torch
from torch import Tensor

from trainer.data import Split, batch_sizes, epoch_order

Batch = tuple[Tensor, Tensor]  # images uint8 (b, C, H, W), labels int64 (b,)
T = TypeVar("T")

SHARE_OF_MEMORY = 0.5  # of what a GPU has free: the network and what it keeps for gradients need the rest
AHEAD = 3  # batches that are gathered before they are asked for
COPIED_AT_ONCE = 2**26  # bytes


class Feed:
    """The batches of a split on `device`, for one of `world` processes that share every batch: the `rank`-th contiguous part of it."""

    def __init__(self, split: Split, device: str | torch.device, *, rank: int = 0, world: int = 1) -> None:
        if not 0 <= rank < world:
            raise ValueError(f"rank must lie from 0 to world - 1, got rank={rank}, world={world}")
        self._device = _numbered(torch.device(device))
        self._rank, self._world = rank, world
        resident = not _in_place(split, self._device) and _fits(split, self._device)
        self._split = _copied(split, self._device) if resident else split
        self._streams = not resident and not _in_place(split, self._device)

    def steps(self, batch_size: int) -> int:
        """The number of batches of an epoch."""
        return len(batch_sizes(len(self._split), batch_size, world=self._world))

    def epoch(self, batch_size: int, generator: torch.Generator) -> Iterator[Batch]:
        """Every image of the split once among all processes, in the order that `generator` draws; all must draw the same.

        `batch_size` counts the images of all processes together.
        """
        sizes = batch_sizes(len(self._split), batch_size, world=self._world)
        return self._batches([self._share(chosen) for chosen in epoch_order(self._split, generator).split(sizes)])

    def in_order(self, batch_size: int) -> Iterator[Batch]:
        """Every image of the split once among all processes, in the split's order; a last batch may leave a process without a share."""
        order = torch.arange(len(self._split), device=self._split.labels.device)
        shares = [self._share(chosen) for chosen in order.split(batch_size)]
        return self._batches([share for share in shares if len(share)])

    def _share(self, chosen: Tensor) -> Tensor:
        first, last = (len(chosen) * rank // self._world for rank in (self._rank, self._rank + 1))
        return chosen[first:last]

    def _batches(self, shares: list[Tensor]) -> Iterator[Batch]:
        if self._streams:
            return _streamed(self._split, shares, self._device)
        return (self._split.batch(chosen) for chosen in shares)


def _numbered(device: torch.device) -> torch.device:
    """`cuda` as this thread means it, since every thread has a current device of its own."""
    return torch.device("cuda", torch.cuda.current_device()) if device.type == "cuda" and device.index is None else device


def _in_place(split: Split, device: torch.device) -> bool:
    """Whether the split lies where it is needed."""
    return split.labels.device.type == device.type


def _fits(split: Split, device: torch.device) -> bool:
    free, _ = torch.cuda.mem_get_info(device)
    return _bytes(split) <= SHARE_OF_MEMORY * free


def _bytes(split: Split) -> int:
    return len(split) * (math.prod(split.image_shape) + 8)


def _copied(split: Split, device: torch.device) -> Split:
    """The split's own images and labels on the device, sent piece by piece: neither memory ever holds them twice."""
    images = torch.empty((len(split), *split.image_shape), dtype=torch.uint8, device=device)
    step = max(1, COPIED_AT_ONCE // math.prod(split.image_shape))
    for start in range(0, len(split), step):
        chosen = torch.arange(start, min(start + step, len(split)))
        images[start : start + len(chosen)].copy_(split.batch(chosen)[0])
    return Split(images, split.labels.to(device))


def _streamed(split: Split, shares: list[Tensor], device: torch.device) -> Iterator[Batch]:
    """Batches that a thread gathers into pinned memory and sends on a stream of its own while the device computes."""
    cuda = device.type == "cuda"
    stream = torch.cuda.Stream(device) if cuda else None

    def send(chosen: Tensor) -> tuple[Batch, "torch.cuda.Event | None"]:
        images = torch.empty((len(chosen), *split.image_shape), dtype=torch.uint8, pin_memory=cuda)
        labels = torch.empty(len(chosen), dtype=torch.int64, pin_memory=cuda)
        split.batch_into(images, labels, chosen)
        with torch.cuda.stream(stream):
            # Pinned blocks come from PyTorch's cache, which hands one out again only when the copies out of it are done.
            batch = images.to(device, non_blocking=True), labels.to(device, non_blocking=True)
        return batch, stream.record_event() if stream is not None else None

    with closing(_ahead(map(send, shares))) as sent:
        for batch, arrived in sent:
            if arrived is not None:
                current = torch.cuda.current_stream(device)
                current.wait_event(arrived)  # the device waits for the copy, this thread does not
                for tensor in batch:
                    tensor.record_stream(current)
            yield batch


def _ahead(items: Iterator[T]) -> Generator[T, None, None]:
    """The items, made by a thread that is a few ahead; it ends with the last of them, with its first error, or with this generator."""
    made: SimpleQueue[tuple[T | None, BaseException | None]] = SimpleQueue()  # nothing and no error: the end
    room, ended = Semaphore(AHEAD), Event()

    def make() -> None:
        try:
            while room.acquire() and not ended.is_set():
                made.put((next(items), None))
        except StopIteration:
            made.put((None, None))
        except BaseException as error:
            made.put((None, error))

    thread = Thread(target=make, name="feed", daemon=True)
    thread.start()
    try:
        while True:
            item, error = made.get()
            if error is not None:
                raise error
            if item is None:
                return
            room.release()
            yield item
    finally:
        ended.set()
        room.release()
        thread.join()
