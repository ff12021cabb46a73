"""What does the engine cost beside the training? Run `python -m benchmarks.engine [--trials N] [--repeats N] [--json FILE]`.

Trials that do nothing: ours on Ray Tune against bare Ray Tune at the same settings, the local engine with the sampler's and the store's
share apart, the store against Optuna's own on SQLite at the same durability, and how soon a study of 10,000 trials asks for its next one.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import nas
from benchmarks.engine_bare import bare_ray_tune
from benchmarks.engine_store import open_and_ask, store_rates
from benchmarks.hardware import describe
from nas.output import Column, print_rows, text_column
from nas.progress_record import Progress
from nas.samplers import Sampler
from searchspace.spaces import stacking_space
from studies.records import Objective
from studies.store import Store
from trainer.proxy_config import ProxyConfig, ProxyResult

RESULTS = Path(__file__).parent / "results" / "engine.json"
WARM_UP = 20  # trials that are not counted: workers start during them
SLOTS = 2
MOST_RATIO, GOOD_ENOUGH_MS, MOST_LOCAL_MS = 1.2, 15.0, 3.0


def nothing(config: Any, proxy: ProxyConfig, *, seed: int) -> Iterator[ProxyResult]:
    """One epoch of no work."""
    yield ProxyResult(epoch=1, metrics={"top1": 0.5}, fidelity=proxy.fidelity(epochs=1, seed=seed))


def study_of(trials: int) -> nas.StudyConfig:
    """A space with room for `trials`, chosen from by chance."""
    space = stacking_space(channels=[64, 80], group_channels=[16], l1=[1, 2], l3=range(2, trials))
    return nas.StudyConfig(space=space, proxy=ProxyConfig(epochs=1), objectives=(Objective.of("top1"),), sampler="random")


@dataclass
class Moments:
    """When each trial ended; a listener."""

    times: list[float] = field(default_factory=list)

    def __call__(self, progress: Progress) -> None:
        """Note the moment when one more trial has ended."""
        if progress.done > len(self.times):
            self.times.append(time.perf_counter())

    @property
    def ms_a_trial(self) -> float:
        """Mean between the end of the warm-up and the last trial."""
        return 1000 * (self.times[-1] - self.times[WARM_UP]) / (len(self.times) - WARM_UP - 1)


def ours_on_ray(trials: int, url: str) -> float:
    """Milliseconds a trial of our search on Ray Tune."""
    heard = Moments()
    nas.search(study_of(trials), store=url, trials=trials, workers=SLOTS, listener=heard, evaluate=nothing, keep_weights="none")
    return heard.ms_a_trial


@dataclass
class Shares:
    """Seconds in parts of a search, by name."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def of(self, owner: Any, methods: tuple[str, ...], name: str) -> Iterator[None]:
        """Time every call of the owner's methods for the block."""
        timed: dict[str, Any] = {method: self._timed(getattr(owner, method), name) for method in methods}
        with mock.patch.multiple(owner, **timed):
            yield

    def _timed(self, function: Callable[..., Any], name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            start = time.perf_counter()
            try:
                return function(*arguments, **options)
            finally:
                self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start

        return call


def local(trials: int, url: str) -> dict[str, float]:
    """Milliseconds a trial of the local engine: all of it, the sampler's, the store's and the rest."""
    heard, shares = Moments(), Shares()
    store = Store(url, synchronous="FULL")
    with shares.of(Sampler, ("ask", "tell"), "sampler"), shares.of(Store, STORE_WRITES, "store"):
        nas.search(study_of(trials), store=store, trials=trials, engine="local", listener=heard, evaluate=nothing, keep_weights="none")
    parts = {name: 1000 * seconds / trials for name, seconds in shares.seconds.items()}
    return {"all": heard.ms_a_trial, **parts, "beyond the sampler": heard.ms_a_trial - parts["sampler"]}


STORE_WRITES = ("add", "start", "report", "finish")


def medians(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The median of each column."""
    return {name: statistics.median(row[name] for row in rows) for name in rows[0]}


def overhead(trials: int, repeats: int, folder: Path) -> dict[str, Any]:
    """Interleaved pairs of ours and bare Ray Tune, and the local engine after each."""
    pairs, alone = [], []
    for repeat in range(repeats):
        bare = bare_ray_tune(trials, SLOTS, WARM_UP)
        ours = ours_on_ray(trials, f"sqlite:///{folder}/ray-{repeat}.db")
        pairs.append({"ours": ours, "bare": bare, "ratio": ours / bare})
        alone.append(local(trials, f"sqlite:///{folder}/local-{repeat}.db"))
    middle = medians(pairs)
    met = middle["ratio"] <= MOST_RATIO or middle["ours"] <= GOOD_ENOUGH_MS
    verdicts = {"ray": "met" if met else "not met", "local": "met" if medians(alone)["beyond the sampler"] < MOST_LOCAL_MS else "not met"}
    return {"pairs": pairs, "ray": middle, "local": medians(alone), "verdicts": verdicts}


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        found = {
            "overhead_ms": overhead(arguments.trials, arguments.repeats, folder),
            "store": store_rates(arguments.repeats, folder),
            "reopening_s": open_and_ask(10_000, folder),
        }
    show(found)
    report = {"hardware": describe(), "trials": arguments.trials, "slots": SLOTS, **found}
    arguments.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def show(found: Mapping[str, Any]) -> None:
    """Three small tables."""
    overheads = found["overhead_ms"]
    rows = [{"engine": engine, **overheads[engine], "verdict": overheads["verdicts"][engine]} for engine in ("ray", "local")]
    names = ("ours", "bare", "ratio", "all", "sampler", "store", "beyond the sampler")
    columns = [text_column("engine", "engine"), *(Column(name, name, _number) for name in names), text_column("verdict", "verdict")]
    print_rows(rows, columns, format="table", title="Milliseconds a trial that does nothing (medians)")
    rates = [text_column("synchronous", "synchronous"), *(Column(name, name, "{:.1f}".format) for name in ("ours", "optuna", "ratio"))]
    print_rows(found["store"], rates, format="table", title="Trials a second into SQLite, three reports each")
    print(f"a study of 10,000 trials is open and asks for its next one after {found['reopening_s']:.2f} s")


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


if __name__ == "__main__":
    main()
