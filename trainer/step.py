"""One training step: forward, backward and update, run eagerly or replayed as one CUDA graph."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from searchspace.recipes import Recipe
from trainer.average import Average

log = logging.getLogger(__name__)
WARM_UP = 3  # eager steps before the capture: libraries choose their algorithms, the optimizer makes its state
Update = Callable[[Tensor, Tensor], None]


def computing_in(precision: str, device: str | torch.device) -> torch.autocast:
    """The context in which a network computes in `precision` over float32 weights."""
    # Without the cache of converted weights: each is used once a step, and a captured step must hold its own conversions.
    enabled = precision == "bfloat16"
    return torch.autocast(torch.device(device).type, dtype=torch.bfloat16, enabled=enabled, cache_enabled=False)


class Step:
    """What a batch does to the weights; `network` is what runs, which for several processes is not the bare model."""

    def __init__(
        self, network: nn.Module, optimizer: torch.optim.Optimizer, recipe: Recipe, *, precision: str, average: Average[Any] | None
    ) -> None:
        self._network = network
        self._parameters = list(network.parameters())
        self._optimizer = optimizer
        self._recipe = recipe
        self._precision = precision
        self._average = average

    def __call__(self, batch: Tensor, target: Tensor, weight: float | None = None) -> None:
        """One update by images float32 (N, 3, H, W) and labels int64 (N,) or soft targets float32 (N, classes).

        The loss is the mean over the batch, or its sum times `weight` where the batch is one process's share of a larger one.
        """
        with computing_in(self._precision, batch.device):
            logits = self._network(batch)
        loss = self._loss(logits.float(), target, weight)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self._parameters, self._recipe.clip_norm)
        self._optimizer.step()
        if self._average is not None:
            self._average.update()

    def _loss(self, logits: Tensor, target: Tensor, weight: float | None) -> Tensor:
        smoothing = 0.0 if target.is_floating_point() else self._recipe.label_smoothing  # soft targets are smoothed already
        if weight is None:
            return F.cross_entropy(logits, target, label_smoothing=smoothing)
        return F.cross_entropy(logits, target, label_smoothing=smoothing, reduction="sum") * weight


class GraphedStep:
    """A step on CUDA that is captured after a few eager ones and replayed from then on: one launch in place of thousands.

    Batches of another shape than the first (an epoch's last) run eagerly, and all do, with one warning, where the capture fails. The
    eager steps before the capture train like any other. What `update` reads besides its batch must stay where it is in memory.
    """

    def __init__(self, update: Update, optimizer: torch.optim.Optimizer, device: torch.device) -> None:
        self._update = update
        self._optimizer = optimizer
        self._device = device
        self._side = torch.cuda.Stream(device)
        self._held = torch.cuda.memory_allocated(device)  # weights and data, before any step
        torch.cuda.reset_peak_memory_stats(device)
        self._shapes: tuple[torch.Size, torch.Size] | None = None
        self._warm_steps = 0
        self._inputs: tuple[Tensor, Tensor] | None = None
        self._graph: torch.cuda.CUDAGraph | None = None
        self._eager = False

    @property
    def captured(self) -> bool:
        """Whether there is a graph to replay: False until the capture, and for good where that fails."""
        return self._graph is not None

    def __call__(self, batch: Tensor, target: Tensor) -> None:
        """One update, as `update` makes it."""
        with torch.cuda.device(self._device):  # whose current stream is meant below
            self._take(batch, target)

    def _take(self, batch: Tensor, target: Tensor) -> None:
        self._shapes = self._shapes or (batch.shape, target.shape)
        if self._eager or self._shapes != (batch.shape, target.shape):
            self._update(batch, target)
        elif self._warm_steps < WARM_UP:
            self._warm_steps += 1
            self._beside(batch, target)
        elif self._graph is None and not self._capture(batch, target):
            self._eager = True
            self._update(batch, target)
        else:
            self._replay(batch, target)

    def _beside(self, batch: Tensor, target: Tensor) -> None:
        """A step on a stream of its own, as a capture requires of what runs before it."""
        self._side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._side):
            self._update(batch, target)
        torch.cuda.current_stream().wait_stream(self._side)

    def _capture(self, batch: Tensor, target: Tensor) -> bool:
        """Record the step without running it; whether that worked."""
        # A graph keeps its memory, and an epoch's last batch and the evaluation need theirs beside it.
        wanted = 2 * torch.cuda.max_memory_allocated() - self._held
        if wanted > torch.cuda.get_device_properties(self._device).total_memory:
            log.warning("training without a CUDA graph: twice the memory of a step does not fit on %s", self._device)
            return False
        graph, inputs = torch.cuda.CUDAGraph(), (batch.clone(), target.clone())
        self._optimizer.zero_grad(set_to_none=True)  # gradients are made anew, in the graph's own memory
        try:
            # A capture that fails may leave its stream the current one: the outer block puts ours back. On a stream of this device, for
            # PyTorch's own for captures lies on the first device that had one. Of this thread alone, for another may be fetching the
            # next batch.
            with (
                torch.cuda.stream(torch.cuda.current_stream()),
                _capturable(self._optimizer),
                torch.cuda.graph(graph, stream=self._side, capture_error_mode="thread_local"),
            ):
                self._update(*inputs)
        except (RuntimeError, ValueError) as error:
            _free_generator()
            log.warning("training without a CUDA graph: %s", str(error).partition("\n")[0])
            return False
        self._graph, self._inputs = graph, inputs
        return True

    def _replay(self, batch: Tensor, target: Tensor) -> None:
        assert self._graph is not None
        assert self._inputs is not None
        for static, given in zip(self._inputs, (batch, target), strict=True):
            static.copy_(given)
        self._graph.replay()


def _free_generator() -> None:
    """Give the current device's generator a new state: PyTorch before 2.13 may never let one draw again whose capture has failed."""
    generator = torch.cuda.default_generators[torch.cuda.current_device()]
    generator.graphsafe_set_state(generator.clone_state())


@contextmanager
def _capturable(optimizer: torch.optim.Optimizer) -> Iterator[None]:
    """Promise that the optimizer's step may be captured; promised for longer, every eager step would warn."""
    for group in optimizer.param_groups:
        group["capturable"] = True
    try:
        yield
    finally:
        for group in optimizer.param_groups:
            group["capturable"] = False
