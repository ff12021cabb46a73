"""Where a training step of InternImage-T spends its time: `python -m benchmarks.network [--repeats N] [--json FILE]`."""

import argparse
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile, record_function

from benchmarks.hardware import describe
from benchmarks.timing import interleaved, quartiles
from benchmarks.training_step import BATCHES, CLASSES, RECIPE, deform
from searchspace.formats import load_variant
from trainer.data import to_batch
from trainer.internimage import InternImage
from trainer.optim import make_optimizer

RESULTS = Path(__file__).parent / "results" / "network-cpu.json"
PEAK_SIDE = 3072  # of the square matrices whose product shows the machine's rate
LINEARS = ("projections", "MLP")
OPERATORS: Mapping[str, str] = {
    "dcnv3::forward": "operator",
    "dcnv3::backward": "operator",
    "aten::native_layer_norm": "norms",
    "aten::native_layer_norm_backward": "norms",
    "aten::native_batch_norm": "norms",
    "aten::native_batch_norm_backward": "norms",
    "aten::gelu": "GELU",
    "aten::gelu_backward": "GELU",
    "aten::_fused_adamw_": "optimizer",
    "aten::_foreach_norm": "optimizer",
    "aten::_foreach_mul_": "optimizer",
}
CONVOLUTIONS = {"aten::mkldnn_convolution": 1, "aten::convolution_backward": 2}  # where their weight stands among the arguments


@dataclass(frozen=True, slots=True)
class Part:
    """Median milliseconds of a step spent in one part, and, for linears, their multiply-adds a second over the machine's rate."""

    name: str
    ms: float
    share: float
    of_peak: float | None = None


class Step:
    """Data, forward, loss, backward, clipping and update of InternImage-T on one batch; offsets are as after some training."""

    def __init__(self, images: int, side: int) -> None:
        torch.manual_seed(0)
        self.model = InternImage(load_variant("T"), num_classes=CLASSES, drop_path_rate=RECIPE.drop_path_rate).train()
        self.model.apply(deform)
        self._optimizer = make_optimizer(self.model, RECIPE, batch_size=images)
        self._images = torch.randint(256, (images, 3, side, side), dtype=torch.uint8)
        self._labels = torch.randint(CLASSES, (images,))
        self._side = side

    def __call__(self) -> None:
        with record_function("data"):
            batch = to_batch(self._images, self._side)
        loss = F.cross_entropy(self.model(batch), self._labels, label_smoothing=RECIPE.label_smoothing)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        with record_function("optimizer"):
            nn.utils.clip_grad_norm_(self.model.parameters(), RECIPE.clip_norm)
            self._optimizer.step()


def parts(step: Step, repeats: int, peak: float) -> list[Part]:
    """The parts of a step by falling time, `peak` in floating-point operations a second; what no part claims is `other`."""
    work = _linear_work(step)
    samples: dict[str, list[float]] = {}
    for _ in range(repeats):
        for name, ms in _profiled(step).items():
            samples.setdefault(name, []).append(ms)
    medians = {name: quartiles(taken).median for name, taken in samples.items()}
    total = sum(medians.values())
    return [
        Part(name, ms, ms / total, work[name] / (ms / 1000) / peak if name in LINEARS else None)
        for name, ms in sorted(medians.items(), key=lambda item: -item[1])
    ]


def _profiled(step: Step) -> Counter[str]:
    """Milliseconds by part of one step: every operator's own time goes to the part that it belongs to."""
    classify = partial(_part, _linear_shapes(step.model))
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as record:
        step()
    times: Counter[str] = Counter()
    for event in record.events():
        times[classify(event)] += event.self_cpu_time_total / 1000
    return times


def _part(linears: Mapping[tuple[int, int], str], event: Any) -> str:
    ancestor = event
    while ancestor is not None:
        if ancestor.name in ("data", "optimizer"):
            return str(ancestor.name)
        if ancestor.name in ("aten::addmm", "aten::mm"):
            return _linear_part(linears, ancestor.input_shapes)
        if ancestor.name in CONVOLUTIONS:
            weight = ancestor.input_shapes[CONVOLUTIONS[ancestor.name]]
            return "depthwise convolution" if weight[1] == 1 else "other convolutions"
        if ancestor.name in OPERATORS:
            return OPERATORS[ancestor.name]
        ancestor = ancestor.cpu_parent
    return "other"


def _linear_part(linears: Mapping[tuple[int, int], str], shapes: list[list[int]]) -> str:
    """Which layer a product belongs to: x Wᵀ forward, g W and gᵀ x backward."""
    first, second = (shape for shape in shapes if len(shape) == 2)
    for sides in ((second[1], second[0]), (second[0], second[1]), (first[0], second[1])):
        if sides in linears:
            return linears[sides]
    return "other"


def _linear_shapes(model: InternImage) -> dict[tuple[int, int], str]:
    """(outputs, inputs) of the blocks' linear layers and the part they belong to."""
    layers = {name: module for name, module in model.levels.named_modules() if isinstance(module, nn.Linear)}
    return {(layer.out_features, layer.in_features): "MLP" if ".mlp." in name else "projections" for name, layer in layers.items()}


def _linear_work(step: Step) -> Counter[str]:
    """Floating-point operations of one step's linear layers by part: forward and twice that backward, two for each multiply-add."""
    work: Counter[str] = Counter()

    def count(layer: nn.Linear, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        work[linears[layer.out_features, layer.in_features]] += 6 * output.numel() * layer.in_features

    linears = _linear_shapes(step.model)
    blocks = (module for module in step.model.levels.modules() if isinstance(module, nn.Linear))
    hooks = [layer.register_forward_hook(count) for layer in blocks]
    step()
    for hook in hooks:
        hook.remove()
    return work


def _peak_rate() -> float:
    """Floating-point operations a second of a product of two large square matrices, the best of five."""
    left, right = torch.randn(2, PEAK_SIDE, PEAK_SIDE)
    best = min(interleaved({str(turn): lambda: left @ right for turn in range(5)}, 1).values(), key=lambda timing: timing.median)
    return 2 * PEAK_SIDE**3 / best.median


def measure(repeats: int) -> dict[str, Any]:
    """Parts of both batches, with the hardware, in plain types."""
    peak, batches = _peak_rate(), []
    for images, side in BATCHES:
        step = Step(images, side)
        found = parts(step, repeats, peak)
        whole = interleaved({"step": step}, repeats)["step"].median
        batches.append({"images": images, "side": side, "step_ms": 1000 * whole, "parts": [asdict(part) for part in found]})
    return {"hardware": describe(), "matrix_gflops": peak / 1e9, "batches": batches}


def show(results: Mapping[str, Any]) -> None:
    """Print both tables."""
    print(f"{results['hardware']['processor']}, {results['hardware']['threads']} threads, {results['matrix_gflops']:.0f} GFLOP/s")
    for batch in results["batches"]:
        profiled = sum(part["ms"] for part in batch["parts"])
        print(f"\n{batch['images']} x {batch['side']}²: {batch['step_ms']:.0f} ms a step, {profiled:.0f} ms under the profiler")
        for part in batch["parts"]:
            of_peak = "" if part["of_peak"] is None else f"{part['of_peak']:8.0%} of the matrix rate"
            print(f"  {part['name']:<24} {part['ms']:8.1f} ms {part['share']:7.1%}{of_peak}")


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    results = measure(arguments.repeats)
    show(results)
    arguments.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
