"""What a search survives: killed drivers and workers, steps that hang, full disks, damaged states, and other drivers' deaths."""

import asyncio
import multiprocessing
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import delete

import nas
from nas.budget import Budget
from nas.engine.ray_tune import Bridge
from nas.job import Execution
from nas.ledger import Ledger
from nas.progress_record import Progress
from searchspace.spaces import stacking_space
from studies.halving import Halving
from studies.records import TrialState
from studies.schema import DRIVERS
from studies.store import Store
from tests.browsing import PATIENCE_S, wait_for
from tests.driven import Found, Search, depths_study
from tests.evaluators import resumable
from trainer.proxy_config import ProxyConfig

KILLS = {"local": 20, "ray": 2}
EARLY_STOPPING = (None, Halving(eta=2), Halving(mode="promote", eta=2))
drivers = multiprocessing.get_context("forkserver")  # forks drivers from a process that has loaded what they need, and nothing else
drivers.set_forkserver_preload(["tests.driven", "tests.evaluators"])


def drive(search: Search, ready: Any) -> None:
    """A driver in a process of its own; instead of its evaluator, which cannot be sent, the search has what makes it."""
    ready.set()
    replace(search, evaluate=search.evaluate()).run()


def started(search: Search, make: Any) -> Any:
    ready = drivers.Event()
    driver = drivers.Process(target=drive, args=(replace(search, evaluate=make), ready))
    driver.start()
    assert ready.wait(120)
    return driver


def work(log: Path) -> Counter[str]:
    """How often each epoch of each variant was worked."""
    return Counter(log.read_text().split()) if log.exists() else Counter()


class Killing:
    """Searches that are killed at drawn moments and begun again until they are through, each compared with an undisturbed one."""

    def __init__(self, folder: Path, engine: str, seed: int) -> None:
        self._folder, self._engine = folder, engine
        self._random = random.Random(seed)
        self._ended: dict[int, tuple[Any, ...]] = {}
        self.kills = 0

    def search(self, study: int, *, engine: str, name: str) -> Search:
        config = depths_study(range(1, 9), epochs=5, halving=EARLY_STOPPING[study % len(EARLY_STOPPING)], objectives=["top1", "flops"])
        return Search(
            config=config,
            url=f"sqlite:///{self._folder}/nas.db",
            name=f"{name}-{study}",
            evaluate=resumable(self._folder / f"{name}-{study}.log"),
            engine=engine,
            checkpoints=self._folder / "checkpoints",
        )

    def until(self, kills: int) -> None:
        study = 0
        while self.kills < kills:
            self.one_study(study, kills)
            study += 1

    def one_study(self, study: int, kills: int) -> None:
        search, before = self.search(study, engine=self._engine, name="killed"), self.kills
        search.store().open(search.name, search.config.to_dict())  # a driver may be killed before it has
        self._ended = {}
        while self.kills < kills and self.killed(search):
            self.kills += 1
            self.check_ended(search.found())
        found = search.run()
        self.check_ended(found)
        undisturbed = self.search(study, engine="local", name="undisturbed").run()
        assert found.table() == undisturbed.table()
        assert {n: len(reports) for n, reports in found.reports.items()} == {n: len(r) for n, r in undisturbed.reports.items()}
        worked, expected = (work(self._folder / f"{name}-{study}.log") for name in ("killed", "undisturbed"))
        assert worked.keys() == expected.keys()
        assert sum((worked - expected).values()) <= self.kills - before  # at most what was under way is worked again
        assert not list(self._folder.glob("checkpoints/*/trial-*"))

    def killed(self, search: Search) -> bool:
        """Whether a driver is killed before it is through."""
        driver = started(search, partial(resumable, self._folder / f"{search.name}.log"))
        if self._engine == "ray":  # it takes seconds to begin
            self.wait_for_work(search, driver)
        driver.join(self._random.uniform(0, 0.5))
        driver.kill()
        driver.join(60)
        assert driver.exitcode in (0, -signal.SIGKILL)
        return bool(driver.exitcode)

    def wait_for_work(self, search: Search, driver: Any) -> None:
        log = self._folder / f"{search.name}.log"
        done = sum(work(log).values())

        def goes_on() -> bool:
            return sum(work(log).values()) > done or not driver.is_alive()

        wait_for(goes_on, what="the driver's first epoch", patience_s=120, pause_s=0.01)

    def check_ended(self, found: Found) -> None:
        """A trial that has ended stays as it is."""
        assert found.count(TrialState.RUNNING) <= 1
        now = {trial.number: (trial.state, trial.attempts, trial.finished_at) for trial in found.trials if trial.state.finished}
        assert self._ended.items() <= now.items()
        self._ended = now


@pytest.mark.parametrize("kills", [KILLS["local"], pytest.param(10 * KILLS["local"], marks=pytest.mark.slow)])
def test_a_killed_driver_is_gone_on_from_and_nothing_is_lost_repeated_or_judged_anew(kills: int, tmp_path: Path) -> None:
    Killing(tmp_path, "local", seed=kills).until(kills)


@pytest.mark.cluster
@pytest.mark.xdist_group("ray")
@pytest.mark.parametrize("kills", [KILLS["ray"], pytest.param(10 * KILLS["ray"], marks=pytest.mark.slow)])
def test_a_killed_driver_of_ray_is_gone_on_from_too(kills: int, tmp_path: Path) -> None:
    Killing(tmp_path, "ray", seed=kills).until(kills)


def mishaps(folder: Path) -> Any:
    """What goes wrong before an epoch: L3 = 2 kills its process once, 3 whenever it is there, 4 hangs."""

    def misbehave(l3: int, epoch: int) -> None:
        if l3 == 2 and epoch == 3 and not (folder / "killed").exists():
            (folder / "killed").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if l3 == 3 and epoch == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        if l3 == 4 and epoch == 2:
            (folder / "hung").write_text(str(os.getpid()))
            time.sleep(600)
        if l3 == 5:
            (folder / "after").write_text(str(os.getpid()))

    return misbehave


@pytest.mark.cluster
@pytest.mark.xdist_group("ray")
def test_a_lost_worker_and_a_step_that_hangs_cost_their_own_trial_only_what_they_must(store_url: str, tmp_path: Path) -> None:
    found = Search(
        config=depths_study([1, 2, 3, 4, 5], epochs=4),
        url=store_url,
        evaluate=resumable(tmp_path / "log", mishaps(tmp_path)),
        engine="ray",
        how=Execution(max_retries=1, step_timeout=10),
        checkpoints=tmp_path / "checkpoints",
    ).run()
    trials = found.by_depth()
    assert {depth: trial.attempts for depth, trial in trials.items()} == {1: 1, 2: 2, 3: 2, 4: 1, 5: 1}
    assert {depth for depth, trial in trials.items() if trial.state is TrialState.COMPLETE} == {1, 2, 5}
    assert trials[3].state is trials[4].state is TrialState.FAILED
    assert (trials[3].reason or "").startswith("the worker was lost 2 times: The actor is dead because its worker process has died.")
    assert trials[4].reason == "a step brought nothing within 10 s"
    assert set(work(tmp_path / "log").values()) == {1}  # the one that was killed went on from its last epoch
    assert work(tmp_path / "log").total() == 4 + 4 + 1 + 1 + 4
    assert (tmp_path / "after").read_text() != (tmp_path / "hung").read_text()  # its process was replaced
    assert not list(tmp_path.glob("checkpoints/*"))
    assert found.ledger["retries"] > 0


def test_a_step_that_hangs_in_this_process_fails_its_trial_and_is_left_behind(
    store_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    let_go = tmp_path / "let go"

    def hang(l3: int, epoch: int) -> None:
        while l3 == 2 and epoch == 2 and not let_go.exists():
            time.sleep(0.01)

    search = Search(
        config=depths_study([1, 2, 3], epochs=3),
        url=store_url,
        evaluate=resumable(tmp_path / "log", hang),
        how=Execution(step_timeout=5),
    )
    trials = search.run().by_depth()
    assert [trials[depth].state for depth in (1, 2, 3)] == [TrialState.COMPLETE, TrialState.FAILED, TrialState.COMPLETE]
    assert trials[2].reason == "a step brought nothing within 5 s"
    assert "left behind in this process" in caplog.text
    let_go.touch()


def test_an_error_without_a_text_is_named_by_its_kind() -> None:
    lost: list[str] = []
    driver: Any = SimpleNamespace(
        next_trial=lambda worker: "a trial", job=lambda trial: None, lost=lambda trial, reason, retries: lost.append(reason)
    )
    bridge = Bridge(driver, lambda *_: iter(()), Execution())
    bridge.begin("1")
    for error in (asyncio.CancelledError(), RuntimeError("actor died\nits node is gone Some common causes")):
        bridge.end("1", error)
    assert lost == ["CancelledError", "its node is gone"]


def test_when_time_is_up_what_runs_goes_back_to_the_queue_after_its_epoch_and_is_gone_on_with(store_url: str, tmp_path: Path) -> None:
    now = [0.0]
    heard: list[Progress] = []

    def take_long(l3: int, epoch: int) -> None:
        now[0] += 100.0 if (l3, epoch) == (2, 2) else 1.0

    def search(**changes: Any) -> Search:
        defaults: dict[str, Any] = {"config": depths_study([1, 2, 3], epochs=3), "url": store_url, "checkpoints": tmp_path / "checkpoints"}
        return Search(**{**defaults, "evaluate": resumable(tmp_path / "log", take_long), **changes})

    timed = search(budget=Budget(seconds=50), ledger=partial(Ledger, clock=lambda: now[0]), options={"listener": heard.append})
    part = timed.run()
    assert heard[-1].ended == "the time is up: 1.7m of 50s"
    assert {depth: trial.state for depth, trial in part.by_depth().items()} == {1: TrialState.COMPLETE, 2: TrialState.QUEUED}
    assert [report.step for report in part.reports[1]] == [1, 2]
    assert sum(part.ledger.values()) == pytest.approx(now[0], abs=1e-6)  # every second of it is in the ledger
    whole = search().run()
    assert whole.count(TrialState.COMPLETE) == 3
    assert set(work(tmp_path / "log").values()) == {1}


@pytest.mark.parametrize("engine", ["local", pytest.param("ray", marks=[pytest.mark.cluster, pytest.mark.xdist_group("ray")])])
def test_a_search_that_a_scheduler_ends_goes_on_by_the_same_command(engine: str, store_url: str) -> None:
    space = ["--channels", "16", "--group-channels", "8", "--l1", "1", "--l3", "1:3", "--train-fraction", "10%", "--epochs", "8"]
    command = [sys.executable, "-m", "nas", "search", *space, "--engine", engine, "--workers", "1", "--store", store_url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stderr is not None
        next(line for line in process.stderr if "[1/3]" in line)
        process.terminate()
        out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (128 + signal.SIGTERM, ""), err
    assert err.splitlines()[-1] == "nas: stopped; what is finished is stored, and the same command goes on from here"
    store = Store(store_url)
    states = {trial.state for trial in store.trials(store.study("stacking"))}
    assert states <= {TrialState.COMPLETE, TrialState.QUEUED}


def proxy_study(store: str, folder: Path, **options: Any) -> nas.Study:
    """A real training of three epochs, as the commands run it."""
    space = stacking_space(channels=[16], group_channels=[8], l1=[1], l3=[1])
    config = nas.StudyConfig(space=space, proxy=ProxyConfig(epochs=3, train_fraction=0.1), objectives=["top1"])
    return nas.search(config, store=store, engine="local", keep_weights="none", checkpoints=str(folder), **options)


def measured(study: nas.Study) -> dict[int, tuple[float, float]]:
    (reports,) = study.store.reports(study.record).values()
    return {report.step: (report.metrics["top1"], report.metrics["loss"]) for report in reports}


def test_a_truncated_state_is_said_and_the_one_before_it_is_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def interrupt(progress: Any) -> None:
        if progress.running and progress.running[0].fidelity.get("epochs") == 2:
            raise KeyboardInterrupt

    url = f"sqlite:///{tmp_path}/nas.db"
    with pytest.raises(KeyboardInterrupt):
        proxy_study(url, tmp_path / "states", listener=interrupt)
    newest = max(tmp_path.glob("states/*/trial-0/attempt-*/epoch-*"))
    assert newest.name == "epoch-0002.safetensors"
    os.truncate(newest, newest.stat().st_size // 2)
    study = proxy_study(url, tmp_path / "states")
    assert "a damaged checkpoint is passed over" in caplog.text
    (trial,) = study.trials()
    assert (trial.state, trial.attempts) == (TrialState.COMPLETE, 2)
    assert measured(study) == measured(proxy_study(f"sqlite:///{tmp_path}/undisturbed.db", tmp_path / "states"))
    assert not list(tmp_path.glob("states/*"))


def test_a_full_disk_costs_the_states_of_a_training_and_nothing_else(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    url = f"sqlite:///{tmp_path}/nas.db"
    undisturbed = measured(proxy_study(f"sqlite:///{tmp_path}/undisturbed.db", tmp_path / "states"))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, hard))  # room for the store, not for a state
    try:
        study = proxy_study(url, tmp_path / "states")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert measured(study) == undisturbed
    assert study.trials()[0].state is TrialState.COMPLETE
    assert sum("no checkpoint after epoch" in record.message for record in caplog.records) == 3


def slowly(l3: int, epoch: int) -> None:
    time.sleep(0.02)


def together(folder: Path, l3: int, epoch: int) -> None:
    """Every process waits at its first epoch for two others, or one may have done all before they have started."""
    folder.mkdir(exist_ok=True)
    (folder / str(os.getpid())).touch()
    patience = time.monotonic() + PATIENCE_S
    while len(list(folder.iterdir())) < 3:
        if time.monotonic() > patience:
            raise SystemExit(f"the others have not started within {PATIENCE_S} s")  # the end of this driver, not of its trial alone
        time.sleep(0.01)
    slowly(l3, epoch)


def shared_search(url: str, folder: Path) -> Search:
    config = depths_study(range(1, 25), epochs=3, sampler="random", halving=Halving(eta=2))
    return Search(config=config, url=url, evaluate=resumable(folder / "log", slowly), checkpoints=folder / "checkpoints")


def end_lease(store: Store, driver: Any) -> None:
    """Do with a dead driver's lease what time would: one so short that a test can wait for it ends for live drivers too that stall."""
    store._sessions.write(lambda connection: connection.execute(delete(DRIVERS).where(DRIVERS.c.pid == driver.pid)))


def test_drivers_that_share_a_study_try_nothing_twice_and_take_over_from_one_that_dies(postgres_url: str, tmp_path: Path) -> None:
    from tests.conftest import fresh_database

    search = shared_search(fresh_database(postgres_url), tmp_path)
    search.store().open(search.name, search.config.to_dict())
    crew = [started(search, partial(resumable, tmp_path / "log", partial(together, tmp_path / "crew"))) for _ in range(3)]
    wait_for(lambda: work(tmp_path / "log").total() >= 12, what="the twelfth epoch", pause_s=0.01)
    crew[0].kill()
    crew[0].join(60)
    end_lease(search.store(), crew[0])
    search.run()  # beside the others, and with what the dead one left
    for driver in crew[1:]:
        driver.join(120)
    assert [driver.exitcode for driver in crew[1:]] == [0, 0]
    found = search.found()
    assert [trial.number for trial in found.trials] == list(range(24))
    assert len(found.by_depth()) == 24
    assert {trial.state for trial in found.trials} <= {TrialState.COMPLETE, TrialState.PRUNED}
    assert len({trial.driver for trial in found.trials}) > 1
    again = {epoch: times for epoch, times in work(tmp_path / "log").items() if times > 1}
    assert len(again) <= 1  # the epoch in which the first driver was killed
