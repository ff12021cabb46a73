"""One search as its engine sees it: the next trial to train, and what becomes of it; the only writer of the store.

Engines differ in where a trial runs; what is asked, recorded and resumed is decided here, once.
"""

import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from nas.config import StudyConfig
from nas.job import Job, Step, weights_file
from nas.sampler import Sampler, params_key
from searchspace.model_config import ModelConfig
from searchspace.space import Candidate
from studies.fidelity import fidelity_text
from studies.records import TRAINED, NewTrial, Report, StudyRecord, Trial, TrialState
from studies.store import Store

DEFAULT_MAX_TRIALS = 64
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a search stands; `best` is the best trial so far in the first objective, `seconds_left` an estimate or None."""

    study: str
    proxy: str
    done: int
    running: tuple[Trial, ...]
    total: int
    failed: int
    best: Trial | None
    last: Trial | None
    seconds_left: float | None


Listener = Callable[[Progress], None]


class Driver:
    """Feeds an engine with the trials that a study still lacks and records what comes back."""

    def __init__(
        self,
        store: Store,
        study: StudyRecord,
        config: StudyConfig,
        *,
        trials: int | None = None,
        listener: Listener | None = None,
        weights: Path | None = None,
    ) -> None:
        self._store, self.study, self.config = store, study, config
        self._listener = listener
        self._weights = weights
        self.interrupted = False
        store.requeue_running(study)
        candidates = config.space.enumerate()
        feasible = [candidate for candidate in candidates if candidate.feasible]
        stored = self._record_infeasible(candidates)
        self._wanted = DEFAULT_MAX_TRIALS if trials is None else trials
        self._trainable = len(feasible) - sum(_ran_out_of_memory(trial) for trial in stored)
        self._sampler = Sampler(config, feasible, stored, trials=self._wanted)
        self._queue = deque(trial for trial in stored if trial.state is TrialState.QUEUED)
        self._finished = [trial for trial in stored if trial.state in TRAINED]
        self._running: dict[int, Trial] = {}
        self._started_at: float | None = None
        self._epochs_seen = 0
        self._last: Trial | None = None

    @property
    def total(self) -> int:
        """How many trained trials the study shall have: as many as asked for, or as can be."""
        return min(self._trainable, self._wanted)

    @property
    def missing(self) -> int:
        """How many trained trials the study still lacks, running ones counted as there."""
        return max(0, self.total - len(self._finished) - len(self._running))

    @property
    def running(self) -> int:
        """How many trials are being trained now."""
        return len(self._running)

    @property
    def finished(self) -> tuple[Trial, ...]:
        """The trained trials, failed ones among them."""
        return tuple(self._finished)

    def next_trial(self, *, worker: str | None = None) -> Trial | None:
        """A trial to train now, marked as running: first one that an earlier run left, then a new one; None when nothing is missing."""
        self._check_interrupt()
        if self.missing == 0:
            return None
        trial = self._queue.popleft() if self._queue else self._new_trial()
        if trial is None:
            return None
        self._store.start(trial, worker=worker)
        self._started_at = self._started_at or time.monotonic()
        self._running[trial.number] = replace(trial, state=TrialState.RUNNING, worker=worker, metrics={}, fidelity={}, reason=None)
        self.notify()
        return trial

    def job(self, trial: Trial) -> Job:
        """What a worker needs to train `trial`."""
        assert trial.model is not None, "a trial without an architecture is never queued"
        weights = None if self._weights is None else self._weights / weights_file(self.study.name, trial.number)
        return Job(model=ModelConfig.from_dict(trial.model), proxy=self.config.proxy, seed=trial.seed, weights=weights)

    def record(self, trial: Trial, step: Step) -> None:
        """Store what a worker's step brought: a report, the end of the trial, or both."""
        if step.result is not None:
            report = Report(step.result.epoch, step.result.metrics)
            self._store.report(trial, report, fidelity=step.result.fidelity)
            self._epochs_seen += 1
            self._running[trial.number] = replace(self._running[trial.number], metrics=report.metrics, fidelity=step.result.fidelity)
        if step.state is not None:
            state, reason = self._checked(trial, step)
            self._finish(trial, state, reason)
        self.notify()
        self._check_interrupt()

    def progress(self) -> Progress:
        """Where the search stands now."""
        failed = sum(trial.state is TrialState.FAILED for trial in self._finished)
        running = tuple(self._running.values())
        proxy = fidelity_text([self.config.proxy.fidelity(epochs=self.config.proxy.epochs, seed=self.config.seed)])
        return Progress(
            self.study.name, proxy, len(self._finished), running, self.total, failed, self._best(), self._last, self._seconds_left()
        )

    def stop(self) -> None:
        """Put what is still running back in the queue, for the next run of the same search."""
        self._running.clear()
        self._store.requeue_running(self.study)

    def _check_interrupt(self) -> None:
        if self.interrupted:
            raise KeyboardInterrupt

    def _checked(self, trial: Trial, step: Step) -> tuple[TrialState, str | None]:
        """The state of an ended trial; one that lacks an objective has failed, whatever its worker says."""
        assert step.state is not None, "a trial without a state has not ended"
        measured = self._running[trial.number]
        lacking = [objective.metric for objective in self.config.objectives if measured.value(objective.metric) is None]
        if step.state is TrialState.COMPLETE and lacking:
            return TrialState.FAILED, f"no {', no '.join(lacking)} was reported"
        return step.state, step.reason

    def _finish(self, trial: Trial, state: TrialState, reason: str | None) -> None:
        self._store.finish(trial, state, reason=reason)
        finished = replace(self._running.pop(trial.number), state=state, reason=reason)
        if state is TrialState.FAILED:
            log.warning("trial %d failed: %s", trial.number, reason)
        if state in TRAINED:
            self._finished.append(finished)
        else:
            self._trainable -= 1
        self._last = finished
        self._sampler.tell(finished)

    def _new_trial(self) -> Trial | None:
        candidate = self._sampler.ask()
        if candidate is None:
            return None
        return self._store.add(self.study, [_new(candidate, self.config.seed)])[0]

    def _record_infeasible(self, candidates: list[Candidate]) -> list[Trial]:
        """Store the candidates that must not be trained, each with its reason, once; returns all stored trials."""
        stored = self._store.trials(self.study)
        known = {params_key(trial.params) for trial in stored}
        new = [candidate for candidate in candidates if not candidate.feasible and params_key(candidate.params) not in known]
        return stored + self._store.add(self.study, [_new(candidate, self.config.seed) for candidate in new])

    def notify(self) -> None:
        """Tell the listener where the search stands."""
        if self._listener is not None:
            self._listener(self.progress())

    def _best(self) -> Trial | None:
        objective = self.config.objectives[0]
        complete = [trial for trial in self._finished if trial.state is TrialState.COMPLETE]
        sign = -1 if objective.direction == "maximize" else 1
        return min(complete, key=lambda trial: sign * trial.value(objective.metric), default=None)  # type: ignore[operator]  # all have one

    def _seconds_left(self) -> float | None:
        """The epochs still to come at the rate of this run so far."""
        if self._epochs_seen == 0 or self._started_at is None:
            return None
        epochs = self.config.proxy.epochs
        begun = sum(int(trial.fidelity.get("epochs", 0)) for trial in self._running.values())
        left = (self.missing + len(self._running)) * epochs - begun
        return left * (time.monotonic() - self._started_at) / self._epochs_seen


def _ran_out_of_memory(trial: Trial) -> bool:
    """Whether a trial was found infeasible by training it, not by its cost."""
    return trial.state is TrialState.INFEASIBLE and trial.started_at is not None


def _new(candidate: Candidate, seed: int) -> NewTrial:
    return NewTrial(
        params=dict(candidate.params),
        seed=seed,
        state=TrialState.QUEUED if candidate.feasible else TrialState.INFEASIBLE,
        model=candidate.config.to_dict() if candidate.config else None,
        cost=asdict(candidate.cost) if candidate.cost else {},
        reason=candidate.reason,
    )
