"""Which sampler finds the front soonest? Hypervolume over device-seconds on a SYNTHETIC table (`benchmarks.tabular`), against random.

    python -m benchmarks.samplers                     20 seeds, about as many device-seconds as 150 random trials
    python -m benchmarks.samplers --seeds 5 --trials 60 --samplers random tpe known-cost

Every simulated search is kept as it ends, in a `.jsonl` file beside the output: a command that was stopped goes on from there, and one with
more seeds or samplers simulates what is new. Delete the file when a sampler has changed.

Samplers are asked and told directly, by simulated workers whose trainings take as long as their FLOPs and epochs say; an ask takes no
simulated time, and its processor time is a column. A hypervolume is that of the true values of what was trained to the end, so that luck
with noise does not count. Shown is what it lacks of that of all candidates, in per cent: less is better. `over time` is the mean over the
budget. Leads are differences of that mean, paired by seed: over random, and of the best sampler of a task over each.
"""

import argparse
import heapq
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.hardware import describe
from benchmarks.tabular import EPOCHS, table
from nas.config import SamplerName, StudyConfig
from nas.rungs import Rungs
from nas.samplers import Sampler
from searchspace.sizes import Limit
from studies.halving import Halving
from studies.pareto import hypervolume
from studies.records import Objective, Report, Trial, TrialState
from trainer.proxy_config import ProxyConfig

RESULTS = Path(__file__).parent / "results" / "samplers.json"
SLOTS = 4
MOMENTS = 40  # equally spaced moments of the budget at which the hypervolume is taken
SHOWN = (0.25, 0.5, 1.0)
RESAMPLES = 2000
FRONT, SINGLE = "top1 and FLOPs", "top1 at up to 8 GFLOPs"
OBJECTIVES = {FRONT: ("top1", "flops"), SINGLE: ("top1",)}
SAMPLERS: dict[str, tuple[SamplerName, ...]] = {
    FRONT: ("random", "qmc", "tpe", "gp", "nsga2", "nsga3", "known-cost"),
    SINGLE: ("random", "qmc", "tpe", "gp", "nsga2", "cmaes", "known-cost"),
}


@dataclass(frozen=True, slots=True)
class Play:
    """One search to simulate; `trials` random trials fill its budget on average."""

    task: str
    sampler: SamplerName
    halving: bool
    seed: int
    trials: int


@dataclass(frozen=True, slots=True)
class Played:
    """Shares of the whole hypervolume at evenly spaced moments, how many trials began and completed, milliseconds for an ask."""

    play: Play
    shares: tuple[float, ...]
    began: int
    completed: int
    ask_ms: float


@dataclass(order=True, slots=True)
class Running:
    """A trial on a worker: when it reaches its next milestone, counted in seconds since the start."""

    at: float
    number: int
    trial: Trial
    index: int
    ahead: tuple[int, ...]


class Simulation:
    """Workers that train what a sampler asks for, until the budget of device-seconds is spent."""

    def __init__(self, play: Play) -> None:
        self.play, self.table = play, table((Limit(metric="flops", value=8_000_000_000),) if play.task == SINGLE else ())
        objectives = tuple(Objective.of(metric) for metric in OBJECTIVES[play.task])
        self.halving = Halving(eta=3, min_epochs=1) if play.halving else None
        self.config = StudyConfig(
            space=self.table.space,
            proxy=ProxyConfig(epochs=EPOCHS),
            objectives=objectives,
            sampler=play.sampler,
            seed=play.seed,
            halving=self.halving,
        )
        self.rungs = Rungs(self.halving or Halving(min_epochs=EPOCHS), EPOCHS, objectives)
        self.milestones = (*self.rungs.milestones, EPOCHS)
        self.budget = play.trials * float(self.table.epoch_seconds.mean()) * EPOCHS / SLOTS
        self.sampler = Sampler(self.config, self.table.feasible, [], trials=play.trials)
        self.began, self.asking = 0, 0.0

    def run(self) -> Played:
        """Play to the end of the budget."""
        found = list(self._completed())
        seconds, indices = np.array([at for at, _ in found]), np.array([index for _, index in found], dtype=int)
        moments = self.budget * np.arange(1, MOMENTS + 1) / MOMENTS
        shares = tuple(self._share(indices[seconds <= moment]) for moment in moments)
        return Played(self.play, shares, self.began, len(found), 1000 * self.asking / max(1, self.began))

    def _completed(self) -> Iterator[tuple[float, int]]:
        """When which candidate completed."""
        queue = [running for _ in range(SLOTS) if (running := self._begin(0.0)) is not None]
        heapq.heapify(queue)
        while queue and queue[0].at <= self.budget:
            running = heapq.heappop(queue)
            follower = self._reach(running)
            if follower is None:
                if running.ahead == (EPOCHS,):
                    yield running.at, running.index
                follower = self._begin(running.at)
            if follower is not None:
                heapq.heappush(queue, follower)

    def _begin(self, now: float) -> Running | None:
        start = time.process_time()
        candidate = self.sampler.ask()
        self.asking += time.process_time() - start
        if candidate is None:
            return None
        index = self.table.feasible.index(candidate.params)
        assert index is not None, "a sampler asks for feasible candidates"
        assert candidate.cost is not None, "they have been built"
        cost = {"params": candidate.cost.params, "flops": candidate.cost.flops}
        trial = Trial(
            id=self.began, number=self.began, state=TrialState.RUNNING, params=candidate.params, model=None, cost=cost, metrics={},
            fidelity={}, seed=self.play.seed,
        )  # fmt: skip
        self.began += 1
        return Running(now + self._seconds(index, self.milestones[0]), trial.number, trial, index, self.milestones)

    def _reach(self, running: Running) -> Running | None:
        """The trial on its way to the next milestone; None when it has ended, which the sampler is then told."""
        milestone, *ahead = running.ahead
        report = Report(milestone, {"top1": self.table.measured(running.index, milestone, self.play.seed)})
        trial = replace(running.trial, metrics=report.metrics, fidelity={"epochs": milestone})
        goes_on = bool(ahead) and (not self.rungs.add(trial, report) or self.rungs.goes_on(trial.number, milestone))
        if goes_on:
            at = running.at + self._seconds(running.index, ahead[0] - milestone)
            return Running(at, running.number, trial, running.index, tuple(ahead))
        self.sampler.tell(replace(trial, state=TrialState.PRUNED if ahead else TrialState.COMPLETE))
        return None

    def _seconds(self, index: int, epochs: int) -> float:
        return float(self.table.epoch_seconds[index]) * epochs

    def _share(self, indices: NDArray[np.int_]) -> float:
        return self._volume(indices) / self._volume(np.arange(len(self.table.top1)))

    def _volume(self, indices: NDArray[np.int_]) -> float:
        columns = {"top1": self.table.top1, "flops": self.table.flops}
        points = np.column_stack([columns[objective.metric] for objective in self.config.objectives])
        worst = [
            points[:, i].min() if objective.direction == "maximize" else points[:, i].max()
            for i, objective in enumerate(self.config.objectives)
        ]
        if len(worst) == 1:
            return float((points[indices, 0] - worst[0]).max(initial=0.0))
        return hypervolume(points[indices], self.config.objectives, worst)


def play(one: Play) -> Played:
    """One simulated search."""
    return Simulation(one).run()


def simulated(plays: Sequence[Play], processes: int, kept: Path) -> list[Played]:
    """What the searches came to: read where they were kept, else simulated and kept as they end."""
    known: dict[Play, Played] = {}
    if kept.exists():
        for line in kept.read_text(encoding="utf-8").splitlines():
            one = json.loads(line)
            found = Played(Play(**one.pop("play")), tuple(one.pop("shares")), **one)
            known[found.play] = found
    missing = [one for one in plays if one not in known]
    with get_context("spawn").Pool(processes) as pool, kept.open("a", encoding="utf-8") as file:
        for found in pool.imap_unordered(play, missing):
            known[found.play] = found
            print(json.dumps(asdict(found)), file=file, flush=True)
    return [known[one] for one in plays]


def summary(played: Sequence[Played], random: Sequence[Played], best: Sequence[Played]) -> dict[str, Any]:
    """Medians over seeds with 95 % bootstrap intervals, and the paired leads over random without early stopping and of the best."""
    shares = np.array([one.shares for one in played])
    return {
        "task": played[0].play.task,
        "sampler": played[0].play.sampler,
        "halving": played[0].play.halving,
        "lacking at": {f"{share:g}": described(1 - shares[:, round(share * MOMENTS) - 1]) for share in SHOWN},
        "lacking over time": described(1 - shares.mean(axis=1)),
        "lead over random": lead(played, random),
        "lead of the best": lead(best, played),
        "trials began": float(np.median([one.began for one in played])),
        "trials completed": float(np.median([one.completed for one in played])),
        "ask ms": float(np.median([one.ask_ms for one in played])),
    }


def lead(played: Sequence[Played], other: Sequence[Played]) -> dict[str, Any]:
    """By how much one holds more of the hypervolume than the other over time, seed by seed."""
    found = described(over_time(played) - over_time(other))
    return {**found, "verdict": "better" if found["low"] > 0 else "worse" if found["high"] < 0 else "no difference shown"}


def over_time(played: Sequence[Played]) -> NDArray[np.float64]:
    """The mean share of the hypervolume over the budget, by seed."""
    return np.array([one.shares for one in played]).mean(axis=1)


def described(values: NDArray[np.float64]) -> dict[str, float]:
    """Median with its interval."""
    low, high = interval(values)
    return {"median": float(np.median(values)), "low": low, "high": high}


def interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """The 95 % bootstrap interval of the median."""
    drawn = np.random.default_rng(0).integers(len(values), size=(RESAMPLES, len(values)))
    low, high = np.quantile(np.median(values[drawn], axis=1), [0.025, 0.975])
    return float(low), float(high)


def rows(found: Sequence[Played]) -> list[dict[str, Any]]:
    """One summary for each task, sampler and early stopping, the best over time first within a task."""
    groups: dict[tuple[str, str, bool], list[Played]] = {}
    for one in sorted(found, key=lambda one: one.play.seed):
        groups.setdefault((one.play.task, one.play.sampler, one.play.halving), []).append(one)
    ranked = sorted(groups, key=lambda key: (key[0], -float(np.median(over_time(groups[key])))))
    best = {task: groups[task, sampler, halving] for task, sampler, halving in reversed(ranked)}
    return [summary(groups[key], groups[key[0], "random", False], best[key[0]]) for key in ranked]


def show(summaries: Sequence[dict[str, Any]]) -> None:
    """Print the table."""
    for task in OBJECTIVES:
        print(f"\n{task} (synthetic), what the hypervolume lacks, per cent of the whole, median [95 %]")
        print(
            "| sampler | ASHA | at 1/4 | at 1/2 | at the end | over time | lead over random | | best leads by | | trials | complete | ms |"
        )
        print("|---|---|--:|--:|--:|--:|--:|---|--:|---|--:|--:|--:|")
        for row in (row for row in summaries if row["task"] == task):
            numbers = [*row["lacking at"].values(), row["lacking over time"]]
            leads = [f"{percent(one)} | {one['verdict']}" for one in (row["lead over random"], row["lead of the best"])]
            counts = [f"{row['trials began']:.0f}", f"{row['trials completed']:.0f}", f"{row['ask ms']:.1f}"]
            print("|", " | ".join([row["sampler"], "yes" if row["halving"] else "no", *map(percent, numbers), *leads, *counts]), "|")


def percent(one: dict[str, float]) -> str:
    """A median with its interval."""
    return f"{100 * one['median']:.2f} [{100 * one['low']:.2f}, {100 * one['high']:.2f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--trials", type=int, default=150, help="random trials that fill the budget on average")
    parser.add_argument("--samplers", nargs="+", default=sorted({name for names in SAMPLERS.values() for name in names}))
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--output", type=Path, default=RESULTS)
    asked = parser.parse_args()
    wanted = {"random", *asked.samplers}
    if "cmaes" in wanted and find_spec("cmaes") is None:
        print("cmaes is left out: its package is not installed")
        wanted.remove("cmaes")
    plays = [
        Play(task, sampler, halving, seed, asked.trials)
        for task, names in SAMPLERS.items()
        for sampler in names
        if sampler in wanted
        for halving in (False, True)
        for seed in range(asked.seeds)
    ]
    kept = asked.output.with_suffix(".jsonl")
    summaries = rows(simulated(sorted(plays, key=lambda one: one.seed), asked.processes, kept))
    show(summaries)
    settings = {"seeds": asked.seeds, "trials": asked.trials, "slots": SLOTS, "epochs": EPOCHS}
    result = {"synthetic": True, "hardware": describe(), "settings": settings, "rows": summaries}
    asked.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
