"""What is known of candidates before any of them is trained: zero-cost scores and latency, measured once for a study, and the screen.

All is measured here, in the driver's process, before the first trial: nothing trains meanwhile, so a latency has its device to itself.
"""

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from nas.config import Screen, StudyConfig
from nas.errors import NasError
from nas.progress_record import Listener, Progress
from nas.samplers.keys import Key, params_key
from searchspace.cost import COST_METRICS
from searchspace.feasible import FeasibleSet
from searchspace.model_config import ModelConfig
from searchspace.quantity import format_quantity
from searchspace.score_table import is_constant
from searchspace.space import Candidate
from studies.fidelity import fidelity_text
from studies.records import StudyRecord
from studies.store import Store
from trainer.latency_setting import LatencySetting, OutOfMemory
from trainer.proxy_config import ProxyConfig

LISTED = 2000  # candidates that get a row each with the reason why they are not trained
MAX_MEASURED = 2000
log = logging.getLogger(__name__)


def measure_scores(config: ModelConfig, proxy: ProxyConfig, names: Sequence[str], *, seed: int) -> Mapping[str, float]:
    """The real scores of one candidate; torch is loaded here."""
    from trainer.zero_cost import scores

    found = scores(config, proxy, names, seed=seed)
    _hand_back(proxy.device)
    return found


def measure_latency_ms(configs: Sequence[ModelConfig], setting: LatencySetting) -> Sequence[float]:
    """The real latency in milliseconds of each network, all measured in turns; torch is loaded here."""
    from trainer.latency import measure_latency

    found = measure_latency(configs, setting)
    _hand_back(setting.device)
    return [latency.median_ms for latency in found]


def _hand_back(device: str) -> None:
    """Memory that PyTorch keeps for later use in this process would be lacking in those that train."""
    if device.startswith("cuda"):
        import torch

        torch.cuda.empty_cache()


@dataclass(frozen=True, slots=True)
class Measures:
    """What measures candidates: scores of one, and the latency of all together."""

    scores: Callable[..., Mapping[str, float]] = measure_scores
    latency_ms: Callable[[Sequence[ModelConfig], LatencySetting], Sequence[float]] = measure_latency_ms


REAL = Measures()


@dataclass(frozen=True, slots=True)
class Plan:
    """The candidates that a study may train, those that it leaves out, each with the reason, and what was measured of either beforehand.

    Of a space of more than 2,000 choices, `rejected` holds only what was measured or screened in vain, and no more than 2,000 of that.
    """

    feasible: FeasibleSet
    rejected: Sequence[Candidate] = ()
    values: Mapping[Key, Mapping[str, float]] = field(default_factory=dict)

    def premeasured(self, candidate: Candidate) -> Mapping[str, float]:
        """What was measured of a candidate."""
        return self.values.get(params_key(candidate.params), {})


class Premeasuring:
    """One pass over a study's feasible candidates that measures what is not in the store yet."""

    def __init__(self, store: Store, study: StudyRecord, config: StudyConfig, measures: Measures, listener: Listener | None) -> None:
        self._store, self._study, self._config = store, study, config
        self._measures, self._listener = measures, listener
        self._feasible = config.space.feasible_set()
        self._left: NDArray[np.bool_] = np.ones(len(self._feasible), bool)
        self._reasons: dict[int, str] = {}
        self._values = {params_key(choice): dict(values) for choice, values in store.measurements.of(study)}

    def plan(self) -> Plan:
        """What may be trained, without those that the screen leaves out and those that cannot be measured."""
        if self._config.scores:
            self._measure_scores()
        if self._config.screen is not None:
            self._screen(self._config.screen)
        if (setting := self._config.latency_setting) is not None:
            self._measure_latency(setting)
        if not self._left.any():
            raise NasError(f"none of the {len(self._left)} candidates can be measured; the first: {next(iter(self._reasons.values()))}")
        return Plan(self._feasible.without(np.flatnonzero(~self._left)), self._rejected(), self._values)

    @cached_property
    def _candidates(self) -> Sequence[Candidate]:
        """Every feasible one; built only where each is measured."""
        return [self._feasible.candidate(index) for index in range(len(self._feasible))]

    def _rejected(self) -> list[Candidate]:
        if len(self._config.space) > LISTED:
            return [replace(self._feasible.candidate(index), reason=reason) for index, reason in sorted(self._reasons.items())]
        judged = map(self._judged, self._config.space.enumerate())
        return [candidate for candidate in judged if not candidate.feasible]

    def _judged(self, candidate: Candidate) -> Candidate:
        index = self._feasible.index(candidate.params)
        return candidate if index is None else replace(candidate, reason=self._reasons.get(index))

    def _leave_out(self, index: int, reason: str) -> None:
        self._left[index] = False
        self._reasons[index] = reason

    def _lacking(self, metrics: Sequence[str]) -> list[int]:
        """Those that are left and were not measured yet."""
        return [index for index in np.flatnonzero(self._left).tolist() if not set(metrics) <= set(self._of(self._candidates[index]))]

    def _of(self, candidate: Candidate) -> dict[str, float]:
        return self._values.setdefault(params_key(candidate.params), {})

    def _measure_scores(self) -> None:
        names, lacking, total = self._config.scores, self._lacking(self._config.scores), len(self._feasible)
        start, known = time.monotonic(), total - len(lacking)
        for done, index in enumerate(lacking):
            seconds_left = (time.monotonic() - start) / done * (len(lacking) - done) if done else None
            self._tell(f"measuring {', '.join(names)}", known + done, total, seconds_left)
            if (reason := self._score(self._candidates[index])) is not None:
                self._leave_out(index, reason)

    def _score(self, candidate: Candidate) -> str | None:
        """Measure and store the scores of one candidate; the reason when it has none."""
        assert candidate.config is not None, "a feasible candidate has been built"
        names = self._config.scores
        try:
            values = self._measures.scores(candidate.config, self._config.proxy, names, seed=self._config.seed)
        except MemoryError as error:
            return f"out of memory while measuring {', '.join(names)}" + (f": {error}" if str(error) else "")
        if broken := [f"{name} is {values[name]}" for name in names if not math.isfinite(values[name])]:
            return "; ".join(broken)
        self._keep([(candidate, {name: float(values[name]) for name in names})])
        return None

    def _measure_latency(self, setting: LatencySetting) -> None:
        """The latency of all together, so that none had a better moment than another; stored at once, so that none is of another time."""
        what = f"measuring {fidelity_text([self._config.latency_fidelity])}"
        while lacking := self._lacking(["latency_ms"]):
            self._tell(what, 0, len(lacking))
            candidates = [self._candidates[index] for index in lacking]
            configs = [candidate.config for candidate in candidates if candidate.config is not None]
            try:
                found = self._measures.latency_ms(configs, setting)
            except OutOfMemory as error:  # one that does not fit; the others are measured without it
                self._leave_out(lacking[configs.index(error.config)], f"out of memory while {what}")
                continue
            self._keep([(candidate, {"latency_ms": float(value)}) for candidate, value in zip(candidates, found, strict=True)])
            self._tell(what, len(lacking), len(lacking))

    def _screen(self, screen: Screen) -> None:
        indices = np.flatnonzero(self._left)
        values = self._scores_of(screen.score, indices)
        if is_constant(values):
            note = f"{screen.score} is {_shown(screen.score, values[0])} for all {len(values)} candidates, so it screens none of them"
            log.warning(note)
            self._tell(note, len(values), len(values))
            return
        needed, _ = _bar(values, screen)
        self._left[indices] = [_passes(value, needed, screen) for value in values]
        if len(values) <= LISTED:
            reasons = zip(indices.tolist(), screened(values, screen), strict=True)
            self._reasons |= {index: reason for index, reason in reasons if reason is not None}

    def _scores_of(self, score: str, indices: NDArray[np.int64]) -> list[float]:
        if score in COST_METRICS:
            costs: list[float] = self._feasible.costs(score)[indices].tolist()
            return costs
        return [self._of(self._candidates[index])[score] for index in indices.tolist()]

    def _keep(self, measured: Sequence[tuple[Candidate, Mapping[str, float]]]) -> None:
        self._store.measurements.record(self._study, [(candidate.params, values) for candidate, values in measured])
        for candidate, values in measured:
            self._of(candidate).update(values)

    def _tell(self, stage: str, done: int, total: int, seconds_left: float | None = None) -> None:
        if self._listener is not None:
            proxy = fidelity_text([self._config.fidelity()])
            self._listener(Progress(self._study.name, proxy, done, (), total, 0, None, None, seconds_left, stage))


def screened(values: Sequence[float], screen: Screen) -> list[str | None]:
    """For each value of the screen's score why it is left out, or None; values as good as the last of the best share pass with it."""
    needed, best = _bar(values, screen)
    return [
        None
        if _passes(value, needed, screen)
        else f"screened: {screen.score} {_shown(screen.score, value)} is not among the best {best} of {len(values)} "
        f"(needs {_shown(screen.score, needed)})"
        for value in values
    ]


def _bar(values: Sequence[float], screen: Screen) -> tuple[float, int]:
    """What a value needs to pass, and how many places there are."""
    best = max(1, math.ceil(round(screen.keep * len(values), 9)))  # 0.7 · 10 is a little more than 7
    return (sorted(values, reverse=screen.maximize)[best - 1] if values else 0.0), best


def _passes(value: float, needed: float, screen: Screen) -> bool:
    return value >= needed if screen.maximize else value <= needed


def check_premeasuring(config: StudyConfig, feasible: int) -> None:
    """ValueError when more candidates would have to be measured than is sensible."""
    what = ", ".join([*config.scores, *([] if config.latency_setting is None else ["latency"])])
    if feasible <= MAX_MEASURED or not what:
        return
    raise ValueError(
        f"{feasible:,} feasible candidates are too many to measure {what} of each before training (at most {MAX_MEASURED:,}); "
        "narrow the domains, set a --target or a --limit, or leave out these objectives and the screen"
    )


def _shown(score: str, value: float) -> str:
    return format_quantity(value) if score in COST_METRICS else f"{value:.6g}"
