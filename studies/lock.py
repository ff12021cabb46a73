"""One driver at a time for a study, held by the operating system or the server, so that a killed driver lets go by dying."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Engine, text

NAMESPACE = 20221110  # sets our advisory locks apart from others' in a shared PostgreSQL


@contextmanager
def exclusive(engine: Engine, study_id: int) -> Iterator[bool]:
    """Whether this process is now the only driver of the study; let go at the end of the block, or of the process."""
    hold = _hold_on_server if engine.dialect.name == "postgresql" else _hold_beside_file
    with hold(engine, study_id) as held:
        yield held


@contextmanager
def _hold_beside_file(engine: Engine, study_id: int) -> Iterator[bool]:
    """One byte a study of a file beside the database; not in it, where SQLite keeps locks of its own."""
    path = Path(f"{engine.url.database}-driver")
    with path.open("ab") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, study_id)
        except (BlockingIOError, PermissionError):
            yield False
        else:
            yield True


@contextmanager
def _hold_on_server(engine: Engine, study_id: int) -> Iterator[bool]:
    lock = {"namespace": NAMESPACE, "study": study_id}
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        held = bool(connection.execute(text("SELECT pg_try_advisory_lock(:namespace, :study)"), lock).scalar())
        try:
            yield held
        finally:
            if held:
                connection.execute(text("SELECT pg_advisory_unlock(:namespace, :study)"), lock)
