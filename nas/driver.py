"""One search as its engine sees it: the next trial to train, and what becomes of it.

Engines differ in where a trial runs; what is asked, recorded, stopped early and taken up again is decided here, once.
"""

import logging
import time
from collections import Counter
from collections.abc import Sequence

from nas.attempts import AttemptFolders
from nas.budget import Budget
from nas.config import StudyConfig
from nas.job import Job, Step
from nas.judge import GOES_ON, Judge, Verdict
from nas.kept_weights import KeptWeights
from nas.ledger import Ledger
from nas.memory_turns import MemoryTurns
from nas.neighbours import LISTEN_S, Neighbours
from nas.pace import Pace
from nas.premeasure import Plan
from nas.progress_record import Listener, Progress
from nas.reuse import Reuse, Reused
from nas.roster import UNLIMITED, Roster, wanted_trials
from nas.rungs import epochs_of
from nas.samplers import Sampler
from nas.spending import Spending
from nas.trial_writer import TrialWriter
from searchspace.model_config import ModelConfig
from studies.fidelity import fidelity_text
from studies.records import TRAINED, Lease, Report, StudyRecord, Trial, TrialState
from studies.seeds import averaged
from studies.store import Store

NEARLY = 8  # so few trials before the end, other drivers are asked for their news before each new one
log = logging.getLogger(__name__)


class Driver:
    """Feeds an engine with the trials that a study still lacks, within its budget, and records what comes back.

    `checkpoints` is the folder below which trainings leave their state, if any; a training of one epoch has none to leave. With
    `state_share` they spend about this part of their time on it, where none waits at a rung for its state, else after each epoch.
    """

    def __init__(
        self,
        store: Store,
        study: StudyRecord,
        config: StudyConfig,
        plan: Plan,
        *,
        lease: Lease,
        ledger: Ledger,
        budget: Budget = UNLIMITED,
        reuse: Reuse | None = None,
        listener: Listener | None = None,
        weights: KeptWeights | None = None,
        checkpoints: str | None = None,
        state_share: float | None = None,
    ) -> None:
        self._store, self.study, self.config, self._plan, self._lease = store, study, config, plan, lease
        self._reuse, self._listener, self._weights, self.ledger = reuse, listener, weights, ledger
        self._state_share = None if config.halving is not None and config.halving.mode == "promote" else state_share
        self._folders = None if checkpoints is None or config.proxy.epochs == 1 else AttemptFolders(checkpoints, study)
        self._writer = TrialWriter(store, study, config, lease, self._folders)
        self._neighbours = Neighbours(store, study, lease)
        self._spending = Spending(store, study, lease, budget, ledger)
        self._judge = Judge(config)
        self._roster = Roster(config, plan.feasible, wanted_trials(config, budget, len(plan.feasible)))
        self._pace = Pace(config.proxy.epochs)
        self._turns = MemoryTurns()
        self.interrupted = False
        self._running: dict[int, Trial] = {}
        self._losses: Counter[int] = Counter()
        self._exhausted = False
        self._last: Trial | None = None
        with ledger.time("sampling"):
            standing = self._take_over_study()
            self.sampler = Sampler(config, plan.feasible, standing, trials=self._roster.candidates, premeasured=plan.values)

    def _take_over_study(self) -> Sequence[Trial]:
        """Learn all that is stored of the study, and put in order what a killed driver left; returns what stands for each candidate."""
        self._store.reclaim(self.study, self._lease)
        self._roster.put_all(self._writer.record_rejected(self._plan))
        self._judge.learn_all(self._roster.all, self._store.reports(self.study) if self._judge.stops_early else {})
        stored = self._roster.all
        if self._weights is not None:
            self._weights.resume([trial for trial in stored if trial.state is not TrialState.RUNNING])  # those are another driver's
        if self._folders is not None:
            self._folders.sweep(trial.number for trial in stored if trial.state.finished)
        standing = averaged(stored, seeds=self.config.seeds)
        self._spending.found(standing)
        return standing

    @property
    def running(self) -> int:
        """How many trials are being trained for this driver now."""
        return len(self._running)

    @property
    def over(self) -> bool:
        """Whether nothing runs here any more and nothing is left to begin."""
        return not self._running and self._why_ended() is not None

    @property
    def spent(self) -> str | None:
        """Which limit of the budget, trials aside, lets nothing new start, in words."""
        return self._spending.why_ended()

    @property
    def finished(self) -> tuple[Trial, ...]:
        """The trained trials, pruned and failed ones among them."""
        return self._roster.trained

    def next_trial(self, *, worker: str | None = None) -> Trial | None:
        """A trial to train now, marked as running: first one that was begun before, then one to promote, then a new one.

        None when nothing is left to begin, and while a trial that needs the machine to itself runs or waits for the others to end.
        """
        self._check_interrupt()
        self._spending.flush(at_once=False)
        self._hear()
        if self._turns.holds_back(self._running) or self._spending.why_ended() is not None:
            return None
        trial = self._begin_again(worker) or self._begin_new(worker)
        if trial is not None:
            self.notify()
        return trial

    def job(self, trial: Trial) -> Job:
        """What a worker needs to train `trial`."""
        assert trial.model is not None, "a trial without an architecture is never queued"
        return Job(
            model=ModelConfig.from_dict(trial.model),
            proxy=self.config.proxy,
            seed=trial.seed,
            weights=None if self._weights is None else self._weights.file(trial.number),
            checkpoints=trial.checkpoint,
            state_share=self._state_share,
        )

    def record(self, trial: Trial, step: Step) -> bool:
        """Store what a worker's step brought: a report, the end of the trial, or both; whether the trial goes on here."""
        running = self._running.get(trial.number)
        if running is None:  # another driver has it now
            return False
        self.ledger.step(trial.number, step.spent, epoch=None if step.result is None else step.result.epoch)
        if step.result is None or step.result.epoch > epochs_of(running):  # or it repeats what an earlier attempt has reported
            self._take_in(running, step)
        self._spending.flush(at_once=False)
        self.notify()
        self._check_interrupt()
        return trial.number in self._running

    def lost(self, trial: Trial, reason: str, *, retries: int) -> None:
        """A worker died under a trial, which goes back to the queue, `retries` times at most."""
        if (running := self._running.get(trial.number)) is None:
            return
        self._losses[trial.number] += 1
        if (losses := self._losses[trial.number]) > retries:
            self._leave(running, Verdict(TrialState.FAILED, f"the worker was lost {losses} times: {reason}"))
        else:
            log.warning("the worker of trial %d was lost, another one goes on with it: %s", trial.number, reason)
            self._leave(running, Verdict(TrialState.QUEUED))
        self.notify()

    def finds_more(self) -> bool:
        """Wait, with nothing left to begin, for trials of drivers that may have died: whether there is one to go on with."""
        while self.over and self._spending.why_ended() is None:
            self._check_interrupt()
            if not self._neighbours.may_be_dead({trial.driver for trial in self._roster.of(TrialState.RUNNING).values()}):
                return False
            time.sleep(LISTEN_S)
            self._hear(at_once=True)
        return not self.over

    def conclude(self) -> None:
        """Prune the trials that wait at a rung when all others have ended; as long as another driver's run, they may yet be promoted."""
        self._hear(at_once=True)
        if self.over and self._spending.why_ended() is None and not self._roster.count(TrialState.RUNNING, TrialState.QUEUED):
            for trial in tuple(self._roster.of(TrialState.PAUSED).values()):
                self._leave(trial, self._judge.of_left_behind(trial))
        self.notify()

    def progress(self) -> Progress:
        """Where the search stands now."""
        running = tuple(self._running.values())
        return Progress(
            study=self.study.name,
            proxy=fidelity_text([self.config.fidelity()]),
            done=self._roster.count(*TRAINED),
            running=running,
            total=self._roster.total,
            failed=self._roster.count(TrialState.FAILED),
            best=self._roster.best,
            last=self._last,
            seconds_left=self._pace.seconds_left(self._roster.missing, running),
            paused=self._roster.count(TrialState.PAUSED),
            ended=self._why_ended(),
            sampler=f"{self.sampler.name}: {self.sampler.why}",
            seeds=self.config.seeds,
        )

    def notify(self) -> None:
        """Tell the listener where the search stands."""
        if self._listener is not None:
            self._listener(self.progress())

    def stop(self) -> None:
        """Put what is still running here back in the queue, for the next run of the same search."""
        for number in self._running:
            self.ledger.ended(number, None)
        self._running.clear()
        self._store.requeue_running(self.study, driver=self._lease.id)
        self._spending.flush()

    def _check_interrupt(self) -> None:
        if self.interrupted:
            raise KeyboardInterrupt

    def _why_ended(self) -> str | None:
        """Why nothing more is begun, in words; None while there is something."""
        if (why := self._spending.why_ended()) is not None:
            return why
        if self._waiting() is not None or (self._roster.missing and not self._exhausted):
            return None
        others = self._roster.count(TrialState.RUNNING) - len(self._running)
        return f"{self._roster.why_complete}; other drivers are training {others} of them" if others else self._roster.why_complete

    def _waiting(self) -> Trial | None:
        """The trial to go on with before a new one is begun."""
        queued = self._turns.first(self._roster.of(TrialState.QUEUED)) if self._roster.missing else None
        return queued or self._judge.promotable(self._roster.of(TrialState.PAUSED))

    def _begin_again(self, worker: str | None) -> Trial | None:
        """A trial that was begun before."""
        while (trial := self._waiting()) is not None:
            verdict = self._judge.of_stored(trial) if trial.state is TrialState.QUEUED else GOES_ON
            begun = self._writer.begin_again(trial, worker=worker, decided=not verdict.goes_on)
            if begun is None:  # another driver was faster
                self._notice(self._store.trial(self.study, trial.number))
                continue
            if verdict.goes_on:
                self._turns.begun(trial.number)
                return self._begun(begun, reported=epochs_of(trial))
            self._leave(begun, verdict)  # its driver died between the report and what it decides
        return None

    def _begin_new(self, worker: str | None) -> Trial | None:
        """A new trial that has to be trained; on the way there those of which the results are known from other studies."""
        while self._roster.missing and self._spending.why_ended() is None:
            self._hear(at_once=self._roster.missing <= NEARLY)
            with self.ledger.time("sampling"):
                chosen = self._roster.seeding.next(self.sampler.ask)
            if chosen is None:
                self._exhausted = True
                return None
            candidate, seed = chosen
            trial = self._writer.begin_new(candidate, self._plan, seed=seed, worker=worker)
            reused = None if self._reuse is None or trial is None else self._reuse.of(candidate, seed=seed)
            if trial is None:  # another driver has it, and others maybe
                self.sampler.take(candidate.params)
                self._roster.seeding.take(candidate.params, seed)
                self._hear(at_once=True)
            elif reused is not None:
                self._take_over_results(trial, reused)
            else:
                return self._begun(trial)
        return None

    def _begun(self, trial: Trial, *, reported: int = 0) -> Trial:
        """Note that a trial runs here now; `reported` is the last epoch that an earlier attempt reported."""
        self._running[trial.number] = trial
        self._roster.put(trial)
        self.ledger.started(trial.number, epoch=reported)
        self._pace.begin()
        return trial

    def _take_over_results(self, trial: Trial, reused: Reused) -> None:
        """Let a trial have the results of another study's instead of training it."""
        self._roster.put(trial)
        *earlier, last = reused.reports
        for report in earlier:
            self._writer.report(self._writer.measured(trial, report, {**reused.fidelity, "epochs": report.step}), report)
        self._judge.learn(trial, reused.reports)
        measured = self._writer.measured(trial, last, reused.fidelity)
        self._leave(measured, Verdict(TrialState.COMPLETE, f"taken over from {reused.origin}"), last=last, trained=False)

    def _take_in(self, running: Trial, step: Step) -> None:
        """Store what is new of a running trial, and let it go where it may not go on."""
        report = None
        if (result := step.result) is not None:
            report = Report(result.epoch, result.metrics)
            running = self._writer.measured(running, report, result.fidelity)
            self._pace.step()
        verdict = self._verdict(running, step)
        if verdict.state.finished:
            self._leave(running, verdict, last=report)
            return
        if report is not None and not self._writer.report(running, report):
            self._notice(self._store.trial(self.study, running.number))
            return
        self._running[running.number] = running
        if not verdict.goes_on:
            self._leave(running, verdict)

    def _verdict(self, running: Trial, step: Step) -> Verdict:
        """What becomes of a running trial: as its reports say, unless it must wait for memory, or for the next run."""
        verdict = self._judge.of_step(running, step)
        if verdict.state is TrialState.INFEASIBLE and self._turns.wants_one(running.number, self._running):
            log.warning("trial %d is trained again alone: %s", running.number, verdict.reason)
            return Verdict(TrialState.QUEUED)
        return Verdict(TrialState.QUEUED) if verdict.goes_on and self._spending.out_of_time else verdict

    def _leave(self, trial: Trial, verdict: Verdict, *, last: Report | None = None, trained: bool = True) -> None:
        """Let a trial come to rest: finished, with its last report if that is not stored yet, at a rung or in the queue."""
        left = self._writer.leave(trial, verdict, last=last)
        if left is None:
            self._notice(self._store.trial(self.study, trial.number))
            return
        if self._running.pop(trial.number, None) is not None:
            self.ledger.ended(trial.number, None if left.state is TrialState.QUEUED else left.state)
        elif left.state is TrialState.PRUNED:
            self.ledger.pruned(trial.number)
        self._roster.put(left)
        if left.state.finished:
            self._settle(left, trained=trained)

    def _tell(self, ended: Trial) -> None:
        """Let sampler and budget know how a trial ended, here or elsewhere; of several seeds once the candidate's last one has."""
        if (result := self._roster.seeding.result(ended)) is None:
            self.sampler.take(ended.params)
        else:
            self._spending.found([result])
            self.sampler.tell(result)

    def _settle(self, ended: Trial, *, trained: bool) -> None:
        """Put in order what a trial of ours leaves behind; one that was not trained here left no weights."""
        self._tell(ended)
        self._last = ended
        if ended.state is TrialState.FAILED:
            log.warning("trial %d failed: %s", ended.number, ended.reason)
        if self._weights is not None:
            if trained and ended.state is TrialState.COMPLETE:
                self._weights.record(ended)
            self._weights.settle(ended, self._roster.trained if self.config.seeds == 1 else self._roster.all)
        if self._folders is not None:
            self._folders.discard(ended.number)

    def _hear(self, *, at_once: bool = False) -> None:
        """Take in what other drivers of the study have written."""
        news = [trial for trial in self._neighbours.news(at_once=at_once) if trial != self._roster.get(trial.number)]
        others = [trial for trial in news if trial.number not in self._running and epochs_of(trial)]
        self._judge.learn_all(others, self._store.reports(self.study) if others and self._judge.stops_early else {})
        for trial in news:
            self._notice(trial)

    def _notice(self, trial: Trial) -> None:
        """Take in how a trial stands, which others may have begun, ended or taken over."""
        if trial.number in self._running:
            if trial.driver == self._lease.id and trial.state is TrialState.RUNNING:
                return
            log.warning("trial %d has been taken over by another driver", trial.number)  # this one was cut off for longer than its lease
            del self._running[trial.number]
            self.ledger.ended(trial.number, None)
        before = self._roster.get(trial.number)
        if before is not None and before.state.finished:
            return
        self._roster.put(trial)
        if trial.state.finished:
            self._tell(trial)
        elif before is None:
            self.sampler.take(trial.params)
