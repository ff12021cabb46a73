"""Several processes for one training: each runs the same generator on its share of every batch, and the first one's results count."""

import logging
import os
import signal
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import connection
from multiprocessing.context import SpawnProcess
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, multiprocessing, nn

from trainer.batch_norm import over_processes
from trainer.children import deaf_children, follow_parent

log = logging.getLogger(__name__)
_Result = TypeVar("_Result")
GRACE_S = 2.0  # after a first failure: one process that fails breaks the others' sums, and the first cause is to be told
EXIT_S = 10.0
BACKENDS = {"cpu": "gloo", "cuda": "nccl"}
KNOWN_ERRORS = {"MemoryError": MemoryError, "ValueError": ValueError}


@dataclass(frozen=True, slots=True)
class Ranks:
    """Which of how many processes this is, the first being 0, and `local` among those of its machine where they are on several."""

    rank: int = 0
    world: int = 1
    local: int | None = None

    @property
    def first(self) -> bool:
        """Whether this process's results count and its files are written."""
        return self.rank == 0

    def device(self, kind: str) -> str:
        """This process's device of a kind, each having a CUDA device of its own."""
        return kind if self.world == 1 or kind == "cpu" else f"{kind}:{self.rank if self.local is None else self.local}"


ALONE = Ranks()


@dataclass(frozen=True, slots=True)
class _Failure:
    at: float  # on the clock that all processes share
    kind: str
    message: str
    trace: str


@dataclass(frozen=True, slots=True)
class _Worker:
    rank: int
    process: SpawnProcess
    pipe: connection.Connection


def check_world(world: int, device: str) -> None:
    """ValueError unless `world` processes can share the machine's devices."""
    if type(world) is not int or world < 1:
        raise ValueError(f"world must be whole and at least 1, got world={world!r}")
    if world > 1 and device not in BACKENDS:
        raise ValueError(f"several processes take the first devices of a kind: device must be cpu or cuda, got {device!r}")
    if world > 1 and device == "cuda" and world > torch.cuda.device_count():
        raise ValueError(f"each process needs a CUDA device of its own, got world={world}, devices={torch.cuda.device_count()}")


def together(network: nn.Module, ranks: Ranks) -> nn.Module:
    """What each process runs in the place of `network`: gradients are averaged, and its BatchNorm sees the global batch."""
    if ranks.world == 1:
        return network
    over_processes(network)
    device = next(network.parameters()).device
    devices = None if device.type == "cpu" else [device]
    return nn.parallel.DistributedDataParallel(network, device_ids=devices, gradient_as_bucket_view=True)


def summed(part: Tensor, ranks: Ranks) -> Tensor:
    """The sum of the processes' tensors, in place."""
    if ranks.world > 1:
        dist.all_reduce(part)
    return part


def run_parallel(
    train: Callable[..., Iterator[_Result]], arguments: Sequence[Any], *, world: int, device: str
) -> Generator[_Result, None, None]:
    """What `train(*arguments, ranks)` yields in the first of `world` processes, which all run it, a step each time a result is asked for.

    `train` and `arguments` must be picklable. A process's MemoryError or ValueError is raised here as such, any other error and its death
    as a RuntimeError with its message; no process outlives the generator.
    """
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(prefix="nas-ranks-") as folder:
        workers = []
        try:
            for rank in range(world):
                ours, theirs = context.Pipe()
                meeting = f"file://{folder}/meeting"
                process = context.Process(
                    target=_work, args=(Ranks(rank, world), theirs, meeting, device, train, arguments), name=f"nas-rank-{rank}", daemon=True
                )
                with deaf_children():
                    process.start()
                    theirs.close()  # ours alone is left: it ends when the process does
                    workers.append(_Worker(rank, process, ours))
            yield from _results(workers)
        finally:
            _end(workers)


def _results(workers: Sequence[_Worker]) -> Iterator[Any]:
    while True:
        for worker in workers:
            _ask(worker)
        answers = _answers(workers)
        if answers[0] is None:
            return
        yield answers[0]


def _ask(worker: _Worker) -> None:
    try:
        worker.pipe.send(None)
    except OSError:  # it has ended; its answer says how
        log.debug("rank %d is gone", worker.rank)


def _answers(workers: Sequence[_Worker]) -> list[Any]:
    """Each process's next result, None at its end."""
    answers: dict[int, Any] = {}
    waiting = {worker.pipe: worker for worker in workers}
    failures: list[tuple[_Worker, _Failure]] = []
    while waiting:
        ready = connection.wait(list(waiting), timeout=GRACE_S if failures else None)
        if not ready:
            break
        for pipe in ready:
            worker = waiting.pop(pipe)  # type: ignore[call-overload]
            answer = _answer(worker)
            if isinstance(answer, _Failure):
                failures.append((worker, answer))
            else:
                answers[worker.rank] = answer
    if failures:
        raise _error(*min(failures, key=lambda failure: failure[1].at), world=len(workers))
    return [answers[worker.rank] for worker in workers]


def _answer(worker: _Worker) -> Any:
    try:
        return worker.pipe.recv()
    except (EOFError, OSError):
        worker.process.join(EXIT_S)
        code = worker.process.exitcode or 0
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        return _Failure(0.0, "", how, "")  # the cause, whatever the others say of it


def _error(worker: _Worker, failure: _Failure, *, world: int) -> Exception:
    if failure.kind in KNOWN_ERRORS:
        return KNOWN_ERRORS[failure.kind](failure.message)
    said = ": ".join(part for part in (failure.kind, failure.message) if part)
    error = RuntimeError(f"process {worker.rank + 1} of {world}{': ' if failure.kind else ' '}{said}")
    if failure.trace:
        error.add_note(failure.trace)
    return error


def _end(workers: Sequence[_Worker]) -> None:
    for worker in workers:
        worker.process.terminate()
    for worker in workers:
        worker.process.join(EXIT_S)
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()
        worker.pipe.close()


def _work(
    ranks: Ranks, pipe: connection.Connection, meeting: str, device: str, train: Callable[..., Iterator[Any]], arguments: Sequence[Any]
) -> None:
    follow_parent()
    # Gradients of 1×1 and depthwise convolutions come in another order of axes of length 1; the copy costs nothing that shows.
    warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
    try:
        _meet(ranks, meeting, device)
        results = train(*arguments, ranks)
        while _asked(pipe):
            pipe.send(next(results, None))
        dist.destroy_process_group()
    except Exception as error:
        pipe.send(_Failure(time.monotonic(), type(error).__name__, str(error), traceback.format_exc()))


def _asked(pipe: connection.Connection) -> bool:
    """Wait for the caller's wish for a result; False once it is gone."""
    try:
        pipe.recv()
    except EOFError:
        return False
    return True


def _meet(ranks: Ranks, meeting: str, device: str) -> None:
    """Join the group of all processes; they meet at a file, so no port can be taken."""
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # all on one machine, whatever its name resolves to
    own = None
    if device == "cuda":
        own = torch.device(ranks.device(device))
        torch.cuda.set_device(own)
    dist.init_process_group(BACKENDS[device], init_method=meeting, rank=ranks.rank, world_size=ranks.world, device_id=own)
