"""Several processes for one training: the same numbers as one, and none left behind whatever happens."""

import math
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn

from searchspace.stacking import stack
from trainer.batch_norm import GlobalBatchNorm2d, over_processes
from trainer.internimage import InternImage
from trainer.parallel import Ranks, _error, _Failure, _Worker, check_world, run_parallel
from trainer.proxy import run_proxy
from trainer.proxy_config import ProxyConfig
from trainer.weights import load

SMALL = stack(32, 16, 1, 2)


def test_two_processes_train_as_one_with_shares_of_different_size(tmp_path: Path) -> None:
    proxy = ProxyConfig(epochs=2, train_fraction=0.1, batch_size=31)
    weights, checkpoints = tmp_path / "trained.safetensors", tmp_path / "checkpoints"
    alone = list(run_proxy(SMALL, proxy, seed=1))
    together = list(run_proxy(SMALL, proxy, seed=1, world=2, weights=weights, checkpoints=checkpoints))
    assert [result.epoch for result in together] == [1, 2]
    for one, two in zip(alone, together, strict=True):
        assert two.metrics["loss"] == pytest.approx(one.metrics["loss"], rel=1e-5)
        assert two.fidelity == one.fidelity
    assert load(InternImage(SMALL.divide_channels(4), num_classes=10), weights).untrained == ()
    assert list(run_proxy(SMALL, proxy, seed=1, checkpoints=checkpoints)) == together  # one process reads what two have written


def normed(ranks: Ranks) -> Iterator[tuple[Any, ...]]:
    """The process, then two shares of a batch, 2 and 3 images, through a GlobalBatchNorm2d: what came of it and of the gradients."""
    torch.manual_seed(0)
    whole, wanted = torch.randn(5, 3, 2, 2) + 100, torch.randn(5, 3, 2, 2)
    share = slice(2) if ranks.first else slice(2, 5)
    model = nn.Sequential(nn.BatchNorm2d(3))
    over_processes(model)
    x = whole[share].clone().requires_grad_()
    out = model(x)
    (out * wanted[share]).sum().backward()
    for parameter in model.parameters():
        dist.all_reduce(parameter.grad)
    assert x.grad is not None
    parts = [torch.zeros(2, *whole.shape), torch.zeros(2, *whole.shape)]
    mine = torch.zeros(2, *whole.shape)
    mine[:, share] = torch.stack([out.detach(), x.grad])
    dist.all_gather(parts, mine)
    yield os.getpid(), sum(parts), *(p.grad for p in model.parameters()), *model.state_dict().values()


def test_statistics_and_gradients_are_those_of_the_global_batch_and_closing_early_ends_all_processes() -> None:
    torch.manual_seed(0)
    whole, wanted = (torch.randn(5, 3, 2, 2) + 100).requires_grad_(), torch.randn(5, 3, 2, 2)
    plain = nn.BatchNorm2d(3)
    out = plain(whole)
    (out * wanted).sum().backward()
    assert whole.grad is not None
    expected = (torch.stack([out.detach(), whole.grad]), *(p.grad for p in plain.parameters()), *plain.state_dict().values())
    results = run_parallel(normed, (), world=2, device="cpu")
    first, *found = next(results)
    assert running(first)
    results.close()
    assert not running(first)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_names_of_a_state_dict_outlive_the_change_of_norms() -> None:
    network = InternImage(SMALL)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    over_processes(network)
    assert sum(isinstance(module, GlobalBatchNorm2d) for module in network.modules()) == 1
    after = network.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], value) for name, value in before.items())


def counting(end: str, ranks: Ranks) -> Iterator[int]:
    """The processes' numbers, then the second one's end."""
    yield os.getpid() if ranks.first else 0
    if end == "killed" and not ranks.first:
        os.kill(os.getpid(), signal.SIGKILL)
    if end == "too large" and not ranks.first:
        raise MemoryError("tried to allocate 99 bytes")
    dist.barrier()  # the other one never comes
    yield math.nan


def test_no_process_outlives_what_happens_to_one() -> None:
    ends = {
        "killed": (RuntimeError, "process 2 of 2 was ended by SIGKILL"),
        "too large": (MemoryError, "^tried to allocate 99 bytes$"),
    }
    for end, (kind, message) in ends.items():
        results = run_parallel(counting, (end,), world=2, device="cpu")
        first = next(results)
        assert running(first)
        with pytest.raises(kind, match=message):
            next(results)
        assert not running(first)


def test_an_error_of_a_process_is_told_with_its_kind_and_trace() -> None:
    worker = _Worker(1, SimpleNamespace(), SimpleNamespace())  # type: ignore[arg-type]
    error = _error(worker, _Failure(0.0, "KeyError", "'stem'", "Traceback: in forward"), world=2)
    assert (type(error), str(error), error.__notes__) == (RuntimeError, "process 2 of 2: KeyError: 'stem'", ["Traceback: in forward"])


class Interrupting:
    """Is a Ctrl-C where it is unpickled: in a process that has been started and runs nothing of its own yet."""

    def __reduce__(self) -> tuple[Any, ...]:
        return signal.raise_signal, (signal.SIGINT,)


def blocked_signals(interrupted: None, ranks: Ranks) -> Iterator[list[int]]:
    yield list(signal.pthread_sigmask(signal.SIG_BLOCK, []))


def test_ctrl_c_ends_no_process_that_has_just_been_started() -> None:
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    assert list(run_parallel(blocked_signals, (Interrupting(),), world=2, device="cpu")) == [list(mask)]
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == mask


def test_nor_the_first_one_that_a_program_starts() -> None:
    code = """if True:
        import signal, sys
        from multiprocessing import get_context
        from trainer.children import deaf_children
        class Interrupting:
            def __reduce__(self): return signal.raise_signal, (signal.SIGINT,)
        process = get_context("spawn").Process(target=sys.exit, args=(Interrupting(),))
        with deaf_children():
            process.start()
        process.join()
        sys.exit(process.exitcode)"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize(
    ("world", "device", "message"),
    [
        (0, "cpu", "world must be whole and at least 1, got world=0"),
        (2, "cuda:1", "device must be cpu or cuda, got 'cuda:1'"),
        (10_000, "cuda", "each process needs a CUDA device of its own, got world=10000"),
    ],
)
def test_a_world_that_cannot_be_is_refused(world: int, device: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_world(world, device)
