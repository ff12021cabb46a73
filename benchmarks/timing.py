"""Times of several functions, measured in turns so that a slow moment of the machine strikes all of them alike."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass

Run = Callable[[], object]
SAMPLE_SECONDS = 0.004  # short calls are repeated within a sample until their clock readings weigh little
MOST_CALLS = 200


@dataclass(frozen=True, slots=True)
class Timing:
    """Quartiles of the seconds that one call took."""

    median: float
    lower: float
    upper: float


def quartiles(samples: list[float]) -> Timing:
    """The record of at least one sample."""
    if len(samples) == 1:
        return Timing(samples[0], samples[0], samples[0])
    lower, median, upper = statistics.quantiles(samples, n=4, method="inclusive")
    return Timing(median, lower, upper)


def interleaved(runs: Mapping[str, Run], repeats: int) -> dict[str, Timing]:
    """Seconds of one call of each function; every repeat samples each of them once."""
    calls = {name: _calls(run) for name, run in runs.items()}
    samples: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            run()  # brings its data back into the caches, and pays for memory that the one before it left to be returned
            samples[name].append(_seconds(run, calls[name]))
    return {name: quartiles(taken) for name, taken in samples.items()}


def milliseconds(timing: Timing) -> dict[str, float]:
    """The record as JSON carries it."""
    return {f"{name}_ms": 1000 * value for name, value in asdict(timing).items()}


def _calls(run: Run) -> int:
    run()  # compiles, allocates and fills caches
    return max(1, min(MOST_CALLS, round(SAMPLE_SECONDS / _seconds(run, 1))))


def _seconds(run: Run, calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        run()
    return (time.perf_counter() - start) / calls
