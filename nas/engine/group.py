"""One trial on several GPUs, which may be on several nodes: Ray Train starts and ends its processes, and Tune asks for an epoch at a time.

The processes start anew with every trial, so it is for trainings that need them; all others share reused actors. A function trainable
would do if trials were never stopped: its process ends at once then, and what Ray Train holds on the nodes stays taken.
"""

import asyncio
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.train import FailureConfig, RunConfig, ScalingConfig, WorkerGroupError
from ray.tune import PlacementGroupFactory, Trainable

from nas.attempts import adopt
from nas.job import Job, Run, Step, train_proxy
from nas.packing import Slots
from nas.step_limit import HungStepError
from searchspace.model_config import ModelConfig
from studies.records import TrialState
from trainer.proxy_config import ProxyConfig, ProxyResult

STEP = "step_outcome"
NEXT_TO_NOTHING = {"memory": 1}  # a byte: Tune wants a trial to ask for something, and all processors are the ranks'
ALONE = "an evaluator of one's own runs in one process, which has at most one GPU; --gpus-per-trial 1 is for it"
LOOK_S = 0.5
END_S = 30.0
ECHO_S = 5.0  # a process that dies makes the others fail; Ray Train looks every two seconds, and is to see the cause


class LostTrialError(RuntimeError):
    """One process of a trial has failed, with all hope for the others; `step` says how the trial ends."""

    def __init__(self, step: Step, at: float) -> None:
        super().__init__(step, at)
        self.step, self.at = step, at

    def __str__(self) -> str:
        return str(self.step.reason)


class Relay:
    """An actor between the first process, which leaves its steps there, and the trainable, which says whether all go on."""

    def __init__(self) -> None:
        self._steps: asyncio.Queue[Step] = asyncio.Queue()
        self._answers: asyncio.Queue[bool] = asyncio.Queue()

    async def report(self, step: Step) -> None:
        """Leave a step."""
        await self._steps.put(step)

    async def next(self) -> Step:
        """Wait for a step."""
        return await self._steps.get()

    async def answer(self, goes_on: bool, times: int) -> None:
        """Say once for each process whether it goes on."""
        for _ in range(times):
            await self._answers.put(goes_on)

    async def goes_on(self) -> bool:
        """Wait to be told."""
        return await self._answers.get()


class Group:
    """The processes of one trial, from the first step that is asked for until it is closed."""

    def __init__(self, config: Mapping[str, Any], slots: Slots) -> None:
        self._slots, self._asked = slots, False
        self._relay = ray.remote(num_cpus=0)(Relay).remote()
        job: Job = config["job"]
        adopted = job if job.checkpoints is None else replace(job, checkpoints=str(adopt(job.checkpoints)))  # once for all processes
        self._loop = {"job": adopted, "step_timeout": config["step_timeout"], "relay": self._relay, "begun": time.time()}
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._train, name="nas-group", daemon=True)
        self._thread.start()

    def step(self) -> Step:
        """The next epoch; a hung step and a process that died are errors, any other failure is the trial's last step."""
        if self._asked:
            self._relay.answer.remote(True, self._slots.ranks)
        self._asked, coming = True, self._relay.next.remote()
        while self._thread.is_alive():
            if ray.wait([coming], timeout=LOOK_S)[0]:
                break
        if not ray.wait([coming], timeout=LOOK_S)[0]:
            return last_step(self._error or RuntimeError("the processes of a trial ended without a word"))
        return ray.get(coming)  # type: ignore[no-any-return]

    def close(self) -> None:
        """End the processes in order, so that what they hold is free for the next trial."""
        self._relay.answer.remote(False, self._slots.ranks)
        self._thread.join(END_S)
        ray.kill(self._relay)

    def _train(self) -> None:
        try:
            _fit(self._loop, self._slots)
        except Exception as error:  # told by the next step
            self._error = error


def group_trainable(slots: Slots) -> Any:
    """A trainable for trials of `slots.ranks` processes, each with a GPU; configuration and results are those of `ProxyTrainable`."""

    class GroupTrainable(Trainable):  # type: ignore[misc]  # Ray is untyped here
        """One trial at a time on processes of its own."""

        def setup(self, config: dict[str, Any]) -> None:
            self._group: Group | None = None

        def step(self) -> dict[str, Any]:
            if self.config["evaluate"] is not train_proxy:
                return {STEP: Step(state=TrialState.FAILED, reason=ALONE), "done": True}
            self._group = self._group or Group(self.config, slots)
            step = self._group.step()
            return {STEP: step, "done": step.state is not None}

        def cleanup(self) -> None:
            if self._group is not None:
                self._group.close()

    return tune.with_resources(GroupTrainable, PlacementGroupFactory([NEXT_TO_NOTHING]))


def last_step(error: BaseException) -> Step:
    """How a trial ends of which processes failed: lack of memory before all, since it makes others fail, then by the one that failed first.

    HungStepError for a step that hung; `error` itself where a process died, whatever the others say of it.
    """
    failures = list(error.worker_failures.values()) if isinstance(error, WorkerGroupError) else [error]
    lost = sorted((failure for failure in failures if isinstance(failure, LostTrialError)), key=lambda failure: failure.at)
    for failure in lost:
        if failure.step.state is TrialState.INFEASIBLE:
            return failure.step
    others = [failure for failure in failures if not isinstance(failure, LostTrialError)]
    if others:
        raise others[0] if all(isinstance(failure, HungStepError) for failure in others) else error
    return lost[0].step


def _fit(loop: dict[str, Any], slots: Slots) -> None:
    from ray.train.torch import TorchConfig, TorchTrainer

    from trainer.parallel import BACKENDS

    device = loop["job"].proxy.device.partition(":")[0]
    scaling = ScalingConfig(num_workers=slots.ranks, use_gpu=True, resources_per_worker={"CPU": slots.cpus / slots.ranks, "GPU": 1})
    with tempfile.TemporaryDirectory(prefix="nas-group-") as folder:  # Ray Train's own notes, of which none is read
        run = RunConfig(name="group", storage_path=folder, failure_config=FailureConfig(max_failures=0))
        TorchTrainer(
            _train_rank, train_loop_config=loop, torch_config=TorchConfig(backend=BACKENDS[device]), scaling_config=scaling, run_config=run
        ).fit()


def _train_rank(loop: dict[str, Any]) -> None:
    """What each process does: an epoch, of which the first one tells, and then what it is told."""
    # Gradients of 1×1 and depthwise convolutions come in another order of axes of length 1; the copy costs nothing that shows.
    warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
    job, relay, place = loop["job"], loop["relay"], ray.train.get_context()
    run = Run(job, _evaluate(job.checkpoints), step_timeout=loop["step_timeout"])
    start_up = max(0.0, time.time() - loop["begun"])
    goes_on = True
    while goes_on:
        step = run.step()
        if step.result is None:
            failed = LostTrialError(step, time.time())
            time.sleep(ECHO_S if step.state is TrialState.FAILED else 0.0)
            raise failed  # the others wait for this process and would wait for ever
        if place.get_world_rank() == 0:
            spent = {**step.spent, "start-up": step.spent.get("start-up", 0.0) + start_up}
            ray.get(relay.report.remote(replace(step, spent=spent)))
        start_up = 0.0
        goes_on = step.state is None and ray.get(relay.goes_on.remote())


def _evaluate(checkpoints: str | None) -> Callable[..., Iterator[ProxyResult]]:
    """The evaluator of one process; it names no `checkpoints` of its own, since those have been adopted."""

    def evaluate(model: ModelConfig, proxy: ProxyConfig, *, seed: int, weights: Path | None = None) -> Iterator[ProxyResult]:
        from trainer.parallel import Ranks
        from trainer.proxy import Training, train

        place = ray.train.get_context()
        ranks = Ranks(place.get_world_rank(), place.get_world_size(), local=place.get_local_rank())
        return train(Training(model, proxy, seed, weights, checkpoints), ranks)

    return evaluate
