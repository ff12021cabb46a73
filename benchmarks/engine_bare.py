"""Bare Ray Tune on trials that do nothing: a class trainable on reused actors, random search, no store."""

import tempfile
import time
from typing import Any

import ray
from ray import tune
from ray.tune import Callback, CheckpointConfig, RunConfig, Trainable, TuneConfig

from nas.engine.cluster import cluster
from nas.packing import Slots


class Nothing(Trainable):  # type: ignore[misc]  # Ray is untyped here
    """One step of no work."""

    def step(self) -> dict[str, Any]:
        """Done at once."""
        return {"top1": 0.5, "done": True}

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Nothing to take over."""
        return True


class Ended(Callback):  # type: ignore[misc]
    """When each trial ended."""

    times: list[float] = []

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Note the moment."""
        Ended.times.append(time.perf_counter())


def bare_ray_tune(trials: int, slots: int, warm_up: int) -> float:
    """Milliseconds a trial after the first `warm_up`, at the settings of our own engine."""
    Ended.times.clear()
    with cluster(Slots(workers=slots), None), tempfile.TemporaryDirectory() as folder:
        tuner = tune.Tuner(
            tune.with_resources(Nothing, {"CPU": 1}),
            param_space={"l3": tune.randint(2, trials)},
            tune_config=TuneConfig(num_samples=trials, reuse_actors=True, max_concurrent_trials=slots, metric=None, mode=None),
            run_config=RunConfig(
                storage_path=folder, verbose=0, callbacks=[Ended()], checkpoint_config=CheckpointConfig(checkpoint_at_end=False)
            ),
        )
        tuner.fit()
        assert ray.is_initialized()
    return 1000 * (Ended.times[-1] - Ended.times[warm_up]) / (len(Ended.times) - warm_up - 1)
