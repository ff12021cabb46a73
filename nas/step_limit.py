"""A time limit for each step of a training, since neither Ray Tune nor a blocked call has one."""

import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

T = TypeVar("T")


class HungStepError(TimeoutError):
    """A step brought nothing within its time; the thread that runs it is left behind."""


class LimitedSteps(Generic[T]):
    """Steps made one after the other in a thread of their own, each given `limit_s` seconds; HungStepError when that is not enough.

    Nothing can end a thread from outside: one that hangs goes on until its process ends, unless it comes back to find itself closed.
    """

    def __init__(self, step: Callable[[], T], limit_s: float, *, close: Callable[[], None]) -> None:
        self._step, self._limit_s, self._close = step, limit_s, close
        self._wanted: SimpleQueue[bool] = SimpleQueue()
        self._made: SimpleQueue[T | BaseException] = SimpleQueue()
        threading.Thread(target=self._serve, name="nas-step", daemon=True).start()

    def __call__(self) -> T:
        """What the next step brings; its errors are raised here."""
        self._wanted.put(True)
        try:
            made = self._made.get(timeout=self._limit_s)
        except Empty:
            raise HungStepError(f"a step brought nothing within {self._limit_s:g} s") from None
        if isinstance(made, BaseException):
            raise made
        return made

    def close(self) -> None:
        """End the thread, at once or when its step comes back."""
        self._wanted.put(False)

    def _serve(self) -> None:
        while self._wanted.get():
            try:
                self._made.put(self._step())
            except BaseException as error:  # the caller's to handle
                self._made.put(error)
        self._close()
