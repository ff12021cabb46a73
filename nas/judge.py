"""What becomes of a trial by what it has reported: it goes on, waits at a rung, or has ended."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from nas.config import StudyConfig
from nas.job import Step
from nas.rungs import Rungs, epochs_of
from studies.records import Report, Trial, TrialState


@dataclass(frozen=True, slots=True)
class Verdict:
    """The state that a trial comes into, RUNNING as long as it goes on, and why."""

    state: TrialState
    reason: str | None = None

    @property
    def goes_on(self) -> bool:
        """Whether the trial goes on with its next epoch."""
        return self.state is TrialState.RUNNING


GOES_ON = Verdict(TrialState.RUNNING)


class Judge:
    """Decides by a study's objectives and, with early stopping, by its rungs, which hold what it is told of; writes nothing."""

    def __init__(self, config: StudyConfig) -> None:
        self._config = config
        self._rungs: Rungs | None = None
        if config.halving is not None:
            self._rungs = Rungs(config.halving, config.proxy.epochs, config.objectives, config.require)

    @property
    def stops_early(self) -> bool:
        """Whether trials may end before their last epoch, by what all have reported."""
        return self._rungs is not None

    def learn(self, trial: Trial, reports: Iterable[Report]) -> None:
        """Take in what a trial has reported, here or elsewhere."""
        if self._rungs is not None:
            for report in reports:
                self._rungs.add(trial, report)

    def learn_all(self, trials: Iterable[Trial], reports: Mapping[int, Iterable[Report]]) -> None:
        """Take in what trials have reported, by their number."""
        for trial in trials:
            self.learn(trial, reports.get(trial.number, ()))

    def of_step(self, trial: Trial, step: Step) -> Verdict:
        """After a step that brought something new; `trial` has its metrics."""
        if step.state is TrialState.COMPLETE:
            return self._of_complete(trial)
        return self._at_rung(trial) if step.state is None else Verdict(step.state, step.reason)

    def of_stored(self, trial: Trial) -> Verdict:
        """After the last report of a trial whose driver died before it could decide, or could write what it had."""
        if not self._config.trains or epochs_of(trial) == 0:
            return GOES_ON
        return self._of_complete(trial) if epochs_of(trial) >= self._config.proxy.epochs else self._at_rung(trial)

    def promotable(self, paused: Mapping[int, Trial]) -> Trial | None:
        """The trial to promote next among those that wait at rungs, if one has earned it by now."""
        return None if self._rungs is None else self._rungs.promotable(paused)

    def of_left_behind(self, trial: Trial) -> Verdict:
        """When the study ends while a trial waits at a rung."""
        assert self._rungs is not None, "trials wait at rungs only"
        return Verdict(TrialState.PRUNED, self._rungs.place(trial.number, epochs_of(trial)))

    def _of_complete(self, trial: Trial) -> Verdict:
        """A trial that lacks an objective has failed, whatever its worker says."""
        if lacking := [objective.metric for objective in self._config.objectives if trial.value(objective.metric) is None]:
            return Verdict(TrialState.FAILED, f"no {', no '.join(lacking)} was reported")
        return Verdict(TrialState.COMPLETE)

    def _at_rung(self, trial: Trial) -> Verdict:
        milestone = epochs_of(trial)
        if self._rungs is None or not self._rungs.add(trial, Report(milestone, trial.metrics)):
            return GOES_ON
        if self._rungs.goes_on(trial.number, milestone):
            return GOES_ON
        if self._config.halving is not None and self._config.halving.mode == "promote":
            return Verdict(TrialState.PAUSED)
        return Verdict(TrialState.PRUNED, self._rungs.place(trial.number, milestone))
