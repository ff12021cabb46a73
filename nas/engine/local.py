"""The search in this process, one trial after another, without Ray."""

from nas.driver import Driver
from nas.job import Evaluator, Run


def run_local(driver: Driver, evaluate: Evaluator) -> None:
    """Train what the driver lacks."""
    while (trial := driver.next_trial(worker="local")) is not None:
        run, ended = Run(driver.job(trial), evaluate), False
        while not ended:
            step = run.step()
            driver.record(trial, step)
            ended = step.state is not None
