"""Who may drive a study: on SQLite one process, held by the operating system; on a server several, while they show signs of life."""

import logging
import os
import socket
import threading
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Connection, DateTime, and_, delete, func, not_, or_, select, text
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from studies.database import StoreError
from studies.lock import exclusive
from studies.records import Lease, StudyRecord, Trial, TrialState
from studies.rows import find_trials, now, trials_of
from studies.schema import DRIVERS, STUDIES, TRIALS
from studies.sessions import Sessions
from studies.trial_changes import lock, requeue

LEASE_S = 30.0
OVERLAP_S = 30  # how far clocks of two drivers may differ, and how long a transaction may take
_BEAT = text(  # by the server's clock, since those of drivers differ
    "INSERT INTO drivers (id, study_id, host, pid, heartbeat_at) VALUES (:id, :study_id, :host, :pid, timezone('UTC', clock_timestamp())) "
    "ON CONFLICT (id) DO UPDATE SET heartbeat_at = excluded.heartbeat_at"
)
log = logging.getLogger(__name__)


@contextmanager
def leased(sessions: Sessions, study: StudyRecord) -> Iterator[Lease]:
    """A lease on the study for the block; StoreError when it can be driven by one process only and another does."""
    lease = Lease(id=uuid.uuid4().hex, shared=sessions.engine.dialect.name == "postgresql")
    with _renewed(sessions, study, lease) if lease.shared else _alone(sessions, study):
        yield lease


@contextmanager
def _alone(sessions: Sessions, study: StudyRecord) -> Iterator[None]:
    file = f"{sessions.engine.url.database}-driver"
    with ExitStack() as stack:
        try:
            held = stack.enter_context(exclusive(file, study.id))
        except OSError as error:
            raise StoreError(f"cannot write beside the store: {file}: {error.strerror}") from None
        if not held:
            raise StoreError(
                f"study {study.name!r} is being searched by another process; wait for it or stop it, or search under another --name"
            )
        yield


@contextmanager
def _renewed(sessions: Sessions, study: StudyRecord, lease: Lease) -> Iterator[None]:
    """A row that a thread keeps fresh; gone at the end of the block, stale soon after the end of the process."""
    try:
        sessions.write(lambda connection: _beat(connection, study, lease))
    except IntegrityError:
        raise StoreError(f"study {study.name!r} is no longer in its store") from None
    _check_clock(sessions)
    ended = threading.Event()
    thread = threading.Thread(target=_keep_fresh, args=(sessions, study, lease, ended), name="lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        try:
            sessions.write(lambda connection: connection.execute(delete(DRIVERS).where(DRIVERS.c.id == lease.id)), patient=False)
        except StoreError as error:  # it runs out by itself
            log.debug("the lease %s was not given back: %s", lease.id, error)


def _check_clock(sessions: Sessions) -> None:
    """Drivers hear of each other's trials by the time at which they were written, each by its own clock."""
    ahead = sessions.read(lambda connection: (now() - connection.scalars(select(func.clock_timestamp())).one()).total_seconds())
    if abs(ahead) > OVERLAP_S / 2:
        way = "ahead of" if ahead > 0 else "behind"
        log.warning(
            "this machine's clock is %.0f s %s the database server's: drivers may miss each other's trials; set it", abs(ahead), way
        )


def _keep_fresh(sessions: Sessions, study: StudyRecord, lease: Lease, ended: threading.Event) -> None:
    """Renew the lease every third of it; after a failure sooner, until the server is back."""
    pause = LEASE_S / 3
    while not ended.wait(pause):
        try:
            sessions.write(lambda connection: _beat(connection, study, lease), patient=False)
            pause = LEASE_S / 3
        except (StoreError, SQLAlchemyError):
            pause = LEASE_S / 30


def _beat(connection: Connection, study: StudyRecord, lease: Lease) -> None:
    """A sign of life; a row that others have taken for dead meanwhile is there again."""
    row = {"id": lease.id, "study_id": study.id, "host": socket.gethostname(), "pid": os.getpid()}
    connection.execute(_BEAT, row)


def alive() -> ColumnElement[bool]:
    """That a driver's lease has not ended; none can have ended before the server itself has been up for as long as a lease."""
    sign = func.greatest(DRIVERS.c.heartbeat_at, func.timezone("UTC", func.pg_postmaster_start_time()))
    return sign > func.timezone("UTC", func.clock_timestamp(), type_=DateTime()) - timedelta(seconds=LEASE_S)


def signs_of_life(connection: Connection, study: StudyRecord) -> dict[str, datetime]:
    """When each of the study's drivers has last renewed its lease, by the server's clock."""
    signs = select(DRIVERS.c.id, DRIVERS.c.heartbeat_at).where(DRIVERS.c.study_id == study.id)
    return dict(connection.execute(signs).all())


def reclaim(connection: Connection, study: StudyRecord, lease: Lease) -> list[Trial]:
    """The trials that run for nobody who is alive, put back in the queue; who drives alone knows that all do."""
    lock(connection, study)
    running = and_(TRIALS.c.study_id == study.id, TRIALS.c.state == TrialState.RUNNING)
    if lease.shared:
        connection.execute(delete(DRIVERS).where(DRIVERS.c.study_id == study.id, DRIVERS.c.id != lease.id, not_(alive())))
        drivers = select(DRIVERS.c.id).where(DRIVERS.c.study_id == study.id)
        running = and_(running, or_(TRIALS.c.driver.is_(None), and_(TRIALS.c.driver != lease.id, TRIALS.c.driver.not_in(drivers))))
    numbers = connection.scalars(select(TRIALS.c.number).where(running).with_for_update()).all()
    found = TRIALS.c.number.in_(numbers)
    requeue(connection, and_(TRIALS.c.study_id == study.id, found))
    return find_trials(connection, trials_of(study).where(found))


def delete_study(connection: Connection, study: StudyRecord, lease: Lease) -> None:
    """Take a study out with everything that hangs on it; StoreError when others than `lease` drive it."""
    check_undriven(connection, study, lease)
    connection.execute(delete(STUDIES).where(STUDIES.c.id == study.id))


def check_undriven(connection: Connection, study: StudyRecord, lease: Lease) -> None:
    """StoreError when others than `lease` drive a study; nobody begins to before the transaction ends."""
    waits = select(STUDIES.c.id).where(STUDIES.c.id == study.id).with_for_update()  # who asks for a lease now gets none
    connection.execute(waits)
    if lease.shared:
        others = select(DRIVERS.c.pid, DRIVERS.c.host).where(DRIVERS.c.study_id == study.id, DRIVERS.c.id != lease.id, alive())
        for pid, host in connection.execute(others):
            raise StoreError(f"study {study.name!r} is being searched by process {pid} on {host}; stop it first")
