"""How a process that another one started behaves towards it."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import connection, parent_process, resource_tracker


@contextmanager
def deaf_children() -> Iterator[None]:
    """Processes that are spawned within know nothing of Ctrl-C until `follow_parent` runs in them; this one hears of it at the end."""
    resource_tracker.ensure_running()  # spawning starts it where it does not run, and that ends with SIGINT let through
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])  # inherited: a child imports for seconds before it can ignore it
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def follow_parent() -> None:
    """Leave Ctrl-C, which reaches the whole group, to the parent, and end with it: a killed one cannot say so."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None, "only a process that was started by another runs this"
    connection.wait([parent.sentinel])
    os._exit(1)
