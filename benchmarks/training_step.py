"""A training step of InternImage-T with the operator in PyTorch and as a kernel: `python -m benchmarks.training_step [--repeats N]`."""

import argparse
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.grid_sample import by_planes
from benchmarks.operator_contenders import kernel_variants
from benchmarks.operator_targets import Target
from benchmarks.timing import Run, Timing, interleaved, milliseconds
from dcnv3.layer import DCNv3
from dcnv3.registration import reference
from searchspace.formats import load_variant
from searchspace.recipes import RECIPES
from trainer.internimage import InternImage
from trainer.matmul import fastest_float32_matmul, float32_precision
from trainer.optim import make_optimizer

BATCHES = ((4, 224), (64, 32))  # images, side
RECIPE = RECIPES["published"]
CLASSES = 1000
PYTORCH = ("grid_sample", "reference")  # the operator as PyTorch has it; the faster one is compared with
NATIVE, MATMUL, BFLOAT16 = "native", "native, fastest exact matmul", "native, bfloat16 autocast"


@dataclass(frozen=True, slots=True)
class Step:
    """Times of one training step on a batch by implementation."""

    images: int
    side: int
    times: dict[str, Timing]

    def baseline(self) -> str:
        """The faster operator in PyTorch."""
        return min(PYTORCH, key=lambda name: self.times[name].median)

    def ratio(self, name: str) -> float:
        """How many times as fast as with the operator in PyTorch, all in float32."""
        return self.times[self.baseline()].median / self.times[name].median


def steps(repeats: int) -> list[Step]:
    """Both batches; SystemExit when there is no kernel to measure."""
    kernel_variants()
    return [measure(images, side, repeats) for images, side in BATCHES]


def measure(images: int, side: int, repeats: int) -> Step:
    """All implementations in turns on one network."""
    torch.manual_seed(0)
    step = make_step(images, side)
    float32_precision()  # probed before anything is timed
    settings: dict[str, Callable[[], AbstractContextManager[Any]]] = {
        **{name: partial(operator, name) for name in PYTORCH},
        NATIVE: nullcontext,
        MATMUL: fastest_float32_matmul,
        BFLOAT16: _bfloat16,
    }
    return Step(images, side, interleaved({name: partial(_within, setting, step) for name, setting in settings.items()}, repeats))


def make_step(images: int, side: int) -> Run:
    """Forward, loss, backward, clipping and update, as training does them; offsets are as after some training, not zero."""
    model = InternImage(load_variant("T"), num_classes=CLASSES, drop_path_rate=RECIPE.drop_path_rate).train()
    model.apply(deform)
    optimizer = make_optimizer(model, RECIPE, batch_size=images)
    batch, labels = torch.randn(images, 3, side, side), torch.randint(CLASSES, (images,))

    def step() -> None:
        loss = F.cross_entropy(model(batch), labels, label_smoothing=RECIPE.label_smoothing)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), RECIPE.clip_norm)
        optimizer.step()

    return step


@contextmanager
def operator(name: str) -> Iterator[None]:
    """DCNv3 layers run one of PYTORCH in here."""
    with mock.patch("dcnv3.layer.dcnv3", {"grid_sample": _grid_sample, "reference": _reference}[name]):
        yield


def targets(measured: list[Step]) -> list[Target]:
    """Of every batch."""
    return [
        Target(f"T step, {step.images} x {step.side}²: {name}", step.ratio(name), must, aim)
        for step in measured
        for name, must, aim in ((MATMUL, 2.0, 2.0), (BFLOAT16, 2.0, 3.0))
    ]


def as_json(step: Step) -> dict[str, Any]:
    """In plain types."""
    times = {name: milliseconds(timing) for name, timing in step.times.items()}
    ratios = {name: step.ratio(name) for name in (NATIVE, MATMUL, BFLOAT16)}
    return {"images": step.images, "side": step.side, "times": times, "baseline": step.baseline(), "ratios": ratios}


def _within(setting: Callable[[], AbstractContextManager[Any]], step: Run) -> None:
    with setting():
        step()


def _bfloat16() -> AbstractContextManager[Any]:
    return torch.autocast("cpu", torch.bfloat16)


def deform(module: nn.Module) -> None:
    """Offsets and masks as after some training, for `apply`."""
    if isinstance(module, DCNv3):
        nn.init.normal_(module.offset.weight, std=0.02)
        nn.init.normal_(module.mask.weight, std=0.02)


def _grid_sample(value: Tensor, offset: Tensor, mask: Tensor, *, groups: int, **_: Any) -> Tensor:
    return by_planes(value, offset, mask, groups, channels_last=True)


def _reference(value: Tensor, offset: Tensor, mask: Tensor, *, groups: int, offset_scale: float, remove_center: bool, **_: Any) -> Tensor:
    return reference(value, offset, mask, ((3, 3), (1, 1), (1, 1), (1, 1), groups, offset_scale, remove_center, True))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    for step in steps(parser.parse_args().repeats):
        print(f"{step.images} x {step.side}²")
        for name, timing in step.times.items():
            print(f"  {name:<30} {1000 * timing.median:8.1f} ms  {step.ratio(name):5.2f}x")


if __name__ == "__main__":
    main()
