"""How far are the CUDA kernels from the plain ones and from the device's limits? Run `python -m benchmarks.operator_cuda`.

InternImage-T's four stages in bfloat16, forward and backward. Every contender runs as a CUDA graph over several copies of its inputs, so
that neither Python nor a warm cache is measured; contenders take turns, and each row holds medians.
"""

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dcnv3 import cuda, cuda_driver, nvrtc
from dcnv3.cuda_plan import Problem, choose_strategy
from dcnv3.geometry import Geometry

PLAIN = Path(__file__).with_name("plain_kernel.cuh")
STAGES = [(56, 64), (28, 128), (14, 256), (7, 512)]  # pixels along a side, channels
GROUP_CHANNELS = 16
LINE_BYTES = 128
STRATEGIES = ("planes", "sums", "fixed")
NOT_MEASURED = "not measured"
Contender = Callable[[], Any]
Contenders = dict[str, list[Contender]]


@dataclass(frozen=True)
class Inputs:
    """One copy of a stage's tensors."""

    geometry: Geometry
    grad: Tensor
    value: Tensor
    offset: Tensor
    mask: Tensor

    @property
    def bytes_forward(self) -> int:
        """What a forward pass must read and write, once each."""
        return _bytes(self.value, self.offset, self.mask, self.grad)

    @property
    def bytes_backward(self) -> int:
        """Likewise backward."""
        return _bytes(self.grad) + 2 * _bytes(self.value, self.offset, self.mask)


def main() -> None:
    """Measure and print."""
    for row in rows():
        print("  ".join(f"{name} {number:.1f}" if isinstance(number, float) else f"{name} {number}" for name, number in row.items()))


def rows(images: int = 64, repeats: int = 30) -> list[dict[str, Any]]:
    """A row for every stage and pass: microseconds of each contender, bytes, and the bounds of memory and of cache lines."""
    reason = cuda.unavailable()
    if reason:
        return [
            {**_label(side, channels, way), "us": NOT_MEASURED, "reason": reason}
            for side, channels in STAGES
            for way in ("forward", "backward")
        ]
    return [row for side, channels in STAGES for row in measure(side, channels, images, repeats)]


def measure(side: int, channels: int, images: int, repeats: int) -> list[dict[str, Any]]:
    """The two rows of one stage."""
    first = inputs(side, channels, images)
    # Twice the second-level cache: what one copy leaves there is gone before its turn comes again.
    copies = [first, *(inputs(side, channels, images) for _ in range(2 * _properties().L2_cache_size // first.bytes_forward))]
    forward: Contenders = {"ours": [partial(_forward, one) for one in copies], "plain": [partial(plain_forward, one) for one in copies]}
    backward: Contenders = {way: [partial(_backward, one, way) for one in copies] for way in STRATEGIES if _possible(first, way)}
    backward["plain"] = [partial(plain_backward, one) for one in copies]
    problem = _problem(first)
    chosen = choose_strategy(problem, cuda_driver.device_limits(torch.cuda.current_device()))
    return [
        _row(_label(side, channels, "forward"), first.bytes_forward, problem, interleaved(forward, repeats), "ours"),
        _row(_label(side, channels, "backward"), first.bytes_backward, problem, interleaved(backward, repeats), chosen),
    ]


def interleaved(contenders: Contenders, repeats: int) -> dict[str, float]:
    """Median microseconds of one call of each contender."""
    graphs = {name: captured(calls) for name, calls in contenders.items()}
    samples: dict[str, list[float]] = {name: [] for name in graphs}
    for _ in range(repeats):
        for name, graph in graphs.items():
            samples[name].append(_milliseconds(graph.replay) * 1e3 / len(contenders[name]))
    return {name: statistics.median(times) for name, times in samples.items()}


def captured(calls: list[Contender]) -> torch.cuda.CUDAGraph:
    """All calls, one after another, as one graph."""
    for call in calls:
        call()  # compiles, and loads what must not be loaded during capture
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for call in calls:
            call()
    return graph


def inputs(side: int, channels: int, images: int) -> Inputs:
    """The same numbers at every call; offsets of about a pixel, as a trained network has them."""
    groups = channels // GROUP_CHANNELS
    geometry = Geometry(
        kernel_size=(3, 3), stride=(1, 1), padding=(1, 1), dilation=(1, 1), groups=groups, offset_scale=1.0, remove_center=False
    )
    seeded = torch.Generator("cuda").manual_seed(0)
    draw = partial(torch.randn, images, side, side, device="cuda", dtype=torch.bfloat16, generator=seeded)
    # In steps that float32 keeps beside any coordinate: rounded onto a whole pixel, an offset would have another slope than in float64.
    offset = (draw(groups * 18) * 256).round() / 256
    return Inputs(geometry, draw(channels), draw(channels), offset, draw(groups * 9))


def plain_forward(one: Inputs) -> Tensor:
    """The plain forward, softmax first."""
    output = torch.empty_like(one.grad)
    _plain(one, "plain_forward", -(-output.numel() // 256), 256, output=output, mask=_softmax(one))
    return output


def plain_backward(one: Inputs) -> tuple[Tensor, ...]:
    """The plain backward with a zero-filled float32 gradient, its cast, and the softmax's own backward."""
    sums = torch.zeros(one.value.shape, device="cuda")
    d_offset, d_weights, weights = torch.empty_like(one.offset), torch.empty_like(one.mask), _softmax(one)
    blocks = one.mask.numel() // 9
    _plain(one, "plain_backward", blocks, GROUP_CHANNELS, mask=weights, d_value=sums, d_offset=d_offset, d_mask=d_weights)
    groups = (one.geometry.groups, 9)
    d_mask = torch._softmax_backward_data(d_weights.unflatten(-1, groups), weights.unflatten(-1, groups), -1, one.mask.dtype)
    return sums.to(one.value.dtype), d_offset, d_mask.flatten(-2)


def _softmax(one: Inputs) -> Tensor:
    return one.mask.unflatten(-1, (one.geometry.groups, 9)).softmax(-1).flatten(-2)


def _plain(one: Inputs, kernel: str, blocks: int, threads: int, **tensors: Tensor) -> None:
    record = cuda.Arguments.from_buffer_copy(cuda.sizes(_problem(one), False))
    for name, tensor in {"value": one.value, "offset": one.offset, "grad": one.grad, **tensors}.items():
        setattr(record, name, tensor.data_ptr())
    cuda_driver.queue(_loaded(kernel), (blocks, threads, 0), record)


@cache
def _loaded(kernel: str) -> Any:
    architecture = nvrtc.target(torch.cuda.get_device_capability())
    macros = ("TYPE=bfloat16", f"GROUP_CHANNELS={GROUP_CHANNELS}")
    return cuda_driver.load_kernel(nvrtc.device_code(PLAIN, macros, architecture), kernel.encode())


def _forward(one: Inputs) -> Tensor:
    return cuda.forward(one.value, one.offset, one.mask, one.geometry, True)


def _backward(one: Inputs, strategy: str) -> tuple[Tensor, ...]:
    return cuda.backward_by(strategy, one.grad, one.value, one.offset, one.mask, geometry=one.geometry, softmax=True)


def _possible(one: Inputs, strategy: str) -> bool:
    try:
        _backward(one, strategy)
    except ValueError:
        return False
    return True


def _row(label: dict[str, Any], size: int, problem: Problem, times: dict[str, float], ours: str) -> dict[str, Any]:
    measured = {f"{name} us": round(number, 1) for name, number in times.items()}
    bounds = {"MB": round(size / 1e6, 1), "memory bound us": size / bandwidth() * 1e6, "line bound us": line_bound(problem)}
    return {**label, **measured, "chosen": ours, "times plain": round(times["plain"] / times[ours], 2), **bounds}


def line_bound(problem: Problem) -> float:
    """Microseconds for the gather alone at one cache line a cycle and multiprocessor: four pixels a point, each in lines of its own."""
    lines = 4 * problem.geometry.points * -(-problem.group_channels * problem.value.size // LINE_BYTES)
    device, driver = cuda_driver.device_limits(torch.cuda.current_device()), cuda_driver.driver()
    attribute = driver.CUdevice_attribute.CU_DEVICE_ATTRIBUTE_CLOCK_RATE
    kilohertz = cuda_driver.checked(driver.cuDeviceGetAttribute(attribute, torch.cuda.current_device()))[0]
    return float(problem.pixel_groups * lines / device.multiprocessors / kilohertz * 1e3)


@cache
def bandwidth() -> float:
    """Bytes a second that a large copy reaches on this device, both directions counted."""
    source = torch.empty(2**30, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    times = [_milliseconds(lambda: target.copy_(source)) for _ in range(10)]
    return 2 * source.numel() / (statistics.median(times) * 1e-3)


def _milliseconds(action: Contender) -> float:
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    action()
    end.record()
    end.synchronize()
    return start.elapsed_time(end)


def _problem(one: Inputs) -> Problem:
    return cuda.problem_of(tuple(one.value.shape), one.value.dtype, one.offset.dtype, one.geometry)


def _properties() -> Any:
    return torch.cuda.get_device_properties(torch.cuda.current_device())


def _label(side: int, channels: int, way: str) -> dict[str, Any]:
    return {"stage": f"{side}x{side}x{channels}", "pass": way}


def _bytes(*tensors: Tensor) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


if __name__ == "__main__":
    main()
