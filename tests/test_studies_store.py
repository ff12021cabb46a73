"""The store keeps what it is given, on SQLite and PostgreSQL alike, and says clearly when it cannot."""

import hashlib
import json
import os
import pickle
import shutil
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import Engine, create_engine, event, func, select, text

from studies import database
from studies.database import HEAD, MIGRATIONS, StoreError
from studies.records import NewTrial, Objective, Report, TrialState
from studies.schema import Row
from studies.store import Store, StudyMismatch, Taken
from tests.store_writers import CONFIG, train


def test_a_study_and_its_trials_come_back_as_they_went_in(any_store_url: str) -> None:
    store = Store(any_store_url)
    study = store.open("μ", CONFIG)
    new = [NewTrial(params={"l1": 1, "pair": "1.09,1.36"}, seed=7, model={"channels": 64}, cost={"params": 3_076_373_352}), infeasible()]
    first, second = store.add(study, new)
    assert (first.number, first.state, first.params, first.cost) == (0, TrialState.QUEUED, new[0].params, new[0].cost)
    assert (second.number, second.state, second.model, second.reason) == (1, TrialState.INFEASIBLE, None, "too big")
    store.start(first, worker="w")
    store.report(first, Report(1, {"top1": 0.25, "loss": 2.0}), fidelity={"epochs": 1})
    store.finish(first, TrialState.COMPLETE)
    reopened = Store(any_store_url, create=False)
    done = reopened.trial(reopened.study("μ"), 0)
    assert (done.state, done.metrics, done.fidelity, done.worker) == (TrialState.COMPLETE, {"top1": 0.25, "loss": 2.0}, {"epochs": 1}, "w")
    assert done.started_at is not None
    assert done.finished_at is not None
    assert done.started_at <= done.finished_at
    assert done.finished_at.tzinfo is not None
    assert reopened.study("μ").objectives == (Objective.of("top1"), Objective.of("flops"))
    assert reopened.studies()[0].counts == {TrialState.COMPLETE: 1, TrialState.INFEASIBLE: 1}


def infeasible() -> NewTrial:
    return NewTrial(params={"l1": 5}, seed=7, state=TrialState.INFEASIBLE, reason="too big")


def test_text_that_no_database_holds_is_written_out_in_escapes(any_store_url: str, tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9")
    odd = f"{name}\0é"
    said = "caf\\udce9\\x00é"
    store = Store(any_store_url)
    study = store.open("s", CONFIG)
    new = [NewTrial(params={}, seed=seed, state=TrialState.INFEASIBLE, reason=odd) for seed in (0, 1)]
    assert [trial.reason for trial in store.add(study, new)] == [said, said]
    (trial,) = store.add(study, [NewTrial(params={"name": odd}, seed=0, model={odd: odd})], driver="d", worker=odd)
    assert store.set_checkpoint(trial, odd, driver="d")
    assert store.report(trial, Report(1, {odd: 0.5}), fidelity={"dataset": odd}, driver="d")
    assert store.finish(trial, TrialState.FAILED, reason=odd, driver="d")
    done = store.trial(study, 2)
    assert (done.reason, done.worker, done.checkpoint) == (said, said, said)
    assert (done.params, done.model, done.fidelity, done.metrics) == ({"name": odd}, {odd: odd}, {"dataset": odd}, {odd: 0.5})  # JSON
    assert store.reports(study) == {2: [Report(1, {odd: 0.5})]}
    assert store.columns(study, ["reason"], as_text=["params"])["params"][2] == json.dumps({"name": odd})
    (file := tmp_path / name).touch()
    store.artifacts.record(done, "weights", file)
    assert [artifact.path.name for artifact in store.artifacts.of(study)] == ["caf\\udce9"]


def test_seeds_have_32_bits(any_store_url: str) -> None:
    store = Store(any_store_url)
    study = store.open("s", CONFIG)
    store.add(study, [NewTrial(params={}, seed=seed) for seed in (2**31, 2**32 - 1)])
    assert [trial.seed for trial in store.trials(study)] == [2**31, 2**32 - 1]


def test_a_report_measured_again_replaces_the_first(any_store_url: str) -> None:
    store = Store(any_store_url)
    study = store.open("s", CONFIG)
    (trial,) = store.add(study, [NewTrial(params={}, seed=0)])
    for top1 in (0.1, 0.2):
        store.report(trial, Report(1, {"top1": top1}), fidelity={"epochs": 1})
    store.report(trial, Report(2, {"top1": 0.3}), fidelity={"epochs": 2})
    assert store.reports(study) == {0: [Report(1, {"top1": 0.2}), Report(2, {"top1": 0.3})]}


def test_a_trial_that_starts_again_forgets_its_first_attempt(any_store_url: str) -> None:
    store = Store(any_store_url)
    study = store.open("s", CONFIG)
    (trial,) = store.add(study, [NewTrial(params={}, seed=0)])
    store.start(trial)
    store.report(trial, Report(1, {"top1": 0.9}), fidelity={"epochs": 1})
    store.start(trial)
    again = store.trial(study, 0)
    assert (again.metrics, again.fidelity, store.reports(study)) == ({}, {}, {})


def test_running_trials_of_a_dead_driver_return_to_the_queue(any_store_url: str) -> None:
    store = Store(any_store_url)
    study, other = store.open("s", CONFIG), store.open("other", CONFIG)
    for owner in (study, other):
        store.start(store.add(owner, [NewTrial(params={}, seed=0)])[0], worker="gone")
    assert store.requeue_running(study) == 1
    assert [trial.state for trial in store.trials(study)] == [TrialState.QUEUED]
    assert [trial.state for trial in store.trials(other)] == [TrialState.RUNNING]


def test_numbers_go_on_after_a_reopening(any_store_url: str) -> None:
    for i in range(3):
        store = Store(any_store_url)
        store.add(store.open("s", CONFIG), [NewTrial(params={"l1": i}, seed=0), NewTrial(params={"l1": i}, seed=1)])
    assert [trial.number for trial in store.trials(store.study("s"))] == list(range(6))


def test_a_study_with_another_configuration_is_refused_with_the_difference(any_store_url: str) -> None:
    store = Store(any_store_url)
    store.open("s", CONFIG)
    with pytest.raises(StudyMismatch, match=r"seed is 0, asked 1; choose another --name"):
        store.open("s", {**CONFIG, "seed": 1})
    assert store.open("s", CONFIG).config == CONFIG


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_metric_that_is_not_finite_is_never_stored(store_url: str, value: float) -> None:
    store = Store(store_url)
    study = store.open("s", CONFIG)
    (trial,) = store.add(study, [NewTrial(params={}, seed=0)])
    with pytest.raises(ValueError, match="loss is"):
        store.report(trial, Report(1, {"loss": value}), fidelity={})
    assert store.reports(study) == {}


def test_the_migrations_make_the_schema_that_the_code_declares(any_store_url: str) -> None:
    Store(any_store_url).close()
    engine = create_engine(any_store_url)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection, opts={"compare_type": True}), Row.metadata) == []
    engine.dispose()
    assert max(path.name for path in (MIGRATIONS / "versions").glob("v*.py")).startswith(f"v{HEAD}_")


def migrate(url: str, revision: str) -> None:
    """Make or upgrade a database to a revision, as `studies.database` does to the last one."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    engine = create_engine(url)
    with engine.connect() as connection, connection.begin():
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
    engine.dispose()


def test_a_store_of_the_first_schema_is_migrated_with_everything_in_it(any_store_url: str, caplog: pytest.LogCaptureFixture) -> None:
    migrate(any_store_url, "0001")
    engine = create_engine(any_store_url)
    study = {"config": json.dumps(CONFIG), "now": "2026-01-02 03:04:05"}
    trial = {"cost": '{"params": 7}', "metrics": '{"top1": 0.5}', "fidelity": '{"epochs": 2}', "now": study["now"]}
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO studies (name, config, created_at) VALUES ('old', :config, :now)"), study)
        columns = "study_id, number, state, params, cost, metrics, fidelity, seed, updated_at"
        values = "1, 0, 'COMPLETE', '{}', :cost, :metrics, :fidelity, 5, :now"
        connection.execute(text(f"INSERT INTO trials ({columns}) VALUES ({values})"), trial)
        connection.execute(text("INSERT INTO reports (trial_id, step, metrics) VALUES (1, 2, :metrics)"), {"metrics": trial["metrics"]})
    engine.dispose()
    with pytest.raises(
        StoreError, match=f"has the older schema 0001, this program reads {HEAD}: the next `nas search` or `nas train` in it"
    ):
        Store(any_store_url, create=False)
    store = Store(any_store_url)
    (said,) = [message for message in caplog.messages if "schema" in message]
    assert said.endswith(f"from schema 0001 to {HEAD}, which older programs refuse")
    old = store.study("old")
    (kept,) = store.trials(old)
    assert (kept.state, kept.cost, kept.metrics, kept.fidelity, kept.seed) == (
        TrialState.COMPLETE, {"params": 7}, {"top1": 0.5}, {"epochs": 2}, 5,
    )  # fmt: skip
    assert kept.premeasured == {}
    assert store.reports(old) == {0: [Report(2, {"top1": 0.5})]}
    (new,) = store.add(old, [NewTrial(params={}, seed=0, premeasured={"latency_ms": 1.5})])
    assert (new.number, new.value("latency_ms")) == (1, 1.5)


def test_what_was_measured_before_training_stays_with_the_trial_and_counts_after_metrics(any_store_url: str) -> None:
    store = Store(any_store_url)
    study = store.open("s", CONFIG)
    measured = {"naswot": 812.25, "latency_ms": 3.5, "params": 4}
    (trial,) = store.add(study, [NewTrial(params={}, seed=0, cost={"params": 9, "flops": 8}, premeasured=measured)])
    store.start(trial)
    store.report(trial, Report(1, {"top1": 0.5, "latency_ms": 4.0}), fidelity={"epochs": 1})
    again = store.trial(study, 0)
    assert again.premeasured == measured
    assert [again.value(name) for name in ("naswot", "latency_ms", "params", "flops", "zen")] == [812.25, 4.0, 4, 8, None]


def test_measurements_are_kept_by_study_and_choice_and_replaced_when_measured_again(any_store_url: str) -> None:
    store = Store(any_store_url)
    study, other = store.open("s", CONFIG), store.open("other", CONFIG)
    one, two = {"pair": "1.09,1.36", "phi": 1.5}, {"phi": 2.0, "pair": "1.09,1.36"}
    store.measurements.record(study, [(one, {"zen": 1.0, "naswot": 2.0}), (two, {"zen": 3.0})])
    store.measurements.record(study, [(dict(reversed(one.items())), {"zen": 4.0, "latency_ms": 5.0})])
    store.measurements.record(other, [(one, {"zen": 9.0})])
    assert sorted(store.measurements.of(study), key=lambda found: found[0]["phi"]) == [
        (one, {"latency_ms": 5.0, "naswot": 2.0, "zen": 4.0}),
        (two, {"zen": 3.0}),
    ]
    with pytest.raises(ValueError, match="zen is nan"):
        store.measurements.record(other, [(two, {"naswot": 1.0}), (two, {"zen": float("nan")})])
    assert store.measurements.of(other) == [(one, {"zen": 9.0})]


def test_a_trial_has_one_file_of_a_kind_with_its_size_and_hash(any_store_url: str, tmp_path: Path) -> None:
    store = Store(any_store_url)
    study = store.open("s", CONFIG)
    first, second = store.add(study, [NewTrial(params={}, seed=0), NewTrial(params={}, seed=1)])
    file = tmp_path / "w"
    for trial, content in ((second, b"b"), (first, b"old"), (first, b"newer")):
        file.write_bytes(content)
        store.artifacts.record(trial, "weights", file)
    found = store.artifacts.of(study)
    assert [(artifact.trial, artifact.kind, artifact.path, artifact.size) for artifact in found] == [
        (0, "weights", file, 5), (1, "weights", file, 1),
    ]  # fmt: skip
    assert [store.artifacts.of(study, number=number) for number in (0, 1, 2)] == [found[:1], found[1:], []]
    assert found[0].sha256 == hashlib.sha256(b"newer").hexdigest()
    with pytest.raises(FileNotFoundError):
        store.artifacts.record(first, "weights", tmp_path / "nowhere")
    store.artifacts.forget(found[:1])
    assert store.artifacts.of(study) == found[1:]
    assert store.artifacts.of(store.open("other", CONFIG)) == []
    assert file.exists()


def test_a_trial_put_back_in_the_queue_is_taken_again(store_url: str) -> None:
    store = Store(store_url)
    study = store.open("s", CONFIG)
    (trial,) = store.add(study, [NewTrial(params={}, seed=0)])
    store.start(trial, worker="w")
    store.finish(trial, TrialState.FAILED, reason="the disk is full")
    store.requeue(trial)
    again = store.trial(study, 0)
    assert (again.state, again.reason, again.worker, again.finished_at) == (TrialState.QUEUED, None, None, None)


def test_a_store_of_a_newer_schema_is_left_alone(any_store_url: str) -> None:
    Store(any_store_url).close()
    engine = create_engine(any_store_url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    with pytest.raises(StoreError, match="newer schema 9999"):
        Store(any_store_url)


def test_looking_never_makes_a_store(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=f"no store at {tmp_path}/none.db; .* makes one, or name another with --store"):
        Store(f"sqlite:///{tmp_path / 'none.db'}", create=False)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "empty.db").touch()
    with pytest.raises(StoreError, match=r"empty\.db holds no studies yet; `nas search` makes the first"):
        Store(f"sqlite:///{tmp_path / 'empty.db'}", create=False)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("sqlite://", "needs a file"),
        ("nonsense", "not a store URL"),
        ("sqlite:///q?r.db", r"takes no options, got 'sqlite:///q\?r\.db'; a \? in its path is written %3F"),
        ("postgresql://me:secret", "not a store URL"),
        ("postgresql+nodriver://x", "no driver"),
        ("mysql://x/y", "SQLite or PostgreSQL, got 'mysql'"),
        ("postgresql://127.0.0.1:1/x?user=me&password=secret", "password=hidden"),
        ("sqlite:////nowhere/at/all/nas.db", "does not exist"),
        ("postgresql+psycopg://me:secret@127.0.0.1:1/x", r"cannot use the store postgresql\+psycopg://me:\*\*\*@127\.0\.0\.1:1/x"),
    ],
)
def test_a_store_that_cannot_be_reached_is_named_without_its_password(url: str, message: str) -> None:
    with pytest.raises(StoreError, match=message) as raised:
        Store(url)
    assert "secret" not in str(raised.value)


def test_a_missing_driver_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(StoreError, match=r"needs psycopg: pip install 'nas-scaling\[postgres\]'"):
        Store("postgresql+psycopg://127.0.0.1:1/x")


def test_a_damaged_file_is_one_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "broken.db"
    path.write_bytes(b"this is no database, but long enough to be read as one" * 40)
    with pytest.raises(StoreError, match="not a database"):
        Store(f"sqlite:///{path}")


def test_a_store_pickles_as_its_url(store_url: str) -> None:
    store = Store(store_url)
    store.open("s", CONFIG)
    assert [summary.study.name for summary in pickle.loads(pickle.dumps(store)).studies()] == ["s"]


def test_a_choice_is_held_once_a_seed(any_store_url: str) -> None:
    store = Store(any_store_url)
    study, other = store.open("s", CONFIG), store.open("other", CONFIG)
    one = {"l1": 1, "pair": "1.09,1.36"}
    (first,) = store.add(study, [NewTrial(params=one, seed=0)])
    with pytest.raises(Taken, match=r"study 's' holds the choice \{\"l1\": 1, \"pair\": \"1.09,1.36\"\} with seed 0 already"):
        store.add(study, [NewTrial(params=dict(reversed(one.items())), seed=0)])
    store.add(study, [NewTrial(params=one, seed=1)])
    store.add(other, [NewTrial(params=one, seed=0)])
    several = store.add(study, [NewTrial(params={"l1": 2}, seed=0), NewTrial(params=one, seed=0), NewTrial(params={"l1": 3}, seed=0)])
    assert [trial.number for trial in several] == [2, 0, 3]
    assert several[1] == first
    assert [trial.number for trial in store.trials(study)] == [0, 1, 2, 3]
    assert store.add(study, []) == []


def test_equal_trials_of_an_older_schema_all_stay_and_the_oldest_has_the_choice(any_store_url: str) -> None:
    migrate(any_store_url, "0002")
    engine = create_engine(any_store_url)
    moment = "2026-01-02 03:04:05"
    with engine.begin() as connection:
        connection.execute(
            text(f"INSERT INTO studies (name, config, created_at) VALUES ('old', :config, '{moment}')"), {"config": json.dumps(CONFIG)}
        )
        for number, params in enumerate(['{"b": 1, "a": "x"}', '{"a": "x", "b": 1}', '{"a": "y", "b": 1}']):
            columns = "study_id, number, state, params, cost, metrics, fidelity, seed, updated_at"
            values = f"1, {number}, 'COMPLETE', :params, '{{}}', '{{}}', '{{}}', 0, '{moment}'"
            connection.execute(text(f"INSERT INTO trials ({columns}) VALUES ({values})"), {"params": params})
            connection.execute(text(f"INSERT INTO reports (trial_id, step, metrics) VALUES ({number + 1}, 1, '{{}}')"))
    engine.dispose()
    store = Store(any_store_url)
    old = store.study("old")
    assert [(trial.params["a"], trial.attempts, trial.driver, trial.checkpoint) for trial in store.trials(old)] == [
        ("x", 0, None, None), ("x", 0, None, None), ("y", 0, None, None),
    ]  # fmt: skip
    assert sorted(store.reports(old)) == [0, 1, 2]
    with pytest.raises(Taken):
        store.add(old, [NewTrial(params={"a": "x", "b": 1}, seed=0)])
    again, new = store.add(old, [NewTrial(params={"a": "x", "b": 1}, seed=0), NewTrial(params={"a": "z"}, seed=0)])
    assert (again.number, new.number) == (0, 3)


def test_a_study_is_renamed_and_a_name_is_given_once(any_store_url: str) -> None:
    store = Store(any_store_url)
    study, other = store.open("s", CONFIG), store.open("other", CONFIG)
    train(store, "s", 1)
    assert store.rename(study, "renamed") == replace(study, name="renamed")
    assert [summary.study.name for summary in store.studies()] == ["renamed", "other"]
    assert len(store.trials(store.study("renamed"))) == 1
    for change in (store.rename, store.copy):
        with pytest.raises(StoreError, match="has a study 'other' already; choose another name"):
            change(study, "other")
    assert store.trials(other) == []


def test_a_copy_has_everything_but_files_and_goes_its_own_way(any_store_url: str, tmp_path: Path) -> None:
    store = Store(any_store_url)
    study = store.open("s", CONFIG)
    for i in range(3):
        train(store, "s", i)
    (running,) = store.add(study, [NewTrial(params={"l1": 9}, seed=0)], driver="d", worker="w")
    store.set_checkpoint(running, "/checkpoints/9")
    store.measurements.record(study, [({"l1": 1}, {"zen": 2.0})])
    store.ledger.add(study, {"training": 5.0}, driver="d")
    (tmp_path / "w").touch()
    store.artifacts.record(running, "weights", tmp_path / "w")
    copied = store.copy(study, "t")
    assert (copied.config, copied.name) == (CONFIG, "t")
    own = {"id": 0, "state": TrialState.QUEUED, "driver": None, "worker": None, "checkpoint": None}
    expected = [replace(trial, id=0) for trial in store.trials(study)[:3]] + [replace(store.trial(study, 3), **own)]
    assert [replace(trial, id=0) for trial in store.trials(copied)] == expected
    assert store.reports(copied) == store.reports(study)
    assert store.measurements.of(copied) == [({"l1": 1}, {"zen": 2.0})]
    assert (store.artifacts.of(copied), store.ledger.of(copied)) == ([], {})
    train(store, "t", 3)
    assert [len(store.trials(of)) for of in (study, copied)] == [4, 5]


def test_a_deleted_study_takes_everything_of_it_along_and_nothing_else(any_store_url: str) -> None:
    store = Store(any_store_url)
    study, other = store.open("s", CONFIG), store.open("other", CONFIG)
    for name in ("s", "other"):
        train(store, name, 1)
    store.measurements.record(study, [({"l1": 1}, {"zen": 2.0})])
    store.ledger.add(study, {"training": 5.0}, driver="d")
    (trial,) = store.trials(study)
    store.delete(study)
    assert [summary.study.name for summary in store.studies()] == ["other"]
    assert (len(store.trials(other)), len(store.reports(other))) == (1, 1)
    engine = create_engine(any_store_url)
    with engine.connect() as connection:
        left = {table.name: connection.execute(select(func.count()).select_from(table)).scalar() for table in Row.metadata.sorted_tables}
    engine.dispose()
    assert left == {"studies": 1, "trials": 1, "reports": 2, "artifacts": 0, "drivers": 0, "ledger": 0, "measurements": 0, "fits": 0}
    assert not store.finish(trial, TrialState.COMPLETE)
    with pytest.raises(StoreError, match="study 's' is no longer in its store"):
        store.add(study, [NewTrial(params={}, seed=0)])


def test_device_seconds_add_up_over_drivers(any_store_url: str) -> None:
    store = Store(any_store_url)
    study, other = store.open("s", CONFIG), store.open("other", CONFIG)
    for driver, seconds in (("a", {"training": 1.5, "sampling": 0.25}), ("b", {"training": 2.0}), ("a", {"training": 0.5})):
        store.ledger.add(study, seconds, driver=driver)
    with pytest.raises(ValueError, match="training is nan"):
        store.ledger.add(study, {"training": float("nan")}, driver="a")
    assert store.ledger.of(study) == {"sampling": 0.25, "training": 4.0}
    assert store.ledger.of(other) == {}


def test_a_last_report_may_come_with_the_end(any_store_url: str) -> None:
    store = Store(any_store_url)
    study = store.open("s", CONFIG)
    (trial,) = store.add(study, [NewTrial(params={}, seed=0)], driver="d")
    with pytest.raises(ValueError, match="top1 is nan"):
        store.finish(trial, TrialState.COMPLETE, last=Report(2, {"top1": float("nan")}), driver="d")
    assert store.finish(trial, TrialState.COMPLETE, fidelity={"epochs": 2}, last=Report(2, {"top1": 0.5}), driver="d")
    done = store.trial(study, 0)
    assert (done.state, done.metrics, done.fidelity) == (TrialState.COMPLETE, {"top1": 0.5}, {"epochs": 2})
    assert store.reports(study) == {0: [Report(2, {"top1": 0.5})]}


@pytest.mark.parametrize(("synchronous", "level"), [("NORMAL", 1), ("FULL", 2)])
def test_a_store_is_as_durable_as_asked_for_also_when_pickled(store_url: str, synchronous: Literal["NORMAL", "FULL"], level: int) -> None:
    asked = (
        f"from studies.store import Store; import pickle; s = pickle.loads(pickle.dumps(Store({store_url!r}, synchronous={synchronous!r})))"
    )
    shows = "print(s._sessions.read(lambda c: c.exec_driver_sql('PRAGMA synchronous').scalar()))"
    done = subprocess.run(
        [sys.executable, "-c", f"{asked}; {shows}"], capture_output=True, text=True, check=True
    )  # our own tests never wait
    assert done.stdout.strip() == str(level)


def test_a_forked_process_opens_connections_of_its_own(store_url: str) -> None:
    store = Store(store_url)
    store.open("s", CONFIG)
    if (child := os.fork()) == 0:
        try:
            train(store, "s", 1)
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    train(store, "s", 2)
    assert len(store.trials(store.study("s"))) == 2


def test_who_looks_sees_the_store_that_was_put_in_place_of_another(store_url: str, tmp_path: Path) -> None:
    first = Store(store_url)
    first.open("first", CONFIG)
    reader = Store(store_url, create=False)
    assert [summary.study.name for summary in reader.studies()] == ["first"]
    first.close()
    for file in tmp_path.iterdir():
        file.unlink()
    Store(store_url).open("second", CONFIG)
    assert [summary.study.name for summary in reader.studies()] == ["second"]


@pytest.mark.parametrize("replaced", [False, True])
def test_nothing_is_written_to_a_file_that_is_no_longer_the_store(store_url: str, tmp_path: Path, replaced: bool) -> None:
    store = Store(store_url)
    study = store.open("s", CONFIG)
    train(store, "s", 1)
    for file in tmp_path.iterdir():
        file.unlink()
    if replaced:
        Store(store_url).open("s", CONFIG)
    with pytest.raises(StoreError, match=f"the store {tmp_path}/nas.db was deleted, moved or replaced while it was being written"):
        store.requeue_running(study)


def test_a_transaction_that_is_interrupted_leaves_the_store_unlocked(store_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "BUSY_TIMEOUT_S", 0)
    store = Store(store_url)
    study = store.open("s", CONFIG)

    def interrupt(cursor: sqlite3.Cursor, statement: str, parameters: tuple[int, ...], _: object) -> None:
        if statement.startswith("SELECT"):
            event.remove(Engine, "do_execute", interrupt)
            cursor.execute(statement, parameters)
            raise KeyboardInterrupt

    event.listen(Engine, "do_execute", interrupt)
    try:
        store.add(study, [NewTrial(params={}, seed=0)])
    except KeyboardInterrupt:  # whose traceback holds what was cut off
        assert [trial.number for trial in store.add(study, [NewTrial(params={}, seed=0)])] == [0]
    else:
        pytest.fail("nothing was interrupted")


READ = """
import sys
from studies.store import Store
store = Store(sys.argv[1], create=False)
(study,) = [summary.study for summary in store.studies()]
print(study.name, len(store.trials(study)), flush=True)
store.delete(study)
"""


def read_without_rights(url: str) -> tuple[str, str]:
    """What a process reads, and what it is told, that may write nothing but what the modes of files allow it, root or not."""
    as_others = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
    if as_others and shutil.which("setpriv") is None:
        pytest.skip("root may write everywhere, and there is no setpriv to take that from a process")
    done = subprocess.run([*as_others, sys.executable, "-c", READ, url], capture_output=True, text=True, timeout=120)
    return done.stdout, done.stderr.strip().splitlines()[-1]


def test_a_store_where_nothing_may_be_written_is_read_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "a #folder"
    folder.mkdir()
    url = f"sqlite:///{folder}/nas.db"
    store = Store(url)
    store.open("s", CONFIG)
    train(store, "s", 1)
    try:
        folder.chmod(0o555)
        live, _ = read_without_rights(url)
        folder.chmod(0o755)
        store.close()
        folder.chmod(0o555)
        at_rest, refused = read_without_rights(url)
        before = sorted(folder.iterdir())
        folder.chmod(0o755)
        (folder / "nas.db-wal").write_bytes(b"changes")
        folder.chmod(0o555)
        _, with_log = read_without_rights(url)
    finally:
        folder.chmod(0o755)
    assert (live, at_rest) == ("s 1\n", "s 1\n")
    assert [path.name for path in before] == ["nas.db"]
    assert "cannot write beside the store" in refused
    assert with_log.endswith(
        "changes lie in nas.db-wal, and nothing may be written here; copy both files to a folder of yours and name that store"
    )


def test_a_name_that_cannot_be_stored_is_refused(store_url: str) -> None:
    store = Store(store_url)
    study = store.open("s", CONFIG)
    for name in (os.fsdecode(b"caf\xe9"), "a\0b"):
        for use in (lambda: store.open(name, CONFIG), lambda: store.study(name), lambda: store.rename(study, name)):  # noqa: B023
            with pytest.raises(ValueError, match="the name of a study must be UTF-8 without zero bytes"):
                use()
    assert [summary.study.name for summary in store.studies()] == ["s"]


def test_who_looks_waits_for_writers_only_to_write_itself(store_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "LOOKING_TIMEOUT_S", 0)
    study = Store(store_url).open("s", CONFIG)
    reader = Store(store_url, create=False)
    with closing(sqlite3.connect(store_url.removeprefix("sqlite:///"), isolation_level=None, check_same_thread=False)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        assert [summary.study.name for summary in reader.studies()] == ["s"]
        with ThreadPoolExecutor() as pool:
            renamed = pool.submit(reader.rename, study, "t")
            with pytest.raises(TimeoutError):
                renamed.result(timeout=0.5)
            writer.execute("COMMIT")
            assert renamed.result(timeout=60).name == "t"


def test_an_unknown_durability_is_refused(store_url: str) -> None:
    with pytest.raises(ValueError, match="synchronous must be NORMAL or FULL, got 'OFF'"):
        Store(store_url, synchronous="OFF")  # type: ignore[arg-type]
