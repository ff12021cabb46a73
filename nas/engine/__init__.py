"""Where trials run: in this process, or on the workers of a Ray cluster; an engine returns when the driver lacks nothing."""

from collections.abc import Callable, Mapping

from nas.driver import Driver
from nas.job import Evaluator

Engine = Callable[[Driver, int, Evaluator], None]


def _local(driver: Driver, workers: int, evaluate: Evaluator) -> None:
    from nas.engine.local import run_local

    run_local(driver, evaluate)


def _ray(driver: Driver, workers: int, evaluate: Evaluator) -> None:
    from nas.engine.ray_tune import run_ray

    run_ray(driver, workers, evaluate)


ENGINES: Mapping[str, Engine] = {"local": _local, "ray": _ray}
