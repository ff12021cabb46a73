"""Reading and writing transactions of one database: they outlast a server's outage, and are applied exactly once."""

import time
from collections.abc import Callable
from typing import Generic, TypeVar

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DatabaseError, DBAPIError, IntegrityError, InterfaceError

from studies.database import StoreError, shown
from studies.outages import Outage, conflicts, passes

PATIENCE_S = 600.0
PAUSES_S = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0)  # the last one again and again: a lease must not run out between two tries
_NUMBER = text("SELECT pg_current_xact_id_if_assigned()::text")
_STATUS = text("SELECT pg_xact_status(CAST(:transaction AS xid8))")
_END = text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_xid = CAST(CAST(:transaction AS xid8) AS xid)")
T = TypeVar("T")
Work = Callable[[Connection], T]


class Sessions:
    """Transactions on `engine`, as functions of a connection that may be run again; StoreError, which names `url`, when they fail for good.

    With `patient` they wait up to `PATIENCE_S` for a server that does not answer; who only looks is told at once.
    """

    def __init__(self, engine: Engine, url: str, *, patient: bool = True) -> None:
        self.engine = engine
        self._writing = engine.execution_options(writes=True)
        self._url = url
        self._patient = patient
        self._outage = Outage(shown(url))

    def read(self, look: Work[T]) -> T:
        """What `look` finds."""

        def attempt() -> T:
            with self.engine.connect() as connection:
                return look(connection)

        return self._outlast(attempt, patient=self._patient)

    def write(self, change: Work[T], *, patient: bool | None = None) -> T:
        """What `change` gives, committed once and only once, unless it raises; it must do nothing but work on its connection."""
        return self._outlast(_Once(self._writing, change).attempt, patient=self._patient if patient is None else patient)

    def _outlast(self, attempt: Callable[[], T], *, patient: bool) -> T:
        """The result of the first attempt that the database carries through."""
        deadline, tries = time.monotonic() + (PATIENCE_S if patient else 0.0), 0
        while True:
            try:
                result = attempt()
            except IntegrityError:  # a broken uniqueness is its caller's to explain
                raise
            except (DatabaseError, InterfaceError) as error:
                self._bear(error, waits=time.monotonic() < deadline)
                time.sleep(PAUSES_S[min(tries, len(PAUSES_S) - 1)])
                tries += 1
            else:
                self._outage.ended()
                return result

    def _bear(self, error: DBAPIError, *, waits: bool) -> None:
        """Return if another attempt makes sense; else raise the error as one clear line."""
        reason = str(error.orig).strip().splitlines()[0]
        passing = passes(error, self.engine.dialect.name)
        if passing and self._patient:
            self._outage.began(reason, patience_s=PATIENCE_S)
        if waits and (passing or conflicts(error)):
            return
        raise StoreError(f"the store {shown(self._url)} failed: {reason}") from error


class _Once(Generic[T]):
    """One change, tried until it is known to be committed.

    A connection that breaks during COMMIT leaves open whether it was carried out: PostgreSQL (13 or newer) remembers that by number.
    """

    def __init__(self, engine: Engine, change: Work[T]) -> None:
        self._engine = engine
        self._change = change
        self._unanswered: tuple[str, T] | None = None

    def attempt(self) -> T:
        """Do the change, unless an earlier attempt did."""
        if self._unanswered is not None:
            transaction, result = self._unanswered
            if self._was_committed(transaction):
                return result
            self._unanswered = None
        with self._engine.begin() as connection:
            result = self._change(connection)
            if self._engine.dialect.name == "postgresql":
                number = connection.scalar(_NUMBER)
                self._unanswered = (number, result) if number else None
        return result

    def _was_committed(self, transaction: str) -> bool:
        """What became of a transaction; one that its lost connection still holds open is ended first."""
        ours = {"transaction": transaction}
        with self._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            for pause in PAUSES_S:
                status = connection.scalar(_STATUS, ours)
                if status != "in progress":
                    return bool(status == "committed")
                connection.execute(_END, ours)
                time.sleep(pause)
        raise StoreError(f"the server does not end transaction {transaction}, whose connection was lost")
