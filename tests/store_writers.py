"""What drivers do to a store, as functions that other processes run: they import nothing but the store."""

import multiprocessing
import random
import threading
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event

from studies.records import NewTrial, Report, TrialState
from studies.store import Store

CONFIG = {"objectives": [{"metric": "top1", "direction": "maximize"}, {"metric": "flops", "direction": "minimize"}], "seed": 0}
processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(["studies.store", "alembic.command"])  # a second for each process otherwise


def train(store: Store, name: str, l1: int, driver: str | None = None) -> None:
    """One trial of two epochs from the sampler's suggestion to its end."""
    study = store.open(name, CONFIG)
    (trial,) = store.add(study, [NewTrial(params={"l1": l1}, seed=0)], driver=driver)
    if driver is None:
        assert store.start(trial)
    for epoch in (1, 2):
        assert store.report(trial, Report(epoch, {"top1": epoch / 4, "loss": 1.0 / epoch}), fidelity={"epochs": epoch}, driver=driver)
    assert store.finish(trial, TrialState.COMPLETE, driver=driver)


def fill(url: str, names: list[str], trials: int) -> None:
    """A driver for each study, in threads of this process."""

    def drive(name: str) -> None:
        store = Store(url)
        with store.driving(store.open(name, CONFIG)) as lease:
            for i in range(trials):
                train(store, name, i, lease.id)
        done.append(name)

    done: list[str] = []
    drivers = [threading.Thread(target=drive, args=(name,)) for name in names]
    for driver in drivers:
        driver.start()
    for driver in drivers:
        driver.join()
    assert sorted(done) == sorted(names)


def hold(url: str, name: str, ready: Event) -> None:
    """Drive a study with one trial running, one epoch of it reported, until killed."""
    store = Store(url)
    study = store.open(name, CONFIG)
    with store.driving(study) as lease:
        (trial,) = store.add(study, [NewTrial(params={"held": True}, seed=0)], driver=lease.id, worker="w")
        store.report(trial, Report(1, {"top1": 0.5}), fidelity={"epochs": 1}, driver=lease.id)
        store.set_checkpoint(trial, "/checkpoints/1", driver=lease.id)
        ready.set()
        threading.Event().wait()


def tries_to_drive(url: str, name: str, answer: Connection) -> None:
    """Say whether the study can be driven from this process."""
    store = Store(url)
    try:
        with store.driving(store.study(name)):
            answer.send("driven")
    except ValueError as error:
        answer.send(str(error))


def write_for_ever(url: str, name: str, seed: int, written: Connection) -> None:
    """Train trial after trial, and say of each when it has been stored, until killed."""
    store, rng = Store(url), random.Random(seed)
    with store.driving(store.open(name, CONFIG)) as lease:
        store.reclaim(store.study(name), lease)
        while True:
            l1 = rng.getrandbits(60)
            train(store, name, l1, lease.id)
            written.send(l1)
