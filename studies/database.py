"""Connections and schema versions: SQLite with WAL, PostgreSQL with pings, Alembic from the first version on."""

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

from sqlalchemy import URL, Engine, ExceptionContext, create_engine, event, inspect, make_url, text
from sqlalchemy.exc import ArgumentError, DatabaseError, DisconnectionError, NoSuchModuleError
from sqlalchemy.pool import ConnectionPoolEntry, NullPool, PoolProxiedConnection

MIGRATIONS = Path(__file__).parent / "migrations"
HEAD = "0005"
BUSY_TIMEOUT_S = 30
LOOKING_TIMEOUT_S = 3  # writers never block a reader: what does has taken the whole file, and may keep it
LOST_AFTER = {  # a server that went without a word is noticed within half a minute; libpq alone would take hours
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
Synchronous = Literal["NORMAL", "FULL"]
log = logging.getLogger(__name__)


class StoreError(ValueError):
    """The store cannot be used: unreachable, damaged, of a newer schema, or not there."""


def shown(url: str) -> str:
    """The URL with its passwords hidden, for messages."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        return "(not a database URL)"
    secrets = {key: "hidden" for key in parsed.query if "password" in key}
    return parsed.update_query_dict(secrets).render_as_string(hide_password=True)


def store_folder(url: str) -> Path | None:
    """The folder of a SQLite store; None for a server. StoreError for what is no store's URL."""
    parsed = _parse(url)
    return Path(parsed.database or "").absolute().parent.resolve() if parsed.get_backend_name() == "sqlite" else None


def folder_beside(url: str, purpose: str) -> Path:
    """A folder for what belongs to a store: `nas-weights` beside `nas.db`, and in the working folder for a server."""
    if (folder := store_folder(url)) is None:
        return Path.cwd() / f"nas-{purpose}"
    return folder / f"{Path(_parse(url).database or 'nas').stem}-{purpose}"


def connect(url: str, *, create: bool, synchronous: Synchronous = "NORMAL") -> Engine:
    """An engine on a database of the current schema, made or migrated when `create` allows; StoreError otherwise."""
    if synchronous not in get_args(Synchronous):
        raise ValueError(f"synchronous must be {' or '.join(get_args(Synchronous))}, got {synchronous!r}")
    parsed = _parse(url)
    if parsed.get_backend_name() == "sqlite":
        _check_file(parsed.database, create=create)
    try:
        engine = create_engine(parsed, **_options(parsed, looks=not create))
    except NoSuchModuleError as error:
        raise StoreError(f"no driver for {shown(url)}: {error}") from None
    except ModuleNotFoundError as error:
        raise StoreError(f"the store {shown(url)} needs {error.name}: pip install 'nas-scaling[postgres]'") from None
    _stay_in_process(engine)
    if engine.dialect.name == "sqlite":
        _tune_sqlite(engine, synchronous, looks=not create)
        (_stay_with_file if create else _look_without_writing)(engine, Path(parsed.database or "").absolute())
    else:
        _tune_server(engine)
    try:
        _ensure_schema(engine, create=create)
    except DatabaseError as error:
        engine.dispose()
        raise StoreError(f"cannot use the store {shown(url)}: {_why_unusable(error, parsed)}") from None
    except StoreError:
        engine.dispose()
        raise
    return engine


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):  # a port that is no number is a ValueError that quotes it, and it may be a password
        raise StoreError("not a store URL; write sqlite:///nas.db or postgresql+psycopg://user@host/database") from None
    if parsed.get_backend_name() not in ("sqlite", "postgresql"):
        raise StoreError(f"a store is SQLite or PostgreSQL, got {parsed.get_backend_name()!r}")
    if parsed.drivername == "postgresql":  # the one driver that we install
        return parsed.set(drivername="postgresql+psycopg")
    if parsed.get_backend_name() == "sqlite" and "?" in url:  # or the file would be another one, and the same for many names
        raise StoreError(f"a SQLite store takes no options, got {url!r}; a ? in its path is written %3F, a % is %25")
    return parsed


def _options(url: URL, *, looks: bool) -> Mapping[str, Any]:
    if url.get_backend_name() == "sqlite":
        # Closing the last connection empties the log, 20 ms a time: a driver stays connected. Who only looks opens the file afresh, since
        # it may be another one by now.
        timeout = LOOKING_TIMEOUT_S if looks else BUSY_TIMEOUT_S
        return {"connect_args": {"timeout": timeout, "check_same_thread": False}, "poolclass": NullPool if looks else None}
    return {"pool_pre_ping": True, "connect_args": {key: value for key, value in LOST_AFTER.items() if key not in url.query}}


def _check_file(path: str | None, *, create: bool) -> None:
    if not path or path == ":memory:":
        raise StoreError("a store needs a file: SQLite in memory is gone with its connection; write sqlite:///nas.db")
    if not create and not Path(path).exists():
        raise StoreError(f"no store at {Path(path).absolute()}; `nas search --space stacking` makes one, or name another with --store")
    if not Path(path).absolute().parent.is_dir():
        raise StoreError(f"cannot make the store {path}: the folder {Path(path).parent} does not exist")


def _stay_in_process(engine: Engine) -> None:
    """A process that was forked off opens connections of its own: no database bears two processes on one."""

    @event.listens_for(engine, "connect")
    def on_connect(_: Any, record: ConnectionPoolEntry) -> None:
        record.info["process"] = os.getpid()

    @event.listens_for(engine, "checkout")
    def on_checkout(_: Any, record: ConnectionPoolEntry, proxy: PoolProxiedConnection) -> None:
        if record.info["process"] != os.getpid():
            record.dbapi_connection = proxy.dbapi_connection = None  # type: ignore[misc]  # settable, though declared otherwise
            raise DisconnectionError


def _tune_sqlite(engine: Engine, synchronous: Synchronous, *, looks: bool) -> None:
    """Readers never block the writer (WAL), and a writer takes its lock at the start instead of failing half-way."""

    @event.listens_for(engine, "connect")
    def on_connect(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves
        for pragma in (*(() if looks else ("journal_mode=WAL",)), "foreign_keys=ON", f"synchronous={synchronous}"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def on_begin(connection: Any) -> None:
        writes = bool(connection.get_execution_options().get("writes"))
        if writes and looks:  # waits for its turn among the drivers after all
            connection.exec_driver_sql(f"PRAGMA busy_timeout = {1000 * BUSY_TIMEOUT_S}")
        connection.exec_driver_sql(f"BEGIN {'IMMEDIATE' if writes else 'DEFERRED'}")

    @event.listens_for(engine, "handle_error")
    def on_error(context: ExceptionContext) -> None:
        if not isinstance(context.original_exception, Exception):
            # Ctrl-C: rolled back like any error. A connection that is closed in mid-statement keeps its lock, also from us, until the
            # statement goes, which the traceback holds.
            context.is_disconnect = False


def _stay_with_file(engine: Engine, file: Path) -> None:
    """Nothing is written to a file that is no longer the store: what went there would be gone with the process, without a word."""
    first: list[tuple[int, int] | None] = []

    @event.listens_for(engine, "connect")
    def on_connect(*_: Any) -> None:
        if not first:
            first.append(_identity(file))

    @event.listens_for(engine, "begin")
    def on_begin(connection: Any) -> None:
        if connection.get_execution_options().get("writes") and _identity(file) != first[0]:
            raise StoreError(f"the store {file} was deleted, moved or replaced while it was being written; what it does not hold is lost")


def _identity(file: Path) -> tuple[int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _look_without_writing(engine: Engine, file: Path) -> None:
    """Where nothing may be written, a file without a log is read as it stands: SQLite would make a log even for looking."""

    @event.listens_for(engine, "do_connect")
    def on_do_connect(_: Any, __: Any, arguments: list[Any], options: dict[str, Any]) -> None:
        if not _is_writable(file) and not _has_log(file):
            arguments[:] = [f"{file.as_uri()}?mode=ro&immutable=1"]
            options["uri"] = True


def _is_writable(file: Path) -> bool:
    return os.access(file, os.W_OK) and os.access(file.parent, os.W_OK)


def _has_log(file: Path) -> bool:
    """Whether changes lie beside the file: a driver is at work, or was killed."""
    changes = file.with_name(f"{file.name}-wal")
    return changes.exists() and changes.stat().st_size > 0


def _tune_server(engine: Engine) -> None:
    """The server lets go of what a driver holds that was cut off in the middle of a transaction."""

    @event.listens_for(engine, "connect")
    def on_connect(connection: Any, _: Any) -> None:
        connection.execute("SET idle_in_transaction_session_timeout = '60s'")
        connection.commit()


def _ensure_schema(engine: Engine, *, create: bool) -> None:
    version, where = _version(engine), shown(engine.url.render_as_string())
    if version == HEAD:
        return
    if version is not None and not _is_known(version):
        raise StoreError(f"the store {where} has the newer schema {version}, this program knows up to {HEAD}; upgrade the program")
    if not create and version is None:
        raise StoreError(f"the database {where} holds no studies yet; `nas search` makes the first")
    if not create:  # who only looks must not lock out the older programs that write it
        raise StoreError(
            f"the store {where} has the older schema {version}, this program reads {HEAD}: the next `nas search` or `nas train` in it (a "
            "finished study's trains nothing), or in Python `studies.Store(URL)`, brings it up to date, and older programs then refuse it"
        )
    if version is not None:
        log.warning("bringing the store %s from schema %s to %s, which older programs refuse", where, version, HEAD)
    _upgrade(engine)


def _version(engine: Engine) -> str | None:
    with engine.connect() as connection:
        if not inspect(connection).has_table("alembic_version"):
            return None
        return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def _is_known(version: str) -> bool:
    return any(path.name.startswith(f"v{version}_") for path in (MIGRATIONS / "versions").iterdir())


def _upgrade(engine: Engine) -> None:
    from alembic import command  # 0.2 s that an up-to-date store does not pay
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        if connection.dialect.name == "postgresql":  # two drivers that make the schema at once
            connection.execute(text("SELECT pg_advisory_xact_lock(20221110)"))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _why_unusable(error: Exception, url: URL) -> str:
    file = Path(url.database or "").absolute()
    if url.get_backend_name() == "sqlite" and _has_log(file) and not _is_writable(file):
        return f"changes lie in {file.name}-wal, and nothing may be written here; copy both files to a folder of yours and name that store"
    return _first_line(error)


def _first_line(error: Exception) -> str:
    return str(getattr(error, "orig", None) or error).strip().splitlines()[0]
