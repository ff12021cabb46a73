"""One search as its engine sees it: the next trial to train, and what becomes of it; the only writer of the store.

Engines differ in where a trial runs; what is asked, recorded and resumed is decided here, once.
"""

import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from nas.config import StudyConfig
from nas.job import Job, Step
from nas.kept_weights import KeptWeights
from nas.sampler import Sampler, params_key
from searchspace.model_config import ModelConfig
from searchspace.space import Candidate
from studies.fidelity import fidelity_text
from studies.records import TRAINED, NewTrial, Report, StudyRecord, Trial, TrialState
from studies.store import Store

if TYPE_CHECKING:
    from nas.premeasure import Plan

DEFAULT_MAX_TRIALS = 64
DEFAULT_MAX_UNTRAINED = 2000
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a search stands; `best` is the best trial so far in the first objective, `seconds_left` an estimate or None.

    `stage` says what happens before the first trial; `done` and `total` then count candidates.
    """

    study: str
    proxy: str
    done: int
    running: tuple[Trial, ...]
    total: int
    failed: int
    best: Trial | None
    last: Trial | None
    seconds_left: float | None
    stage: str | None = None


Listener = Callable[[Progress], None]


class Driver:
    """Feeds an engine with the trials that a study still lacks and records what comes back."""

    def __init__(
        self,
        store: Store,
        study: StudyRecord,
        config: StudyConfig,
        plan: "Plan",
        *,
        trials: int | None = None,
        listener: Listener | None = None,
        weights: KeptWeights | None = None,
    ) -> None:
        self._store, self.study, self.config, self._plan = store, study, config, plan
        self._listener = listener
        self._weights = weights
        self.interrupted = False
        store.requeue_running(study)
        feasible = [candidate for candidate in plan.candidates if candidate.feasible]
        stored = self._record_infeasible()
        if weights is not None:
            weights.resume(stored)
        self._wanted = _default_trials(config, len(feasible)) if trials is None else trials
        keys = {params_key(candidate.params) for candidate in feasible}
        found_infeasible = [trial for trial in stored if trial.state is TrialState.INFEASIBLE and params_key(trial.params) in keys]
        self._trainable = len(feasible) - len(found_infeasible)  # these ran out of memory
        self._sampler = Sampler(config, feasible, stored, trials=self._wanted)
        self._queue = deque(trial for trial in stored if trial.state is TrialState.QUEUED)
        self._finished = [trial for trial in stored if trial.state in TRAINED]
        self._running: dict[int, Trial] = {}
        self._alone: deque[Trial] = deque()  # ran out of memory beside others, and wait for the machine to themselves
        self._tried_alone: set[int] = set()
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
        """A trial to train now, marked as running: first one that an earlier run left, then a new one.

        None when nothing is missing, and while a trial that needs the machine to itself runs or waits for the others to end.
        """
        self._check_interrupt()
        if self.missing == 0 or (self._running and (self._alone or self._tried_alone & self._running.keys())):
            return None
        trial = self._waiting() or self._new_trial()
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
        weights = None if self._weights is None else self._weights.file(trial.number)
        return Job(model=ModelConfig.from_dict(trial.model), proxy=self.config.proxy, seed=trial.seed, weights=weights)

    def record(self, trial: Trial, step: Step) -> None:
        """Store what a worker's step brought: a report, the end of the trial, or both."""
        if step.result is not None:
            report = Report(step.result.epoch, step.result.metrics)
            fidelity = {**step.result.fidelity, **self.config.latency_fidelity}
            self._store.report(trial, report, fidelity=fidelity)
            self._epochs_seen += 1
            self._running[trial.number] = replace(self._running[trial.number], metrics=report.metrics, fidelity=fidelity)
        if step.state is TrialState.INFEASIBLE and len(self._running) > 1 and trial.number not in self._tried_alone:
            self._postpone(trial, step.reason)
        elif step.state is not None:
            state, reason = self._checked(trial, step)
            self._finish(trial, state, reason)
        self.notify()
        self._check_interrupt()

    def progress(self) -> Progress:
        """Where the search stands now."""
        failed = sum(trial.state is TrialState.FAILED for trial in self._finished)
        running = tuple(self._running.values())
        proxy = fidelity_text([self.config.fidelity()])
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

    def _waiting(self) -> Trial | None:
        """A trial that has been asked for before."""
        if self._alone:
            self._tried_alone.add(self._alone[0].number)
            return self._alone.popleft()
        return self._queue.popleft() if self._queue else None

    def _postpone(self, trial: Trial, reason: str | None) -> None:
        """Queue a trial that ran out of the memory that it shared with others, to be trained again without them."""
        log.warning("trial %d is trained again alone: %s", trial.number, reason)
        del self._running[trial.number]
        self._store.requeue(trial)
        self._alone.append(trial)

    def _checked(self, trial: Trial, step: Step) -> tuple[TrialState, str | None]:
        """The state of an ended trial; one that lacks an objective has failed, whatever its worker says."""
        assert step.state is not None, "a trial without a state has not ended"
        measured = self._running[trial.number]
        lacking = [objective.metric for objective in self.config.objectives if measured.value(objective.metric) is None]
        if step.state is TrialState.COMPLETE and lacking:
            return TrialState.FAILED, f"no {', no '.join(lacking)} was reported"
        return step.state, step.reason

    def _finish(self, trial: Trial, state: TrialState, reason: str | None) -> None:
        if self._weights is not None and state is TrialState.COMPLETE:
            self._weights.record(trial)
        fidelity = None if self.config.trains else self.config.fidelity()
        self._store.finish(trial, state, reason=reason, fidelity=fidelity)
        finished = replace(self._running.pop(trial.number), state=state, reason=reason)
        finished = finished if fidelity is None else replace(finished, fidelity=fidelity)
        if state is TrialState.FAILED:
            log.warning("trial %d failed: %s", trial.number, reason)
        if state in TRAINED:
            self._finished.append(finished)
        else:
            self._trainable -= 1
        self._last = finished
        self._sampler.tell(finished)
        if self._weights is not None:
            self._weights.settle(finished, self._finished)

    def _new_trial(self) -> Trial | None:
        candidate = self._sampler.ask()
        if candidate is None:
            return None
        return self._store.add(self.study, [self._new(candidate)])[0]

    def _record_infeasible(self) -> list[Trial]:
        """Store the candidates that must not be trained, each with its reason, once; returns all stored trials."""
        stored = self._store.trials(self.study)
        known = {params_key(trial.params) for trial in stored}
        new = [candidate for candidate in self._plan.candidates if not candidate.feasible and params_key(candidate.params) not in known]
        return stored + self._store.add(self.study, [self._new(candidate) for candidate in new])

    def _new(self, candidate: Candidate) -> NewTrial:
        return NewTrial(
            params=dict(candidate.params),
            seed=self.config.seed,
            state=TrialState.QUEUED if candidate.feasible else TrialState.INFEASIBLE,
            model=candidate.config.to_dict() if candidate.config else None,
            cost=asdict(candidate.cost) if candidate.cost else {},
            premeasured=self._plan.premeasured(candidate),
            reason=candidate.reason,
        )

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


def _default_trials(config: StudyConfig, feasible: int) -> int:
    """A trial that is not trained costs next to nothing, so that every candidate becomes one."""
    return DEFAULT_MAX_TRIALS if config.trains else min(feasible, DEFAULT_MAX_UNTRAINED)
