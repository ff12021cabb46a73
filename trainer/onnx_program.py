"""A network as an ONNX model of standard operators, DCNv3 being a depthwise `DeformConv`."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainer.programs import Place, check_agreement, evaluating, traced
from trainer.whole_file import replacing

OPSET = 20  # DeformConv is there from 19 on, and Gelu from 20
BOUND = 1e-3
LARGEST_NETWORK = 2**31 - 2**26  # bytes: a file of the format holds 2 GiB, and the graph needs room too
NEEDED = ("onnx", "onnxscript")

logger = logging.getLogger(__name__)


def save_onnx(model: nn.Module, path: Path, *, image_size: int) -> Path:
    """Write `model` in evaluation mode as one ONNX file: `images` (batch, 3, image_size, image_size) to `logits`, any batch size.

    Where onnxruntime is installed the file has been run before it appears at `path`; ValueError for logits that are further than 1e-3 of
    the largest from the network's, for a network of more than 2 GiB, and for parameters that are not float32 on the CPU. ImportError
    names the extra that is missing.
    """
    _check_extra()
    _check_size(model)
    with evaluating(model), replacing(path) as file:
        _write(model, file, image_size)
        if find_spec("onnxruntime") is None:
            logger.warning("onnxruntime is not installed: %s has not been compared with the network", path)
        else:
            check_agreement(model, lambda images: _run(file, images), image_size, bound=BOUND)
    return path


def _check_extra() -> None:
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        raise ImportError(f"saving ONNX models needs {' and '.join(missing)}: pip install 'nas-scaling[onnx]'")


def _check_size(model: nn.Module) -> None:
    size = sum(tensor.numel() * tensor.element_size() for tensor in model.state_dict().values())
    if size > LARGEST_NETWORK:
        raise ValueError(f"an ONNX file holds at most 2 GiB, got a network of {size / 2**30:.1f} GiB; save it as a PyTorch program")


def _write(model: nn.Module, file: Path, image_size: int) -> None:
    import onnx

    program = traced(model, image_size, DeformConv)
    with _quiet():
        exported = torch.onnx.export(
            program,
            dynamic_shapes={"images": {0: "batch"}},
            input_names=["images"],
            output_names=["logits"],
            opset_version=OPSET,
            verbose=False,
        )
    assert exported is not None, "the exporter was told to give a program"
    graph = exported.model.graph
    for item in (graph, *graph, *graph.inputs, *graph.outputs, *graph.initializers.values()):
        item.metadata_props.clear()
    onnx.save(exported.model_proto, file)
    onnx.checker.check_model(file, full_check=True)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporter says about itself: that it copies its records in a deprecated way and that torchvision is not there."""
    exporter = logging.getLogger("torch.onnx")
    level = exporter.level
    exporter.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*LeafSpec.* is deprecated", FutureWarning)
            yield
    finally:
        exporter.setLevel(level)


def _run(file: Path, images: Tensor) -> Tensor:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {"images": images.numpy()})[0])


class DeformConv(nn.Module):
    """The operator as ONNX spells it, a depthwise convolution with weights of one, on images whose height and width are exchanged.

    ONNX walks through the points of a kernel along y first and knows offsets as (y, x), DCNv3 both the other way round: in the exchanged
    image both are the same. The offset scale, unknown to ONNX, stretches the fixed grid by way of the offsets.
    """

    stretch: Tensor
    ones: Tensor

    def __init__(self, place: Place) -> None:
        super().__init__()
        self.place, geometry = place, place.geometry
        kernel = list(reversed(geometry.kernel_size))
        self.attributes: dict[str, Any] = {
            "kernel_shape": kernel,
            "strides": list(reversed(geometry.stride)),
            "pads": list(reversed(geometry.padding)) * 2,
            "dilations": list(reversed(geometry.dilation)),
            "group": place.channels,
            "offset_group": geometry.groups,
        }
        axes = [
            dilation * torch.arange(size) - dilation * (size - 1) // 2
            for size, dilation in zip(kernel, reversed(geometry.dilation), strict=True)
        ]
        self.register_buffer("stretch", torch.cartesian_prod(*axes) * (geometry.offset_scale - 1), persistent=False)
        self.register_buffer("ones", torch.ones(place.channels, 1, *kernel), persistent=False)

    def forward(self, value: Tensor, offset: Tensor, mask: Tensor) -> Tensor:
        """(N, Ho, Wo, C) from value (N, H, W, C), offset (N, Ho, Wo, G·K·2) and mask (N, Ho, Wo, G·K)."""
        place, geometry = self.place, self.place.geometry
        points = (geometry.groups, geometry.points)
        mask = mask.unflatten(-1, points)
        mask = mask.softmax(-1) if place.softmax else mask
        offset = offset.unflatten(-1, (*points, 2))
        if geometry.remove_center:  # a point that weighs nothing
            mask, offset = _with_middle(mask, -1, (0, 1)), _with_middle(offset, -2, (0, 0, 0, 1))
        if geometry.offset_scale != 1:
            offset = offset * geometry.offset_scale + self.stretch
        sampled = self._convolved(*(tensor.permute(0, 3, 2, 1) for tensor in (value, offset.flatten(3), mask.flatten(3))))
        return sampled.permute(0, 3, 2, 1)

    def _convolved(self, value: Tensor, offset: Tensor, mask: Tensor) -> Tensor:
        shape = (value.shape[0], self.place.channels, *reversed(self.place.output_size))
        inputs: tuple[Tensor | None, ...] = (value, self.ones, offset, None, mask)
        return torch.onnx.ops.symbolic("DeformConv", inputs, self.attributes, dtype=value.dtype, shape=shape, version=OPSET)


def _with_middle(points: Tensor, axis: int, padding: tuple[int, ...]) -> Tensor:
    """`points` with zeros in the middle of `axis`; `padding` puts them behind its first half."""
    before, after = points.chunk(2, axis)
    return torch.cat((F.pad(before, padding), after), axis)
