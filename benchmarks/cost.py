"""How fast is the exact cost? Run `python -m benchmarks.cost [--repeats N] [--json FILE]`.

Times the cost of one architecture, the depth that meets a target, a million candidates at once, the memory of a training step, and what
spaces answer: which of their choices are feasible, and what comes nearest to a size out of reach.
"""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.hardware import describe
from benchmarks.timing import Run, Timing, interleaved, milliseconds
from nas.output import Column, print_rows, text_column
from searchspace.closed_form import closed_form
from searchspace.cost import cost
from searchspace.cost_arrays import cost_arrays
from searchspace.depth import Stack, nearest_depth
from searchspace.memory import Training, memory_bytes
from searchspace.presets import preset
from searchspace.sizes import Limit, Target
from searchspace.space import SearchSpace
from searchspace.spaces import stacking_space, wide_stacking_space

RESULTS = Path(__file__).parent / "results" / "cost.json"
CANDIDATES = 1_000_000
DEPTH_T, DEPTH_H, MANY_T, MANY_H = "L3 for 30M parameters, t", "L3 for 1G parameters, h", "a million stacks, t", "a million stacks, h"
UNREACHABLE, UNREACHABLE_FREE = "wide space, target out of reach", "wide space, L3 free, limits out of reach"
TARGETS: Mapping[str, float] = {  # seconds at most
    DEPTH_T: 50e-6,
    DEPTH_H: 50e-6,
    MANY_T: 1.0,
    MANY_H: 1.0,
    UNREACHABLE: 10e-3,
    UNREACHABLE_FREE: 10e-3,
}
GROUPS = (4, 8, 16, 32)
LIMITS = tuple(map(Limit.parse, ("params<=60M", "flops<=10G", "memory<=16G")))


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--json", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    times = interleaved(runs(), arguments.repeats)
    machine = describe()
    print(", ".join(f"{name} {value}" for name, value in machine.items() if value))
    show(times)
    report = {"hardware": machine, "repeats": arguments.repeats, "times": {name: as_json(name, timing) for name, timing in times.items()}}
    arguments.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def runs() -> dict[str, Run]:
    """What is timed, by name; a solution makes its stack anew, as a search does for every candidate."""
    t, many = preset("T").config, stacks()
    return {
        "cost of T": lambda: cost(t),
        "closed form of style t, not yet known": lambda: closed_form.__wrapped__("t"),
        DEPTH_T: lambda: nearest_depth(Stack(channels=64, group_channels=16, l1=4).cost_of_depth("params"), 30e6),
        DEPTH_H: lambda: nearest_depth(Stack(channels=320, group_channels=32, l1=6, style="h").cost_of_depth("params"), 1e9),
        MANY_T: lambda: cost_arrays(*many),
        MANY_H: lambda: cost_arrays(*many, style="h"),
        "memory of training T": lambda: memory_bytes(t, Training(batch_size=64)),
        UNREACHABLE: lambda: refusal(wide_stacking_space(kernel_size=[3, 5, 7], target=Target(100_000))),
        UNREACHABLE_FREE: lambda: refusal(
            wide_stacking_space(kernel_size=[3, 5, 7], limits=[Limit("params", 10**5), Limit("memory", 10**9)])
        ),
        "wide space, feasible set": lambda: wide_stacking_space(kernel_size=[3, 5, 7], limits=LIMITS).feasible_set(),
        "ten million choices, feasible set": lambda: vast_space().feasible_set(),
    }


def vast_space() -> SearchSpace:
    """As many choices as are enumerated at all."""
    return stacking_space(channels=range(16, 1601, 16), group_channels=GROUPS, l1=range(1, 26), l3=range(1, 1001), limits=LIMITS)


def refusal(space: SearchSpace) -> str:
    """What a space without feasible candidates answers."""
    try:
        space.feasible_set()
    except ValueError as error:
        return str(error)
    raise AssertionError("the space has feasible candidates")


def stacks() -> tuple[np.ndarray, ...]:
    """A million of (C1, C', L1, L3), drawn."""
    rng = np.random.default_rng(0)
    group_channels = rng.choice(GROUPS, CANDIDATES)
    channels = group_channels * rng.integers(1, 41, CANDIDATES)
    return channels, group_channels, rng.integers(1, 9, CANDIDATES), rng.integers(1, 65, CANDIDATES)


def show(times: Mapping[str, Timing]) -> None:
    """Milliseconds in a table."""
    rows = [{"what": name, **as_json(name, timing)} for name, timing in times.items()]
    numbers = [Column(f"{name}_ms", f"{name}, ms", "{:.4g}".format) for name in ("lower", "median", "upper", "most")]
    print_rows(rows, [text_column("what", "what"), *numbers, text_column("verdict", "verdict")], format="table", title="Exact cost")


def as_json(name: str, timing: Timing) -> dict[str, Any]:
    """In plain types, with the most that it may take, where that is given, and whether it keeps to it."""
    if name not in TARGETS:
        return milliseconds(timing)
    return {**milliseconds(timing), "most_ms": 1000 * TARGETS[name], "verdict": "met" if timing.median <= TARGETS[name] else "not met"}


if __name__ == "__main__":
    main()
