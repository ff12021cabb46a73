"""A server that goes away under a driver is waited for: what was being written is there once, and the log says so twice."""

import logging
import threading
import time
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from sqlalchemy import create_engine, text

from studies import leases, sessions
from studies.database import StoreError
from studies.records import NewTrial, Report, TrialState
from studies.store import Store
from tests.store_writers import CONFIG, train


@pytest.fixture
def server(postgres_server: Any) -> Iterator[Any]:
    """The server, which runs again at the end."""
    yield postgres_server
    postgres_server.start()


def test_trials_written_across_outages_are_there_once(server: Any, shared_store_url: str, caplog: pytest.LogCaptureFixture) -> None:
    store, written, stopped = Store(shared_store_url), [0], threading.Event()
    study = store.open("s", CONFIG)

    def drive() -> None:
        with store.driving(study) as lease:
            while not stopped.is_set():
                train(store, "s", written[0], lease.id)
                store.ledger.add(study, {"training": 1.0}, driver=lease.id)
                written[0] += 1

    driver = threading.Thread(target=drive)
    with caplog.at_level(logging.WARNING, logger="studies"):
        driver.start()
        for outage in range(1, 6):
            wait_until(lambda: written[0] >= 10 * outage)  # noqa: B023  # called at once
            server.stop()
            wait_until(lambda: count(caplog, "does not answer") == outage)  # noqa: B023
            server.start()
            wait_until(lambda: count(caplog, "answers again") == outage)  # noqa: B023
        stopped.set()
        driver.join()
    trials = store.trials(study)
    assert [trial.number for trial in trials] == list(range(written[0]))
    assert [trial.params["l1"] for trial in trials] == list(range(written[0]))
    assert {(trial.state, trial.attempts) for trial in trials} == {(TrialState.COMPLETE, 1)}
    assert {len(reports) for reports in store.reports(study).values()} == {2}
    assert store.ledger.of(study) == {"training": written[0]}
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 10


def wait_until(condition: Any) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def count(caplog: pytest.LogCaptureFixture, words: str) -> int:
    return sum(words in record.getMessage() for record in caplog.records)


@pytest.mark.parametrize("applied", [True, False])
def test_a_commit_whose_answer_is_lost_is_made_once(shared_store_url: str, monkeypatch: pytest.MonkeyPatch, applied: bool) -> None:
    store = Store(shared_store_url)
    study = store.open("s", CONFIG)
    lose_answers(store, monkeypatch, applied=applied)
    store.ledger.add(study, {"training": 1.0}, driver="d")
    (trial,) = store.add(study, [NewTrial(params={}, seed=0)])
    assert store.start(trial, driver="d")
    assert store.report(trial, Report(1, {"top1": 0.5}), fidelity={"epochs": 1}, driver="d")
    assert store.finish(trial, TrialState.COMPLETE, driver="d")
    assert store.copy(study, "t").name == "t"
    assert store.ledger.of(study) == {"training": 1.0}
    (done,) = store.trials(study)
    assert (done.number, done.attempts, done.state, done.metrics) == (0, 1, TrialState.COMPLETE, {"top1": 0.5})
    assert [summary.study.name for summary in store.studies()] == ["s", "t"]


def lose_answers(store: Store, monkeypatch: pytest.MonkeyPatch, *, applied: bool) -> None:
    """The connection breaks during every other COMMIT, after or before the server carried it out."""
    dialect, commits = store._engine.dialect, [0]
    commit = dialect.do_commit

    def loses(connection: Any) -> None:
        commits[0] += 1
        if commits[0] % 2 == 0:
            commit(connection)
            return
        if applied:
            commit(connection)
        connection.driver_connection.close()
        raise psycopg.OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(dialect, "do_commit", loses)


def test_a_transaction_that_a_lost_connection_holds_open_is_ended_and_done_again(shared_store_url: str) -> None:
    store = Store(shared_store_url)
    study = store.open("s", CONFIG)
    lost = create_engine(shared_store_url)
    with lost.connect() as connection:
        connection.execute(text("INSERT INTO ledger VALUES (:id, 'd', 'training', 1.0)"), {"id": study.id})
        number = connection.execute(text("SELECT pg_current_xact_id()::text")).scalar_one()
        once = sessions._Once(store._engine, lambda ours: ours.execute(text("UPDATE studies SET name = 't'")).rowcount)
        once._unanswered = (number, 7)
        assert once.attempt() == 1
        connection.invalidate()
    lost.dispose()
    assert (store.ledger.of(study), store.study("t").id) == ({}, study.id)


def test_patience_ends_and_who_only_looks_has_none(server: Any, shared_store_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store, reader = Store(shared_store_url), None
    study = store.open("s", CONFIG)
    reader = Store(shared_store_url, create=False)
    server.stop()
    with pytest.raises(StoreError, match=r"the store postgresql\+psycopg://.* failed: "):
        reader.studies()
    monkeypatch.setattr(sessions, "PATIENCE_S", 0.2)
    for change in (lambda: store.trials(study), lambda: store.add(study, [NewTrial(params={}, seed=0)])):
        with pytest.raises(StoreError, match=r"the store postgresql\+psycopg://.* failed: "):
            change()
    server.start()
    assert store.trials(study) == reader.trials(study) == []


def test_a_lease_outlives_an_outage(server: Any, shared_store_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "LEASE_S", 0.3)
    store, engine = Store(shared_store_url), create_engine(shared_store_url, pool_pre_ping=True)

    def heartbeat() -> Any:
        with engine.connect() as connection:
            return connection.execute(text("SELECT heartbeat_at FROM drivers")).scalar_one()

    with store.driving(store.open("s", CONFIG)):
        server.stop()
        time.sleep(0.5)
        server.start()
        first = heartbeat()
        wait_until(lambda: heartbeat() > first)
    engine.dispose()


def test_a_mistake_is_not_waited_for(shared_store_url: str) -> None:
    store = Store(shared_store_url)
    study = store.open("s", CONFIG)
    with pytest.raises(StoreError, match="failed: value too long"):
        store.add(study, [NewTrial(params={}, seed=0)], driver="d" * 201)
    assert store.trials(study) == []
