"""A server that is away for a while: which errors say so, and one line in the log at the start and at the end."""

import logging
import threading
import time

from sqlalchemy.exc import DBAPIError, OperationalError

RESTARTING = ("57P01", "57P02", "57P03")  # SQLSTATE: shut down by its administrator, after a crash, still starting
CONFLICTS = ("40001", "40P01")  # serialization failure, deadlock: the transaction was rolled back and may be tried again
CLASSES = ("08", "53")  # connection lost; disk, memory or connections used up
log = logging.getLogger(__name__)


def passes(error: DBAPIError, dialect: str) -> bool:
    """Whether waiting may help: a server out of reach or overloaded, never a mistake of ours and never SQLite."""
    if dialect == "sqlite":
        return False
    state = getattr(error.orig, "sqlstate", None)
    if state is None:
        return error.connection_invalidated or isinstance(error, OperationalError)
    return error.connection_invalidated or state[:2] in CLASSES or state in RESTARTING


def conflicts(error: DBAPIError) -> bool:
    """Whether the server rolled a transaction back in favour of another one."""
    return getattr(error.orig, "sqlstate", None) in CONFLICTS


class Outage:
    """Whether a store answers, as all threads that use it have found; each change is logged once."""

    def __init__(self, store: str) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._began: float | None = None

    def began(self, reason: str, *, patience_s: float) -> None:
        """Note that the store did not answer."""
        with self._lock:
            if self._began is None:
                self._began = time.monotonic()
                log.warning("the store %s does not answer (%s); trying again for %g min", self._store, reason, patience_s / 60)

    def ended(self) -> None:
        """Note that the store answered."""
        if self._began is None:  # the usual case, without the lock
            return
        with self._lock:
            if self._began is not None:
                log.warning("the store %s answers again after %.1f s", self._store, time.monotonic() - self._began)
                self._began = None
