"""What may end a command before its work is done."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def terminable() -> Iterator[list[int]]:
    """SIGTERM, which schedulers send before they kill, stops a command as Ctrl-C does; once it has come it is in the list."""
    terminated: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        terminated.append(number)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield terminated
    finally:
        signal.signal(signal.SIGTERM, before)
