"""What a worker does with one trial, an epoch at a time; no torch until it trains, and no exception for what can be expected."""

import inspect
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from nas.attempts import adopt
from nas.budget import is_seconds
from nas.step_limit import LimitedSteps
from searchspace.formats import file_stem
from searchspace.formats.plain import check_plain
from searchspace.model_config import ModelConfig
from studies.provenance import trial_name
from studies.records import TrialState
from trainer.proxy_config import ProxyConfig, ProxyResult

log = logging.getLogger(__name__)
STATE_SHARE = 0.03  # of a trial's time goes into saving its state, unless asked: a short training is sooner repeated than often saved
Evaluator = Callable[..., Iterator[ProxyResult]]
"""`(config, proxy, *, seed)` → a result after each epoch, as `trainer.proxy.run_proxy`.

One that takes `weights` gets a file for them; one that takes `checkpoints` gets a folder or URL, goes on from what it finds there and
yields the results of the epochs before again.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """How trials are run, no part of the study: a trial whose worker is lost begins again at most `max_retries` times.

    `step_timeout` is how many seconds an epoch may take; `ray_address` a running cluster to join, `auto` or HOST:PORT.
    """

    max_retries: int = 2
    step_timeout: float | None = None
    ray_address: str | None = None

    def __post_init__(self) -> None:
        if type(self.max_retries) is not int or self.max_retries < 0:
            raise ValueError(f"max_retries must be whole and at least 0, got {self.max_retries!r}")
        if self.step_timeout is not None and not is_seconds(self.step_timeout):
            raise ValueError(f"step_timeout must be a number of seconds above 0, got {self.step_timeout!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One trial as a worker gets it, with the file for what the network learns and the folder or URL for this attempt's state, if any."""

    model: ModelConfig
    proxy: ProxyConfig
    seed: int
    weights: Path | None = None
    checkpoints: str | None = None
    state_share: float | None = None


def _plain(result: ProxyResult) -> ProxyResult:
    """An evaluator's result in types that a store can hold, NumPy's turned into Python's; ValueError for what it cannot."""
    fidelity = {name: value.item() if isinstance(value, np.generic) else value for name, value in result.fidelity.items()}
    check_plain(fidelity, "the fidelity")
    metrics = {name: float(value) for name, value in result.metrics.items()}
    return replace(result, epoch=int(result.epoch), metrics=metrics, fidelity=fidelity)


def weights_file(study: str, trial: int) -> str:
    """The file of a trial's weights, in the folder of all."""
    return f"{file_stem(trial_name(study, trial))}.safetensors"


def takes(evaluate: Evaluator, name: str) -> bool:
    """Whether an evaluator takes the argument `name`, `weights` or `checkpoints`."""
    signature = _signature(evaluate)
    parameters = {} if signature is None else signature.parameters
    return name in parameters or any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())


def check_callable(evaluate: Evaluator) -> None:
    """ValueError for what cannot be called as an evaluator is; one whose signature cannot be found is let through."""
    way_out = "write evaluate(config, proxy, *, seed), which yields a ProxyResult after each epoch"
    if not callable(evaluate):
        raise ValueError(f"evaluate must be a function, got {evaluate!r}; {way_out}")
    if (signature := _signature(evaluate)) is None:
        return
    offered = {name: None for name in ("weights", "checkpoints", "state_share") if takes(evaluate, name)}
    try:
        signature.bind(None, None, seed=0, **offered)
    except TypeError as error:
        raise ValueError(f"evaluate{signature} cannot be called as an evaluator is: {error}; {way_out}") from None


def _signature(evaluate: Evaluator) -> inspect.Signature | None:
    try:
        return inspect.signature(evaluate)
    except (TypeError, ValueError):  # some that are written in C have none
        return None


@dataclass(frozen=True, slots=True)
class Step:
    """What one step of a worker brought: a result, and the state in which the trial ended once it has.

    `spent` are the seconds that it took in the worker, by category of the ledger.
    """

    result: ProxyResult | None = None
    state: TrialState | None = None
    reason: str | None = None
    spent: Mapping[str, float] = field(default_factory=dict)


def train_proxy(
    config: ModelConfig,
    proxy: ProxyConfig,
    *,
    seed: int,
    weights: Path | None = None,
    checkpoints: Path | str | None = None,
    state_share: float | None = None,
) -> Iterator[ProxyResult]:
    """The real evaluator; torch is loaded here, in the worker."""
    from trainer.proxy import run_proxy

    return run_proxy(config, proxy, seed=seed, weights=weights, checkpoints=checkpoints, state_share=state_share)


class Run:
    """A trial under way: each `step` trains one epoch and says what came of it; HungStepError when it takes longer than `step_timeout`."""

    def __init__(self, job: Job, evaluate: Evaluator = train_proxy, *, step_timeout: float | None = None) -> None:
        self._job = job
        self._evaluate = evaluate
        self._results: Iterator[ProxyResult] | None = None
        self._seconds: float | None = None  # of training, at the last result
        self._limited = None if step_timeout is None else LimitedSteps(self._step, step_timeout, close=self._close)

    def step(self) -> Step:
        """The next epoch; running out of memory ends the trial INFEASIBLE, any other error and a metric that is not finite FAILED."""
        return self._step() if self._limited is None else self._limited()

    def close(self) -> None:
        """Let go of what the training holds, as when it is not to go on."""
        if self._limited is None:
            self._close()
        else:
            self._limited.close()

    def _step(self) -> Step:
        start = time.perf_counter()
        try:
            if self._results is None:
                self._results = self._begin()
            step = self._checked(next(self._results, None))
        except MemoryError as error:
            step = Step(state=TrialState.INFEASIBLE, reason=f"out of memory: {error}" if str(error) else "out of memory")
        except Exception as error:
            log.info("a trial failed", exc_info=True)  # its last line is stored with the trial
            step = Step(state=TrialState.FAILED, reason=f"{type(error).__name__}: {error}")
        return replace(step, spent=self._spent(step.result, time.perf_counter() - start))

    def _close(self) -> None:
        close = getattr(self._results, "close", None)  # an evaluator may be any iterator
        if close is not None:
            close()

    def _begin(self) -> Iterator[ProxyResult]:
        asked: dict[str, Any] = {}
        if self._job.weights is not None:
            asked["weights"] = self._job.weights
        if self._job.checkpoints is not None and takes(self._evaluate, "checkpoints"):
            asked["checkpoints"] = adopt(self._job.checkpoints)
            if takes(self._evaluate, "state_share"):
                asked["state_share"] = self._job.state_share
        return self._evaluate(self._job.model, self._job.proxy, seed=self._job.seed, **asked)

    def _checked(self, result: ProxyResult | None) -> Step:
        if result is None:
            return Step(state=TrialState.FAILED, reason=f"the training ended before epoch {self._job.proxy.epochs}")
        broken = [f"{name} is {value} after epoch {result.epoch}" for name, value in result.metrics.items() if not math.isfinite(value)]
        if broken:
            return Step(state=TrialState.FAILED, reason="; ".join(broken))
        return Step(_plain(result), TrialState.COMPLETE if result.epoch >= self._job.proxy.epochs else None)

    def _spent(self, result: ProxyResult | None, passed: float) -> dict[str, float]:
        """The seconds of a step: what the evaluator calls training, and the rest: measuring, and start-up before the first result.

        A first result that took longer to train than to come is that of an earlier attempt.
        """
        first, before = self._seconds is None, self._seconds or 0.0
        self._seconds = before if result is None else float(result.metrics.get("seconds", before))
        trained = max(0.0, self._seconds - before)
        trained = (0.0 if first else passed) if trained > passed else trained
        rest = passed - trained
        if not first or result is None:
            return {"training": trained, "start-up" if first else "evaluation": rest}
        measured = min(result.evaluation_seconds, rest)
        return {"training": trained, "evaluation": measured, "start-up": rest - measured}
