"""Tasks run in other processes, with their results in order; the processes end with the one that started them."""

import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import TypeVar

from trainer.children import deaf_children, follow_parent

T = TypeVar("T")
WAITING = 2  # tasks a process that run or wait ahead of the result that is asked for


def in_order(tasks: Sequence[Callable[[], T]], workers: int) -> Iterator[T]:
    """What the tasks return, in order: run in this process for one worker, else in so many others; ValueError if one of those dies."""
    if workers <= 1:
        yield from (task() for task in tasks)
        return
    # Not forked: this process may hold threads and locks of libraries, which a copy of it would inherit in whatever state they are.
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_start)
    running: deque[Future[T]] = deque()
    try:
        for task in tasks:
            with deaf_children():  # it starts a process where it lacks one
                running.append(pool.submit(task))
            if len(running) >= WAITING * workers:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()
    except BrokenProcessPool:
        raise ValueError("a process that decodes images was ended, as by want of memory; go on with fewer workers") from None
    finally:
        pool.shutdown(cancel_futures=True)


def ignore_remarks() -> None:
    """Keep Pillow's remarks on odd files to itself: what cannot be decoded is an error, and the rest needs no reader."""
    warnings.filterwarnings("ignore", module="PIL")


def _start() -> None:
    follow_parent()
    ignore_remarks()
