"""One run of a search as its driver and engine see it, without what `nas.search` looks after around them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nas.budget import Budget
from nas.config import StudyConfig
from nas.driver import Driver
from nas.engine import run
from nas.job import Execution
from nas.ledger import Ledger
from nas.packing import Slots
from nas.premeasure import REAL, Premeasuring
from searchspace.spaces import stacking_space
from studies.records import Report, Trial, TrialState
from studies.store import Store
from trainer.proxy_config import ProxyConfig


def depths_study(depths: Any = range(1, 10), *, epochs: int = 4, **settings: Any) -> StudyConfig:
    """A study of variants that differ in their third depth alone, tried in this order."""
    space = stacking_space(channels=[16], group_channels=[8], l1=[1], l3=list(depths))
    defaults: dict[str, Any] = {"sampler": "exhaustive", "objectives": ["top1"]}
    return StudyConfig(space=space, proxy=ProxyConfig(epochs=epochs), **{**defaults, **settings})


@dataclass(frozen=True, kw_only=True)
class Search:
    """How a study is searched; each `run` is a driver of its own, as after a restart."""

    config: StudyConfig
    url: str
    evaluate: Any
    name: str = "s"
    engine: str = "local"
    workers: int = 1
    budget: Budget = field(default_factory=Budget)
    how: Execution = field(default_factory=Execution)
    checkpoints: Path | None = None
    ledger: Callable[[int], Ledger] = Ledger
    options: dict[str, Any] = field(default_factory=dict)

    def store(self) -> Store:
        """The store, made when it is not there."""
        return Store(self.url)

    def run(self) -> "Found":
        """Search until nothing is left to do."""
        store = self.store()
        study = store.open(self.name, self.config.to_dict())
        with store.driving(study) as lease:
            plan = Premeasuring(store, study, self.config, REAL, None).plan()
            driver = Driver(
                store,
                study,
                self.config,
                plan,
                lease=lease,
                ledger=self.ledger(self.workers),
                budget=self.budget,
                checkpoints=None if self.checkpoints is None else str(self.checkpoints),
                **self.options,
            )
            try:
                run(self.engine, driver, Slots(workers=self.workers), self.evaluate, self.how)
            finally:
                driver.stop()
        return self.found()

    def found(self) -> "Found":
        """What the store holds now."""
        store = Store(self.url)
        study = store.study(self.name)
        return Found(tuple(store.trials(study)), store.reports(study), store.ledger.of(study))


@dataclass(frozen=True)
class Found:
    """What a store holds of a study."""

    trials: tuple[Trial, ...]
    reports: dict[int, list[Report]]
    ledger: dict[str, float]

    def by_depth(self) -> dict[Any, Trial]:
        """The trials by their third depth."""
        return {trial.params["l3"]: trial for trial in self.trials}

    def count(self, state: TrialState) -> int:
        """How many trials are in a state."""
        return sum(trial.state is state for trial in self.trials)

    def table(self) -> list[tuple[Any, ...]]:
        """What a study has found, without times and attempts."""
        return [
            (trial.number, trial.params["l3"], trial.state, trial.reason, dict(trial.metrics), trial.fidelity.get("epochs"))
            for trial in self.trials
        ]
