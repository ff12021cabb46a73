"""What is known of candidates before any of them is trained: zero-cost scores and latency, measured once for a study, and the screen.

All is measured here, in the driver's process, before the first trial: nothing trains meanwhile, so a latency has its device to itself.
"""

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from nas.config import Screen, StudyConfig
from nas.driver import Listener, Progress
from nas.errors import NasError
from nas.sampler import Key, params_key
from searchspace.cost import COST_METRICS
from searchspace.model_config import ModelConfig
from searchspace.quantity import format_quantity
from searchspace.score_table import is_constant
from searchspace.space import Candidate
from studies.fidelity import fidelity_text
from studies.records import StudyRecord
from studies.store import Store
from trainer.latency_setting import LatencySetting, OutOfMemory
from trainer.proxy_config import ProxyConfig

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
    """The candidates of a study, each with the reason why it must not be trained, if any, and what was measured of it beforehand."""

    candidates: Sequence[Candidate]
    values: Mapping[Key, Mapping[str, float]] = field(default_factory=dict)

    def premeasured(self, candidate: Candidate) -> Mapping[str, float]:
        """What was measured of a candidate."""
        return self.values.get(params_key(candidate.params), {})


class Premeasuring:
    """One pass over a study's feasible candidates that measures what is not in the store yet."""

    def __init__(self, store: Store, study: StudyRecord, config: StudyConfig, measures: Measures, listener: Listener | None) -> None:
        self._store, self._study, self._config = store, study, config
        self._measures, self._listener = measures, listener
        self._values = {params_key(choice): dict(values) for choice, values in store.measurements.of(study)}
        self._reasons: dict[Key, str] = {}

    def plan(self) -> Plan:
        """All candidates; those that the screen leaves out, and those that cannot be measured, with the reason."""
        candidates = self._config.space.enumerate()
        feasible = [candidate for candidate in candidates if candidate.feasible]
        if self._config.scores:
            self._measure_scores(feasible)
        if self._config.screen is not None:
            self._screen(self._config.screen, self._left(feasible))
        if (setting := self._config.latency_setting) is not None:
            self._measure_latency(self._left(feasible), setting)
        if feasible and not self._left(feasible):
            raise NasError(f"none of the {len(feasible)} candidates can be measured; the first: {next(iter(self._reasons.values()))}")
        return Plan([self._judged(candidate) for candidate in candidates], self._values)

    def _judged(self, candidate: Candidate) -> Candidate:
        return replace(candidate, reason=candidate.reason or self._reasons.get(params_key(candidate.params)))

    def _left(self, feasible: Sequence[Candidate]) -> list[Candidate]:
        return [candidate for candidate in feasible if params_key(candidate.params) not in self._reasons]

    def _lacking(self, candidates: Sequence[Candidate], metrics: Sequence[str]) -> list[Candidate]:
        return [candidate for candidate in candidates if not set(metrics) <= set(self._of(candidate))]

    def _of(self, candidate: Candidate) -> dict[str, float]:
        return self._values.setdefault(params_key(candidate.params), {})

    def _measure_scores(self, feasible: Sequence[Candidate]) -> None:
        names, lacking = self._config.scores, self._lacking(feasible, self._config.scores)
        start, known = time.monotonic(), len(feasible) - len(lacking)
        for done, candidate in enumerate(lacking):
            seconds_left = (time.monotonic() - start) / done * (len(lacking) - done) if done else None
            self._tell(f"measuring {', '.join(names)}", known + done, len(feasible), seconds_left)
            if (reason := self._score(candidate)) is not None:
                self._reasons[params_key(candidate.params)] = reason

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

    def _measure_latency(self, candidates: Sequence[Candidate], setting: LatencySetting) -> None:
        """The latency of all together, so that none had a better moment than another; stored at once, so that none is of another time."""
        what = f"measuring {fidelity_text([self._config.latency_fidelity])}"
        while lacking := self._lacking(self._left(candidates), ["latency_ms"]):
            self._tell(what, 0, len(lacking))
            configs = [candidate.config for candidate in lacking if candidate.config is not None]
            try:
                found = self._measures.latency_ms(configs, setting)
            except OutOfMemory as error:  # one that does not fit; the others are measured without it
                too_large = lacking[configs.index(error.config)]
                self._reasons[params_key(too_large.params)] = f"out of memory while {what}"
                continue
            self._keep([(candidate, {"latency_ms": float(value)}) for candidate, value in zip(lacking, found, strict=True)])
            self._tell(what, len(lacking), len(lacking))

    def _screen(self, screen: Screen, candidates: Sequence[Candidate]) -> None:
        values = [_score_of(candidate, self._of(candidate), screen.score) for candidate in candidates]
        if is_constant(values):
            note = f"{screen.score} is {_shown(screen.score, values[0])} for all {len(values)} candidates, so it screens none of them"
            log.warning(note)
            self._tell(note, len(values), len(values))
            return
        for candidate, reason in zip(candidates, screened(values, screen), strict=True):
            if reason is not None:
                self._reasons[params_key(candidate.params)] = reason

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
    best = max(1, math.ceil(round(screen.keep * len(values), 9)))  # 0.7 · 10 is a little more than 7
    ranked = sorted(values, reverse=screen.maximize)
    needed = ranked[best - 1] if values else 0.0
    return [
        None
        if (value >= needed if screen.maximize else value <= needed)
        else f"screened: {screen.score} {_shown(screen.score, value)} is not among the best {best} of {len(values)} "
        f"(needs {_shown(screen.score, needed)})"
        for value in values
    ]


def check_premeasuring(config: StudyConfig, feasible: int) -> None:
    """ValueError when more candidates would have to be measured than is sensible."""
    what = ", ".join([*config.scores, *([] if config.latency_setting is None else ["latency"])])
    if feasible <= MAX_MEASURED or not what:
        return
    raise ValueError(
        f"{feasible:,} feasible candidates are too many to measure {what} of each before training (at most {MAX_MEASURED:,}); "
        "narrow the domains, set a --target or a --limit, or leave out these objectives and the screen"
    )


def _score_of(candidate: Candidate, measured: Mapping[str, float], score: str) -> float:
    return float(getattr(candidate.cost, score)) if score in COST_METRICS else measured[score]


def _shown(score: str, value: float) -> str:
    return format_quantity(value) if score in COST_METRICS else f"{value:.6g}"
