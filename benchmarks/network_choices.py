"""Ways to spell parts of the network, forward and backward: `python -m benchmarks.network_choices [--repeats N] [--json FILE]`."""

import argparse
import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.hardware import describe
from benchmarks.timing import Run, interleaved, milliseconds
from searchspace.formats import load_variant
from trainer.internimage_blocks import Block

RESULTS = Path(__file__).parent / "results" / "network-choices-cpu.json"
DROP_PATH_RATE = 0.1
BLOCKS = (
    ("t", 0, 4, 56),
    ("t", 2, 4, 14),
    ("t", 0, 64, 8),
    ("s", 0, 4, 56),
    ("s", 2, 4, 14),
    ("s", 0, 64, 8),
)  # style, stage, images, side
MAPS = ((64, 2, 256), (64, 1, 512), (64, 3, 256), (64, 4, 128), (4, 14, 256))  # images, side, channels


class ThreePasses(Block):
    """A block whose layer scale, stochastic depth and residual sum are a pass each."""

    def _add(self, x: Tensor, branch: Tensor, gamma: Tensor | None) -> Tensor:
        return x + self.drop_path(branch if gamma is None else gamma * branch)


def residual_sums(style: str, stage: int, images: int, side: int) -> Mapping[str, Run]:
    """A block's step with its residual sums in one pass and in several."""
    config = load_variant("T" if style == "t" else "S")
    x = torch.randn(images, side, side, config.widths[stage], requires_grad=True)
    gradient = torch.randn_like(x)

    def step(block: Block) -> None:
        block(x).backward(gradient)

    blocks = {"passes": ThreePasses(config, stage, DROP_PATH_RATE), "one pass": Block(config, stage, DROP_PATH_RATE)}
    return {name: partial(step, block) for name, block in blocks.items()}


def small_maps(images: int, side: int, channels: int, dtype: torch.dtype) -> Mapping[str, Run]:
    """A depthwise 3 x 3 convolution's step, its map padded by the library or by hand."""
    weight, bias = (torch.randn(shape, dtype=dtype, requires_grad=True) for shape in ((channels, 1, 3, 3), (channels,)))
    x = torch.randn(images, side, side, channels, dtype=dtype, requires_grad=True)
    gradient = torch.randn(images, side, side, channels, dtype=dtype).permute(0, 3, 1, 2)

    def plain() -> None:
        F.conv2d(x.permute(0, 3, 1, 2), weight, bias, padding=1, groups=channels).backward(gradient)

    def padded() -> None:
        F.conv2d(F.pad(x, (0, 0, 1, 1, 1, 1)).permute(0, 3, 1, 2), weight, bias, groups=channels).backward(gradient)

    return {"plain": plain, "padded": padded}


def measure(repeats: int) -> dict[str, Any]:
    """All pairs, each interleaved, in plain types; a ratio above one speaks for the second."""
    torch.manual_seed(0)
    pairs = {
        f"residual sums, {style} stage {stage + 1}, {n} x {side}²": residual_sums(style, stage, n, side) for style, stage, n, side in BLOCKS
    }
    for dtype in (torch.float32, torch.bfloat16):
        pairs |= {f"depthwise, {n} x {side}², {c}, {dtype}".replace("torch.", ""): small_maps(n, side, c, dtype) for n, side, c in MAPS}
    rows = {}
    for name, runs in pairs.items():
        first, second = interleaved(runs, repeats).items()
        rows[name] = {label: milliseconds(timing) for label, timing in (first, second)} | {"ratio": first[1].median / second[1].median}
    return {"hardware": describe(), "rows": rows}


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=11)
    parser.add_argument("--json", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    results = measure(arguments.repeats)
    for name, row in results["rows"].items():
        times = ", ".join(f"{label} {timing['median_ms']:.2f} ms" for label, timing in row.items() if label != "ratio")
        print(f"{name:<44} {times}: {row['ratio']:.2f}x")
    arguments.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
