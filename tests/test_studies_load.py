"""Many drivers on one file, and drivers killed at any moment: no lock error, nothing lost, no half trial."""

import random
import time
from contextlib import suppress

import pytest
from sqlalchemy import create_engine, text

from studies.records import TrialState
from studies.store import Store
from tests.store_writers import fill, processes, write_for_ever


@pytest.mark.parametrize(
    ("processes_", "threads", "trials"),
    [pytest.param(4, 8, 10, id="a-tenth"), pytest.param(32, 1, 100, id="all", marks=pytest.mark.slow)],
)
def test_32_drivers_of_one_file_lose_nothing_while_a_reader_looks_on(store_url: str, processes_: int, threads: int, trials: int) -> None:
    names = [[f"study-{i}-{j}" for j in range(threads)] for i in range(processes_)]
    drivers = [processes.Process(target=fill, args=(store_url, group, trials)) for group in names]
    for driver in drivers:
        driver.start()
    reader, looks = Store(store_url), 0  # they all make the schema at once
    while any(driver.is_alive() for driver in drivers):
        for summary in reader.studies():
            seen = reader.trials(summary.study, states=[TrialState.COMPLETE])
            assert all(trial.metrics == {"top1": 0.5, "loss": 0.5} for trial in seen)
            looks += 1
    for driver in drivers:
        driver.join()
    assert [driver.exitcode for driver in drivers] == [0] * processes_
    assert looks > 0
    assert {summary.study.name: summary.counts for summary in reader.studies()} == {
        name: {TrialState.COMPLETE: trials} for group in names for name in group
    }
    for summary in reader.studies():
        assert [trial.number for trial in reader.trials(summary.study)] == list(range(trials))
        assert {len(reports) for reports in reader.reports(summary.study).values()} == {2}


@pytest.mark.parametrize("kills", [20, pytest.param(200, marks=pytest.mark.slow)])
def test_a_writer_killed_at_any_moment_leaves_whole_trials_behind(store_url: str, kills: int) -> None:
    rng, written = random.Random(kills), set()
    for kill in range(kills):
        listen, speak = processes.Pipe(duplex=False)
        writer = processes.Process(target=write_for_ever, args=(store_url, "s", kill, speak))
        writer.start()
        speak.close()
        if kill % 2:  # half of them while they write, the others at their start
            written.add(listen.recv())
        time.sleep(rng.uniform(0, 0.05))
        writer.kill()
        writer.join()
        with suppress(EOFError):
            while listen.poll(0):
                written.add(listen.recv())
        listen.close()
    engine = create_engine(store_url)
    with engine.connect() as connection:
        assert connection.execute(text("PRAGMA integrity_check")).scalar() == "ok"
    engine.dispose()
    store = Store(store_url)
    study = store.study("s")
    trials, reports = store.trials(study), store.reports(study)
    assert [trial.number for trial in trials] == list(range(len(trials)))
    assert {trial.params["l1"] for trial in trials if trial.state is TrialState.COMPLETE} >= written
    for trial in trials:
        of_trial = reports.get(trial.number, [])
        assert [report.step for report in of_trial] == list(range(1, len(of_trial) + 1))
        assert trial.metrics == (of_trial[-1].metrics if of_trial else {})
        assert trial.fidelity == ({"epochs": len(of_trial)} if of_trial else {})
        assert trial.state in (TrialState.COMPLETE, TrialState.RUNNING, TrialState.QUEUED)
        assert len(of_trial) == 2 or trial.state is not TrialState.COMPLETE
    assert sum(trial.state is TrialState.RUNNING for trial in trials) <= 1  # the last one's; each put its predecessor's back
