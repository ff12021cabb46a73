"""What a worker does with one trial, an epoch at a time; no torch until it trains, and no exception for what can be expected."""

import logging
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from searchspace.formats import file_stem
from searchspace.model_config import ModelConfig
from studies.records import TrialState
from trainer.proxy_config import ProxyConfig, ProxyResult

log = logging.getLogger(__name__)
Evaluator = Callable[..., Iterator[ProxyResult]]
"""`(config, proxy, *, seed)` → a result after each epoch, as `trainer.proxy.run_proxy`; one that takes `weights` gets a file for them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One trial as a worker gets it; `weights` is the file, if any, for what the trained network knows."""

    model: ModelConfig
    proxy: ProxyConfig
    seed: int
    weights: Path | None = None


def trial_name(study: str, trial: int) -> str:
    """What a trial is called where its study is not at hand; the stem of its files' names."""
    return f"{study}-trial-{trial}"


def weights_file(study: str, trial: int) -> str:
    """The file of a trial's weights, in the folder of all."""
    return f"{file_stem(trial_name(study, trial))}.safetensors"


@dataclass(frozen=True, slots=True)
class Step:
    """What one step of a worker brought: a result, and the state in which the trial ended once it has."""

    result: ProxyResult | None = None
    state: TrialState | None = None
    reason: str | None = None


def train_proxy(config: ModelConfig, proxy: ProxyConfig, *, seed: int, weights: Path | None = None) -> Iterator[ProxyResult]:
    """The real evaluator; torch is loaded here, in the worker."""
    from trainer.proxy import run_proxy

    return run_proxy(config, proxy, seed=seed, weights=weights)


class Run:
    """A trial under way: each `step` trains one epoch and says what came of it."""

    def __init__(self, job: Job, evaluate: Evaluator = train_proxy) -> None:
        self._job = job
        self._evaluate = evaluate
        self._results: Iterator[ProxyResult] | None = None

    def step(self) -> Step:
        """The next epoch; running out of memory ends the trial INFEASIBLE, any other error and a metric that is not finite FAILED."""
        try:
            if self._results is None:
                self._results = self._begin()
            return self._checked(next(self._results, None))
        except MemoryError as error:
            return Step(state=TrialState.INFEASIBLE, reason=f"out of memory: {error}" if str(error) else "out of memory")
        except Exception as error:
            log.info("a trial failed", exc_info=True)  # its last line is stored with the trial
            return Step(state=TrialState.FAILED, reason=f"{type(error).__name__}: {error}")

    def _begin(self) -> Iterator[ProxyResult]:
        kept = {} if self._job.weights is None else {"weights": self._job.weights}
        return self._evaluate(self._job.model, self._job.proxy, seed=self._job.seed, **kept)

    def _checked(self, result: ProxyResult | None) -> Step:
        if result is None:
            return Step(state=TrialState.FAILED, reason=f"the training ended before epoch {self._job.proxy.epochs}")
        broken = [f"{name} is {value} after epoch {result.epoch}" for name, value in result.metrics.items() if not math.isfinite(value)]
        if broken:
            return Step(state=TrialState.FAILED, reason="; ".join(broken))
        return Step(result, TrialState.COMPLETE if result.epoch >= self._job.proxy.epochs else None)
