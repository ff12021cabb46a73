"""Drivers that share a study number its trials once, take none twice and inherit what dead ones left; in a file it has one driver."""

import threading
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from studies import leases
from studies.database import StoreError
from studies.records import Lease, NewTrial, Report, TrialState
from studies.store import Store, Taken
from tests.store_writers import CONFIG, hold, processes, train, tries_to_drive


def together(functions: list) -> list:
    """The results of functions that run at once, each in a thread."""
    results: list = []
    threads = [threading.Thread(target=lambda function=function: results.append(function())) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == len(functions), "a thread failed"
    return results


def test_drivers_that_add_at_once_number_trials_once_and_hold_each_choice_once(any_store_url: str) -> None:
    study = Store(any_store_url).open("s", CONFIG)

    def drive(driver: int) -> Counter[str]:
        store, outcomes = Store(any_store_url), Counter[str]()
        for l1 in range(20):
            try:
                (trial,) = store.add(study, [NewTrial(params={"l1": l1}, seed=0)], driver=str(driver))
                outcomes["added"] += trial.driver == str(driver) and trial.state is TrialState.RUNNING and trial.attempts == 1
            except Taken:
                outcomes["taken"] += 1
        return outcomes

    outcomes = together([lambda driver=driver: drive(driver) for driver in range(4)])
    assert sum(outcomes, Counter()) == {"added": 20, "taken": 60}
    trials = Store(any_store_url).trials(study)
    assert [trial.number for trial in trials] == list(range(20))
    assert sorted(trial.params["l1"] for trial in trials) == list(range(20))


def test_a_waiting_trial_is_taken_by_one_driver(any_store_url: str) -> None:
    store = Store(any_store_url)
    study = store.open("s", CONFIG)
    trials = store.add(study, [NewTrial(params={"l1": i}, seed=0) for i in range(10)])

    def take(driver: str) -> list[bool]:
        own = Store(any_store_url)
        return [own.start(trial, driver=driver, worker=driver) for trial in trials]

    taken = together([lambda driver=driver: take(driver) for driver in "abc"])
    assert [sum(of_trial) for of_trial in zip(*taken, strict=True)] == [1] * 10
    assert {(trial.attempts, trial.driver == trial.worker) for trial in store.trials(study)} == {(1, True)}
    assert store.start(trials[0], driver=store.trial(study, 0).driver), "its own driver may begin another attempt"
    assert store.trial(study, 0).attempts == 2


def test_a_killed_driver_s_trial_is_reclaimed_when_its_lease_has_ended(shared_store_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store, ready = Store(shared_store_url), processes.Event()
    dead = processes.Process(target=hold, args=(shared_store_url, "s", ready))
    dead.start()
    assert ready.wait(60)
    study = store.study("s")
    with store.driving(study) as lease:
        assert lease.shared
        dead.kill()
        dead.join()
        assert store.reclaim(study, lease) == []
        monkeypatch.setattr(leases, "LEASE_S", 0)
        (trial,) = store.reclaim(study, lease)
        assert (trial.state, trial.driver, trial.worker, trial.attempts) == (TrialState.QUEUED, None, None, 1)
        assert (trial.metrics, trial.checkpoint) == ({"top1": 0.5}, "/checkpoints/1")
        assert store.reports(study) == {0: [Report(1, {"top1": 0.5})]}
        assert store.reclaim(study, lease) == []
        assert store.start(trial, driver=lease.id, fresh=False)
        again = store.trial(study, 0)
        assert (again.metrics, again.fidelity, again.checkpoint, again.attempts) == ({"top1": 0.5}, {"epochs": 1}, "/checkpoints/1", 2)
        assert again.started_at == trial.started_at
        assert len(store.reports(study)[0]) == 1


def test_no_lease_ends_before_the_server_has_been_up_for_as_long(shared_store_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(shared_store_url)
    study = store.open("s", CONFIG)
    with store.driving(study) as cut_off, store.driving(study) as lease:
        store.add(study, [NewTrial(params={}, seed=0)], driver=cut_off.id)
        engine = create_engine(shared_store_url)
        with engine.begin() as connection:
            connection.execute(
                text("UPDATE drivers SET heartbeat_at = heartbeat_at - interval '30 days' WHERE id = :id"), {"id": cut_off.id}
            )
        engine.dispose()
        monkeypatch.setattr(leases, "LEASE_S", 20 * 24 * 3600)  # longer than our server has been running
        assert store.reclaim(study, lease) == []
        monkeypatch.setattr(leases, "LEASE_S", 0)
        assert len(store.reclaim(study, lease)) == 1


def test_what_a_driver_left_running_at_its_end_is_anybody_s_at_once(shared_store_url: str) -> None:
    store = Store(shared_store_url)
    study = store.open("s", CONFIG)
    with store.driving(study) as first:
        store.add(study, [NewTrial(params={"l1": i}, seed=0) for i in range(3)], driver=first.id)
        with store.driving(study) as second:
            store.add(study, [NewTrial(params={"l1": 9}, seed=0)], driver=second.id)
            assert store.requeue_running(study, driver=second.id) == 1
            assert store.reclaim(study, second) == []
    with store.driving(study) as third:
        assert [trial.number for trial in store.reclaim(study, third)] == [0, 1, 2]


def test_a_lease_is_renewed_as_long_as_its_driver_lives(shared_store_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "LEASE_S", 0.3)
    store, engine = Store(shared_store_url), create_engine(shared_store_url)
    seen: set[datetime] = set()
    with store.driving(store.open("s", CONFIG)):
        deadline = time.monotonic() + 60
        while len(seen) < 4 and time.monotonic() < deadline:
            with engine.connect() as connection:
                seen.add(connection.execute(text("SELECT heartbeat_at FROM drivers")).scalar_one())
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM drivers")).scalar() == 0
    engine.dispose()
    assert len(seen) == 4
    assert not [thread for thread in threading.enumerate() if thread.name == "lease"]


def test_a_driver_whose_trial_was_taken_over_can_no_longer_change_it(shared_store_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(shared_store_url)
    study = store.open("s", CONFIG)
    with store.driving(study) as stalled, store.driving(study) as lease:
        (trial,) = store.add(study, [NewTrial(params={}, seed=0)], driver=stalled.id)
        monkeypatch.setattr(leases, "LEASE_S", 0)
        store.reclaim(study, lease)
        for expected in (TrialState.QUEUED, TrialState.RUNNING):  # reclaimed, and then running elsewhere
            before = store.trial(study, 0)
            assert before.state is expected
            report = Report(1, {"top1": 0.9})
            assert not store.report(trial, report, fidelity={"epochs": 1}, driver=stalled.id)
            assert not store.set_checkpoint(trial, "/elsewhere", driver=stalled.id)
            assert not store.pause(trial, driver=stalled.id)
            assert not store.requeue(trial, driver=stalled.id)
            assert not store.finish(trial, TrialState.COMPLETE, last=report, driver=stalled.id)
            assert store.requeue_running(study, driver=stalled.id) == 0
            assert (store.trial(study, 0), store.reports(study)) == (before, {})
            store.start(trial, driver=lease.id)
        assert not store.start(trial, driver=stalled.id)
        assert store.finish(trial, TrialState.COMPLETE, driver=lease.id)
        assert not store.start(trial, driver=stalled.id), "a finished trial is never begun again"


def test_a_paused_trial_is_any_driver_s_to_go_on_with_or_to_end(any_store_url: str) -> None:
    store = Store(any_store_url)
    study = store.open("s", CONFIG)
    for trial in store.add(study, [NewTrial(params={"l1": i}, seed=0) for i in range(2)], driver="a", worker="w"):
        store.report(trial, Report(1, {"top1": 0.5}), fidelity={"epochs": 1}, driver="a")
        store.set_checkpoint(trial, "/checkpoints/1", driver="a")
        assert store.pause(trial, driver="a")
    first, second = store.trials(study)
    assert (first.state, first.driver, first.worker, first.metrics, first.checkpoint) == (
        TrialState.PAUSED, None, None, {"top1": 0.5}, "/checkpoints/1",
    )  # fmt: skip
    assert store.start(first, driver="b", fresh=False)
    assert not store.finish(first, TrialState.PRUNED, driver="a"), "it was promoted meanwhile"
    assert store.finish(second, TrialState.PRUNED, driver="b")
    assert [(trial.state, trial.metrics, trial.fidelity) for trial in store.trials(study)] == [
        (TrialState.RUNNING, {"top1": 0.5}, {"epochs": 1}), (TrialState.PRUNED, {"top1": 0.5}, {"epochs": 1}),
    ]  # fmt: skip


def test_changes_are_what_was_written_since_and_a_little_before(any_store_url: str) -> None:
    store = Store(any_store_url)
    study = store.open("s", CONFIG)
    for i in range(3):
        train(store, "s", i)
    engine = create_engine(any_store_url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE trials SET updated_at = '2026-01-01 00:00:00' WHERE number = 0"))
        connection.execute(text("UPDATE trials SET updated_at = '2026-01-01 01:00:00' WHERE number = 1"))
    engine.dispose()
    since = datetime(2026, 1, 1, 1, 0, 10, tzinfo=UTC)
    assert [trial.number for trial in store.changes(study, None)] == [0, 1, 2]
    assert [trial.number for trial in store.changes(study, since)] == [1, 2]
    assert [trial.number for trial in store.changes(study, since + timedelta(minutes=1))] == [2]
    assert store.changes(study, datetime.now(UTC) + timedelta(hours=1)) == []


def test_a_study_in_a_file_has_one_driver_whatever_else_its_process_drives(store_url: str) -> None:
    store = Store(store_url)
    study, other = store.open("s", CONFIG), store.open("other", CONFIG)
    listen, speak = processes.Pipe(duplex=False)

    def elsewhere() -> str:
        process = processes.Process(target=tries_to_drive, args=(store_url, "s", speak))
        process.start()
        process.join()
        return str(listen.recv())

    with store.driving(study) as lease:
        assert not lease.shared
        with pytest.raises(StoreError, match="study 's' is being searched by another process"), store.driving(study):
            pass
        with store.driving(other):
            pass
        store.delete(other)
        assert "study 's' is being searched by another process" in elsewhere()
    assert elsewhere() == "driven"


def test_who_drives_a_file_alone_reclaims_all_that_runs(store_url: str) -> None:
    store = Store(store_url)
    study, other = store.open("s", CONFIG), store.open("other", CONFIG)
    store.add(study, [NewTrial(params={"l1": i}, seed=0) for i in range(2)], driver="dead")
    store.add(other, [NewTrial(params={}, seed=0)], driver="alive")
    with store.driving(study) as lease:
        assert [(trial.number, trial.state) for trial in store.reclaim(study, lease)] == [(0, TrialState.QUEUED), (1, TrialState.QUEUED)]
    assert store.trial(other, 0).state is TrialState.RUNNING


def test_a_study_is_not_deleted_while_it_is_driven(any_store_url: str) -> None:
    store = Store(any_store_url)
    study = store.open("s", CONFIG)
    with store.driving(study), pytest.raises(StoreError, match="study 's' is being searched by "):
        store.delete(study)
    store.delete(study)
    assert store.studies() == []
    if any_store_url.startswith("postgresql"):
        with pytest.raises(StoreError, match="study 's' is no longer in its store"), store.driving(study):
            pass


def test_a_lease_of_a_file_leaves_only_the_lock_file(store_url: str, tmp_path: Path) -> None:
    store = Store(store_url)
    with store.driving(store.open("s", CONFIG)) as lease:
        assert isinstance(lease, Lease)
    store.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["nas.db", "nas.db-driver"]


def test_a_clock_that_is_wrong_is_said(shared_store_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    store = Store(shared_store_url)
    study = store.open("s", CONFIG)
    with store.driving(study):
        assert caplog.text == ""
    monkeypatch.setattr(leases, "now", lambda: datetime.now(UTC) - timedelta(seconds=300))
    with store.driving(study):
        assert "clock is 300 s behind the database server's" in caplog.text
