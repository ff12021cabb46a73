"""The search in this process, one trial after another, without Ray."""

import logging

from nas.driver import Driver
from nas.engine.interrupts import interruptible
from nas.job import Evaluator, Execution, Run, Step
from nas.step_limit import HungStepError
from studies.records import TrialState

log = logging.getLogger(__name__)


def run_local(driver: Driver, evaluate: Evaluator, how: Execution) -> None:
    """Train what the driver lacks."""
    with interruptible(driver):
        while (trial := driver.next_trial(worker="local")) is not None:
            run = Run(driver.job(trial), evaluate, step_timeout=how.step_timeout)
            try:
                while driver.record(trial, _step(run)):
                    pass
            finally:
                run.close()


def _step(run: Run) -> Step:
    """The next step; one that hangs ends the trial, but not what it hangs in."""
    try:
        return run.step()
    except HungStepError as error:
        log.warning("a step that hangs is left behind in this process, with the memory and the processors that it holds: %s", error)
        return Step(state=TrialState.FAILED, reason=str(error))
