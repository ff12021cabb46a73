"""Evaluators for searches that shall not train; each is made by a function, so that Ray sends it to its workers by value."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any


def counting(log: Path, misbehave: Callable[[int], None] | None = None, top1: Callable[[Any], float] | None = None) -> Callable[..., Any]:
    """Two epochs of made-up metrics; every call adds a line with the variant to `log`; `misbehave(L3)` may do worse."""

    def evaluate(config: Any, proxy: Any, *, seed: int) -> Iterator[Any]:
        from trainer.proxy_config import ProxyResult

        with log.open("a") as file:
            file.write(f"{config.short_name}\n")
        for epoch in range(1, proxy.epochs + 1):
            if misbehave is not None and epoch == 2:
                misbehave(config.depths[2])
            value = top1(config) if top1 else config.depths[2] / 100
            metrics = {"top1": value * epoch / proxy.epochs, "loss": 1.0 / epoch, "seconds": 0.1}
            yield ProxyResult(epoch=epoch, metrics=metrics, fidelity=proxy.fidelity(epochs=epoch, seed=seed))

    return evaluate


def troubled(log: Path) -> Callable[..., Any]:
    """Fails at L3 = 3, runs out of memory at 4, returns NaN at 5, kills its process at 6."""

    def misbehave(l3: int) -> None:
        if l3 == 3:
            raise RuntimeError("no such kernel")
        if l3 == 4:
            raise MemoryError("tried to allocate 9 GiB")
        if l3 == 6:
            os.kill(os.getpid(), signal.SIGKILL)

    return counting(log, misbehave, top1=lambda config: float("nan") if config.depths[2] == 5 else config.depths[2] / 100)


def resumable(
    log: Path, misbehave: Callable[[int, int], None] | None = None, metrics: Callable[[int, int], dict[str, float]] | None = None
) -> Callable[..., Any]:
    """Leaves its state in `checkpoints` after each epoch and goes on from it; each epoch that is worked adds `L3.epoch` to `log`.

    `misbehave(L3, epoch)` is called before an epoch is worked; `metrics(L3, epoch)` are its results, top-1 L3 / 100 by default.
    """

    def evaluate(config: Any, proxy: Any, *, seed: int, checkpoints: Path | None = None) -> Iterator[Any]:
        from trainer.proxy_config import ProxyResult

        l3 = config.depths[2]

        def result(epoch: int) -> Any:
            found = metrics(l3, epoch) if metrics else {"top1": l3 / 100, "loss": 1.0 / epoch}
            return ProxyResult(epoch=epoch, metrics=found, fidelity=proxy.fidelity(epochs=epoch, seed=seed))

        state = None if checkpoints is None else Path(checkpoints, "state")
        done = int(state.read_text()) if state is not None and state.exists() else 0
        for epoch in range(1, proxy.epochs + 1):
            if epoch > done:
                if misbehave is not None:
                    misbehave(l3, epoch)
                with log.open("a") as file:
                    file.write(f"{l3}.{epoch}\n")
                if state is not None:
                    state.parent.mkdir(parents=True, exist_ok=True)
                    hidden = state.with_name(".state")
                    hidden.write_text(str(epoch))
                    hidden.replace(state)
            yield result(epoch)

    return evaluate
