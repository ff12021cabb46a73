"""Every change of a study's trials under one driver's lease, each giving the trial as it stands then, or None where it is another's."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from nas.attempts import AttemptFolders
from nas.config import StudyConfig
from nas.judge import Verdict
from nas.premeasure import Plan
from nas.samplers import params_key
from searchspace.space import Candidate
from studies.records import Lease, NewTrial, Report, StudyRecord, Trial, TrialState
from studies.store import Store, Taken

BEGUN_AGAIN: dict[str, Any] = {"metrics": {}, "fidelity": {}, "checkpoint": None}


class TrialWriter:
    """Writes what becomes of trials; `folders` is where their trainings leave their state, if they do."""

    def __init__(self, store: Store, study: StudyRecord, config: StudyConfig, lease: Lease, folders: AttemptFolders | None) -> None:
        self._store, self._study, self._config, self._lease, self._folders = store, study, config, lease, folders

    def record_rejected(self, plan: Plan) -> Sequence[Trial]:
        """Store the candidates that must not be trained, each with its reason, once; returns all stored trials."""
        stored = self._store.trials(self._study)
        known = {params_key(trial.params) for trial in stored} if plan.rejected else set()
        rejected = [candidate for candidate in plan.rejected if params_key(candidate.params) not in known]
        new = [self._new(candidate, plan, self._config.seed) for candidate in rejected]
        try:
            return [*stored, *self._store.add(self._study, new)] if new else stored
        except Taken:  # another driver has just stored the last one
            return self._store.trials(self._study)

    def begin_new(self, candidate: Candidate, plan: Plan, *, seed: int, worker: str | None) -> Trial | None:
        """A new trial, running under this lease; None when the study has this candidate with this seed already."""
        try:
            [trial] = self._store.add(self._study, [self._new(candidate, plan, seed)], driver=self._lease.id, worker=worker)
        except Taken:
            return None
        return self._in_folder(trial)

    def begin_again(self, trial: Trial, *, worker: str | None, decided: bool = False) -> Trial | None:
        """A waiting trial, running under this lease, from the state that it left; what it reported is forgotten if it left none.

        It stays where it has `decided` what becomes of the trial, and with early stopping: the trial and others have been judged by it, so
        that epochs that must be repeated count for nothing.
        """
        fresh = trial.checkpoint is None and self._config.halving is None and not decided
        if not self._store.start(trial, worker=worker, driver=self._lease.id, fresh=fresh):
            return None
        held: dict[str, Any] = {"state": TrialState.RUNNING, "worker": worker, "driver": self._lease.id, "reason": None}
        return self._in_folder(replace(trial, attempts=trial.attempts + 1, **held, **(BEGUN_AGAIN if fresh else {})))

    def measured(self, trial: Trial, report: Report, fidelity: Mapping[str, Any]) -> Trial:
        """The trial with the metrics of one more epoch, not stored yet."""
        return replace(trial, metrics=report.metrics, fidelity={**fidelity, **self._config.latency_fidelity})

    def report(self, measured: Trial, report: Report) -> bool:
        """Store a report by which a trial has been measured; whether it is still ours."""
        return self._store.report(measured, report, fidelity=measured.fidelity, driver=self._lease.id)

    def leave(self, trial: Trial, verdict: Verdict, *, last: Report | None = None) -> Trial | None:
        """The trial at rest: finished, with its last report if that is not stored yet, or waiting."""
        state, fidelity = verdict.state, trial.fidelity if self._config.trains else self._config.fidelity()
        driver = self._lease.id
        if state is TrialState.PAUSED:
            stored = self._store.pause(trial, driver=driver)
        elif state is TrialState.QUEUED:
            stored = self._store.requeue(trial, driver=driver)
        else:
            stored = self._store.finish(trial, state, reason=verdict.reason, fidelity=fidelity, last=last, driver=driver)
        return replace(trial, state=state, reason=verdict.reason, fidelity=fidelity, worker=None, driver=None) if stored else None

    def _in_folder(self, trial: Trial) -> Trial:
        """The trial with the folder of this attempt, in which its training goes on."""
        if self._folders is None:
            return trial
        folder = self._folders.of(trial)
        self._store.set_checkpoint(trial, folder, driver=self._lease.id)
        return replace(trial, checkpoint=folder)

    def _new(self, candidate: Candidate, plan: Plan, seed: int) -> NewTrial:
        return NewTrial(
            params=dict(candidate.params),
            seed=seed,
            state=TrialState.QUEUED if candidate.feasible else TrialState.INFEASIBLE,
            model=candidate.config.to_dict() if candidate.config else None,
            cost=self._cost(candidate),
            premeasured=plan.premeasured(candidate),
            reason=candidate.reason,
        )

    def _cost(self, candidate: Candidate) -> dict[str, int]:
        if candidate.config is None or candidate.cost is None:
            return {}
        memory = {"memory": self._config.space.memory(candidate.config)} if self._config.counts_memory else {}
        return {**asdict(candidate.cost), **memory}
