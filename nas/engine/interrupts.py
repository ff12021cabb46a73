"""Signals that stop a search: its driver hears of them too."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import Any

from nas.driver import Driver

Handler = Callable[[int, FrameType | None], Any]


@contextmanager
def interruptible(driver: Driver) -> Iterator[None]:
    """What Ctrl-C or SIGTERM raises also asks the driver to stop: Python drops what is raised inside somebody's finaliser."""
    with ExitStack() as stack:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                before = signal.getsignal(number)
                if callable(before):  # else it is ignored, or ends the process
                    stack.callback(signal.signal, number, before)
                    signal.signal(number, _telling(driver, before))
        yield


def _telling(driver: Driver, handler: Handler) -> Handler:
    def handle(number: int, frame: FrameType | None) -> None:
        try:
            handler(number, frame)
        except BaseException:
            driver.interrupted = True
            raise

    return handle
