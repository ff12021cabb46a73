"""InternImage-T and the programs that are saved of it, a batch of one: `python -m benchmarks.programs [--repeats N] [--json FILE]`."""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import onnxruntime
import torch
from torch import Tensor

from benchmarks.hardware import describe
from benchmarks.timing import Run, interleaved, milliseconds
from benchmarks.training_step import deform
from searchspace.formats import load_variant
from trainer.internimage import InternImage
from trainer.onnx_program import save_onnx
from trainer.torch_program import save_torch_program

RESULTS = Path(__file__).parent / "results" / "programs-cpu.json"
SIDE = 224


def measure(repeats: int) -> dict[str, Any]:
    """Milliseconds, megabytes of the file and the largest difference of a logit from the network's, by program."""
    torch.manual_seed(0)
    model = InternImage(load_variant("T")).eval()
    model.apply(deform)
    images = torch.randn(1, 3, SIDE, SIDE)
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode(False), torch.no_grad():
        program = save_torch_program(model, Path(folder, "model.pt2"), image_size=SIDE)
        graph = save_onnx(model, Path(folder, "model.onnx"), image_size=SIDE)
        runs = {"network": lambda: model(images), "model.pt2": _torch(program, images), "model.onnx": _onnx(graph, images)}
        sizes = {"model.pt2": program.stat().st_size, "model.onnx": graph.stat().st_size}
        expected = model(images)
        rows = {
            name: {
                **milliseconds(timing),
                "difference": float((runs[name]() - expected).abs().max()),
                "megabytes": sizes.get(name, 0) / 1e6,
            }
            for name, timing in interleaved(runs, repeats).items()
        }
    return {"hardware": describe(), "onnxruntime": onnxruntime.__version__, "largest logit": float(expected.abs().max()), "rows": rows}


def _torch(path: Path, images: Tensor) -> Run:
    module = torch.export.load(path).module()
    return lambda: module(images)


def _onnx(path: Path, images: Tensor) -> Run:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # its idle threads would slow down whoever is next
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda: torch.from_numpy(session.run(None, {"images": images.numpy()})[0])


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--json", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    results = measure(arguments.repeats)
    first = results["rows"]["network"]["median_ms"]
    for name, row in results["rows"].items():
        times = f"{row['median_ms']:7.1f} ms {row['median_ms'] / first:5.2f}x"
        file = f"{row['megabytes']:7.1f} MB, largest difference {row['difference']:.1e}" if row["megabytes"] else ""
        print(f"{name:<12}{times} {file}")
    arguments.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
