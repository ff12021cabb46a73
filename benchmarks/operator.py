"""How fast is the operator? Run `python -m benchmarks.operator [--repeats N] [--json PATH] [--quick]` on a machine at rest.

Times the CPU kernel's variants against softmax and `F.grid_sample`, alone and inside InternImage-T; on a GPU machine the CUDA kernel, too.
"""

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks import hardware, operator_cuda, operator_tables, peak_memory, training_step
from benchmarks.load_rate import all_rates
from benchmarks.operator_contenders import kernel_variants
from benchmarks.operator_rows import Row, as_json, measure
from benchmarks.operator_shapes import SHAPES
from benchmarks.operator_targets import Target, ratio_targets, share_targets

QUICK_SHAPES = SHAPES[1::4]  # the second stage of each family


def main() -> None:
    """Measure, print and, if asked, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--quick", action="store_true", help="few shapes and repeats, no training step: does it run?")
    arguments = parser.parse_args()
    report = run(2 if arguments.quick else arguments.repeats, quick=arguments.quick)
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def run(repeats: int, *, quick: bool) -> dict[str, Any]:
    """Every section, printed as soon as it is there, and all of them as one document."""
    machine = hardware.describe()
    print(", ".join(f"{name} {value}" for name, value in machine.items() if value))
    sections: list[Section] = [_rates(), _shapes(repeats, quick), _memory(1 if quick else 3), _steps(0 if quick else max(3, repeats // 2))]
    reached = [target for _, targets in sections for target in targets]
    operator_tables.print_targets(reached)
    cuda = operator_cuda.rows()
    operator_tables.print_cuda(cuda)
    verdicts = [{**asdict(target), "verdict": target.verdict} for target in reached]
    measured = {name: each for document, _ in sections for name, each in document.items()}
    return {"hardware": machine, "repeats": repeats, **measured, "targets": verdicts, "cuda": cuda}


Section = tuple[dict[str, Any], list[Target]]


def _rates() -> Section:
    rates = all_rates(kernel_variants())
    operator_tables.print_rates(rates)
    return {"load_rates": {variant: [asdict(rate) for rate in measured] for variant, measured in rates.items()}}, []


def _shapes(repeats: int, quick: bool) -> Section:
    rows: list[Row] = [measure(shape, kernel_variants(), repeats) for shape in (QUICK_SHAPES if quick else SHAPES)]
    operator_tables.print_shapes(rows)
    return {"shapes": [as_json(row) for row in rows]}, [*ratio_targets(rows), *share_targets(rows)]


def _memory(repeats: int) -> Section:
    variant = kernel_variants()[0]
    peaks = peak_memory.peaks([*peak_memory.SPELLED, variant], repeats)
    operator_tables.print_memory(peaks, peak_memory.returned_bytes())
    least = min(peaks[name] for name in peak_memory.SPELLED)
    return {"peak_memory_bytes": peaks}, [Target("extra peak memory, least of grid_sample over native", least / peaks[variant], 4.0, 6.0)]


def _steps(repeats: int) -> Section:
    if not repeats:
        return {"training_steps": []}, []
    steps = training_step.steps(repeats)
    operator_tables.print_steps(steps)
    return {"training_steps": [training_step.as_json(step) for step in steps]}, training_step.targets(steps)


if __name__ == "__main__":
    main()
