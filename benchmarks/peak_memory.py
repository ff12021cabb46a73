"""How much memory forward and backward add at their peak to what held the inputs and the output's gradient.

Measured on the whole process, so that memory outside PyTorch's allocator counts: the highest resident size of a fresh process during one
call, less the size before. It contains the output and the three gradients, which every implementation has to return.
"""

import ctypes
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks import operator_contenders as contenders
from benchmarks.grid_sample import SPELLINGS
from benchmarks.operator_shapes import SHAPES, Shape, draw

SHAPE = SHAPES[0]
SPELLED = tuple(SPELLINGS)
MIB = 2**20
STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def peaks(names: list[str], repeats: int) -> dict[str, float]:
    """Bytes of each contender, the median over fresh processes."""
    return {name: statistics.median(_in_fresh_process(name) for _ in range(repeats)) for name in names}


def returned_bytes(shape: Shape = SHAPE) -> int:
    """Of the output and the gradients."""
    inputs = draw(shape)
    return sum(tensor.nbytes for tensor in (inputs.grad, *inputs.tensors))


def extra_bytes(name: str) -> int:
    """Of one forward and backward in this process."""
    run = _runner(name)
    run(Shape("warm-up", 2, 2, SHAPE.channels, SHAPE.groups))()  # threads, libraries and their tables
    call = run(SHAPE)
    _forget_peak()
    before = _resident("VmRSS")
    call()
    return _resident("VmHWM") - before


def _runner(name: str) -> Callable[[Shape], Callable[[], object]]:
    spelled = contenders.baselines(SHAPE.groups)
    operator = spelled[name] if name in spelled else contenders.native(name, SHAPE.groups)

    def prepared(shape: Shape) -> Callable[[], object]:
        inputs = draw(shape)
        return lambda: contenders.forward_backward(operator, inputs)

    return prepared


def _forget_peak() -> None:
    """Memory that is free but still resident would hide new allocations, so it goes back first; then the peak starts anew (Linux only)."""
    ctypes.CDLL(None).malloc_trim(0)
    CLEAR.write_text("5")


def _resident(field: str) -> int:
    lines = dict(line.split(":", 1) for line in STATUS.read_text().splitlines())
    return int(lines[field].split()[0]) * 1024


def _in_fresh_process(name: str) -> int:
    done = subprocess.run([sys.executable, "-m", "benchmarks.peak_memory", name], capture_output=True, text=True, check=True)
    return int(done.stdout)


if __name__ == "__main__":
    print(extra_bytes(sys.argv[1]))
