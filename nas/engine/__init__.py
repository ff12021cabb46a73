"""Where trials run: in this process, or on the workers of a Ray cluster; an engine returns when the driver lacks nothing.

A study of which everything is known before training needs no engine.
"""

from collections.abc import Callable, Mapping

from nas.config import StudyConfig
from nas.driver import Driver
from nas.job import Evaluator, Execution, Step
from nas.packing import Slots
from studies.records import TrialState

Engine = Callable[[Driver, Slots, Evaluator, Execution], None]


def _local(driver: Driver, slots: Slots, evaluate: Evaluator, how: Execution) -> None:
    from nas.engine.local import run_local

    run_local(driver, evaluate, how)


def _ray(driver: Driver, slots: Slots, evaluate: Evaluator, how: Execution) -> None:
    from nas.engine.ray_tune import run_ray

    run_ray(driver, slots, evaluate, how)


def _untrained(driver: Driver, slots: Slots, evaluate: Evaluator, how: Execution) -> None:
    while (trial := driver.next_trial()) is not None:
        driver.record(trial, Step(state=TrialState.COMPLETE))


def run(engine: str, driver: Driver, slots: Slots, evaluate: Evaluator, how: Execution) -> None:
    """Let the driver's trials be trained by the named engine, or end them at once where no objective asks for a training."""
    train = ENGINES[engine] if driver.config.trains else _untrained
    train(driver, slots, evaluate, how)
    while driver.finds_more():
        train(driver, slots, evaluate, how)
    driver.conclude()


def check_cluster(config: StudyConfig, slots: Slots, how: Execution) -> None:
    """NasError where the cluster that trials are to be trained on cannot be reached, or has no room for one."""
    if how.ray_address is not None and config.trains:
        from nas.engine.cluster import check_joinable

        check_joinable(slots, how.ray_address)


ENGINES: Mapping[str, Engine] = {"local": _local, "ray": _ray}
