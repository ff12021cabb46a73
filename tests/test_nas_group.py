"""A trial on several GPUs, logical ones here: the numbers of one process, and one end whichever of its processes fails."""

import os
import signal
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from ray import tune
from ray.train import WorkerGroupError
from ray.tune import Callback, CheckpointConfig, FailureConfig, RunConfig, TuneConfig
from ray.tune.schedulers import FIFOScheduler

from nas.engine.cluster import cluster
from nas.engine.group import STEP, LostTrialError, group_trainable, last_step
from nas.job import Job, Step, train_proxy
from nas.packing import Slots
from nas.step_limit import HungStepError
from searchspace.stacking import stack
from studies.records import TrialState
from trainer.parallel import Ranks
from trainer.proxy import run_proxy
from trainer.proxy_config import ProxyConfig

SMALL = stack(32, 16, 1, 2)
PROXY = ProxyConfig(epochs=2, train_fraction=0.1, batch_size=31)
pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("ray-group")]


class Heard(FIFOScheduler):  # type: ignore[misc]
    """What Tune is told of each trial, in the order of the jobs; trials stop after an epoch if they are told to."""

    def __init__(self, stop_after: int | None) -> None:
        super().__init__()
        self._stop_after = stop_after
        self.seen: list[int] = []

    def on_trial_result(self, controller: Any, trial: Any, result: dict[str, Any]) -> str:
        self.seen.append(result[STEP].result.epoch)
        return str(FIFOScheduler.STOP if result[STEP].result.epoch == self._stop_after else FIFOScheduler.CONTINUE)


class Steps(Callback):  # type: ignore[misc]
    def __init__(self, kill: bool) -> None:
        self.steps: dict[int, list[Step]] = {}
        self.errors: dict[int, str] = {}
        self._kill = kill

    def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: dict[str, Any], **info: Any) -> None:
        self.steps.setdefault(trial.config["number"], []).append(result[STEP])
        if self._kill:
            self._kill = False
            os.kill(ranks()[-1].pid, signal.SIGKILL)

    def on_trial_error(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        self.errors[trial.config["number"]] = str(trial.get_error())


def ranks() -> list[psutil.Process]:
    """The processes of Ray Train below this one."""
    return [process for process in psutil.Process().children(recursive=True) if "RayTrainWorker" in " ".join(process.cmdline())]


@pytest.fixture(scope="module")
def slots() -> Iterator[Slots]:
    with cluster(Slots(workers=1, cpus=2, gpus=2, logical_gpus=2)) as found:
        yield found


def tuned(slots: Slots, jobs: Sequence[Job], folder: Path, *, stop_after: int | None = None, kill: bool = False) -> Steps:
    heard = Steps(kill)
    tune.Tuner(
        group_trainable(slots),
        param_space={
            "number": tune.grid_search(list(range(len(jobs)))),
            "job": tune.sample_from(lambda config: jobs[config["number"]]),
            "evaluate": train_proxy,
            "step_timeout": None,
        },
        tune_config=TuneConfig(max_concurrent_trials=slots.workers, scheduler=Heard(stop_after)),
        run_config=RunConfig(
            storage_path=str(folder),
            verbose=0,
            callbacks=[heard],
            checkpoint_config=CheckpointConfig(checkpoint_at_end=False),
            failure_config=FailureConfig(max_failures=0),
        ),
    ).fit()
    return heard


def test_two_workers_train_a_trial_as_one_process_does(slots: Slots, tmp_path: Path) -> None:
    weights, checkpoints = tmp_path / "trained.safetensors", tmp_path / "checkpoints" / "attempt-1"
    job = Job(model=SMALL, proxy=PROXY, seed=1, weights=weights, checkpoints=str(checkpoints))
    steps = tuned(slots, [job], tmp_path / "tune").steps[0]
    alone = list(run_proxy(SMALL, PROXY, seed=1))
    assert [step.state for step in steps] == [None, TrialState.COMPLETE]
    for one, two in zip(alone, steps, strict=True):
        assert two.result is not None
        assert two.result.metrics["loss"] == pytest.approx(one.metrics["loss"], rel=1e-5)
        assert two.result.fidelity == one.fidelity
        assert two.spent["training"] > 0
    assert steps[0].spent["start-up"] > 0
    assert weights.exists()
    assert list(run_proxy(SMALL, PROXY, seed=1, checkpoints=checkpoints)) == [step.result for step in steps]  # read by one process


@pytest.mark.slow
def test_a_trial_that_is_stopped_or_fails_makes_room_for_the_next_and_says_why(slots: Slots, tmp_path: Path) -> None:
    long = Job(model=SMALL, proxy=replace(PROXY, epochs=500), seed=1)
    lacking = replace(long, proxy=replace(PROXY, dataset=f"imagefolder:{tmp_path / 'nowhere'}"))
    heard = tuned(slots, [long, lacking, long], tmp_path, stop_after=1)
    assert [len(heard.steps[number]) for number in (0, 1, 2)] == [1, 1, 1]
    (failed,) = heard.steps[1]
    assert failed.state is TrialState.FAILED
    assert failed.reason is not None
    assert "nowhere" in failed.reason
    assert heard.errors == {}


@pytest.mark.slow
def test_a_killed_worker_is_an_error_and_the_next_attempt_goes_on_from_the_last_checkpoint(slots: Slots, tmp_path: Path) -> None:
    first = Job(model=SMALL, proxy=replace(PROXY, epochs=40), seed=1, checkpoints=str(tmp_path / "trial" / "attempt-1"))
    heard = tuned(slots, [first], tmp_path / "tune-1", kill=True)
    assert list(heard.errors) == [0]
    reached = len(heard.steps[0])
    again = tuned(slots, [replace(first, checkpoints=str(tmp_path / "trial" / "attempt-2"))], tmp_path / "tune-2", stop_after=reached + 1)
    results = [step.result for step in heard.steps[0]]
    assert [step.result for step in again.steps[0]][: len(results)] == results
    assert again.errors == {}


def lost(state: TrialState, reason: str, at: float) -> LostTrialError:
    return LostTrialError(Step(state=state, reason=reason), at)


def test_the_first_failure_of_a_process_is_the_trials_and_memory_comes_before_all() -> None:
    broken, later, full = (
        lost(TrialState.FAILED, "the first", 1.0),
        lost(TrialState.FAILED, "its echo", 2.0),
        lost(TrialState.INFEASIBLE, "out of memory", 3.0),
    )
    assert last_step(WorkerGroupError("", {0: later, 1: broken})).reason == "the first"
    assert last_step(WorkerGroupError("", {0: later, 1: full, 2: broken})).state is TrialState.INFEASIBLE
    with pytest.raises(HungStepError, match="within 3 s"):
        last_step(WorkerGroupError("", {1: HungStepError("a step brought nothing within 3 s")}))
    died = WorkerGroupError("died", {0: RuntimeError("no heartbeat"), 1: broken})
    with pytest.raises(WorkerGroupError, match="died"):  # what the others say of it is an echo
        last_step(died)
    with pytest.raises(RuntimeError, match="without a word"):
        last_step(RuntimeError("without a word"))


def test_a_process_takes_the_device_of_its_number_on_its_own_machine() -> None:
    assert [Ranks(rank, 4, local=rank % 2).device("cuda") for rank in range(4)] == ["cuda:0", "cuda:1", "cuda:0", "cuda:1"]
    assert Ranks(3, 4).device("cuda") == "cuda:3"
    assert Ranks(3, 4, local=1).device("cpu") == "cpu"
