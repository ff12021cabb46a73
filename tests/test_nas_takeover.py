"""A driver ends when nothing is left to do: what one that died was training is left, what one that lives is training is not."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict
from typing import Any

import pytest

from studies.records import NewTrial, TrialState
from studies.store import Store
from tests.driven import Found, Search, depths_study
from tests.store_fixtures import fresh_database
from trainer.proxy_config import ProxyConfig, ProxyResult


def searched_beside_another(url: str, leave: Callable[[ExitStack], object]) -> tuple[Found, str | None]:
    """What a study of three holds, and why it ended: another driver begins one, and may `leave`, while this one trains its first."""

    def evaluate(config: Any, proxy: ProxyConfig, *, seed: int) -> Iterator[ProxyResult]:
        if not begun:
            begun.append(config)
            lease = beside.enter_context(store.driving(study))
            candidate = search.config.space.candidate({"channels": 16, "group_channels": 8, "l1": 1, "l3": 3})
            assert candidate.config is not None
            assert candidate.cost is not None
            new = NewTrial(params=candidate.params, seed=0, model=candidate.config.to_dict(), cost=asdict(candidate.cost))
            store.add(study, [new], driver=lease.id)
            leave(beside)
        yield ProxyResult(epoch=1, metrics={"top1": 0.5}, fidelity=proxy.fidelity(epochs=1, seed=seed))

    begun: list[Any] = []
    ended: list[str | None] = []
    options = {"listener": lambda progress: ended.append(progress.ended)}
    search = Search(config=depths_study(range(1, 4), epochs=1), url=url, evaluate=evaluate, options=options)
    store = Store(url)
    study = store.open(search.name, search.config.to_dict())
    with ExitStack() as beside:
        found = search.run()
    assert begun
    return found, ended[-1]


def test_what_a_driver_that_died_was_training_is_trained_before_the_search_ends(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("studies.leases.LEASE_S", 3.0)
    monkeypatch.setattr("nas.driver.LISTEN_S", 0.1)
    found, _ = searched_beside_another(fresh_database(postgres_url), leave=ExitStack.close)
    assert found.count(TrialState.COMPLETE) == len(found.trials) == 3


def test_a_search_does_not_wait_for_what_a_driver_that_lives_is_training(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("studies.leases.LEASE_S", 3.0)
    monkeypatch.setattr("nas.driver.LISTEN_S", 0.1)
    found, why = searched_beside_another(fresh_database(postgres_url), leave=lambda beside: None)
    assert (found.count(TrialState.COMPLETE), found.count(TrialState.RUNNING)) == (2, 1)
    assert why == "every feasible candidate has been tried; other drivers are training 1 of them"
