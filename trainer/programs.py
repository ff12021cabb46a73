"""What every way out of PyTorch shares: a network traced whole with its operator spelled out, compared with itself, written at once."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.overrides import TorchFunctionMode

from dcnv3.geometry import Geometry, Pair
from dcnv3.registration import geometry_of

TRACED_BATCH = 2  # any number but one, which a trace takes for a constant
CHECKED_BATCH = 3  # another one: what was fixed by mistake shows


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One kind of call of the operator in a network: its arguments and the sizes (height, width) around it."""

    geometry: Geometry
    softmax: bool
    channels: int
    input_size: Pair
    output_size: Pair


def traced(model: nn.Module, image_size: int, spelled: Callable[[Place], nn.Module]) -> ExportedProgram:
    """`model` as a program from images (N, 3, image_size, image_size) to logits, for any N.

    Every call of `dcnv3::forward` becomes a call of `spelled(place)`, a module from value, offset and mask to the sampled values; calls
    that are alike share one. The program knows no source file, and no module by name.
    """
    images = torch.zeros(TRACED_BATCH, 3, image_size, image_size)
    with torch.no_grad(), _SpeltOut(spelled):
        model(images)  # makes the modules, which a trace could not
        program = torch.export.export(model, (images,), dynamic_shapes=({0: Dim("batch", min=1)},))
    assert not program.graph.find_nodes(op="call_function", target=torch.ops.dcnv3.forward.default)
    program.example_inputs = None
    for node in program.graph.nodes:
        node.meta = {key: value for key, value in node.meta.items() if key == "val"}
    return program


class _SpeltOut(TorchFunctionMode):
    """While it is entered, other modules do the operator's work."""

    def __init__(self, spelled: Callable[[Place], nn.Module]) -> None:
        super().__init__()
        self._module = cache(spelled)

    def __torch_function__(self, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        """As `TorchFunctionMode`."""
        if function in (torch.ops.dcnv3.forward, torch.ops.dcnv3.forward.default):
            value, offset, mask, *arguments = args
            return self._module(_place(value, offset, arguments))(value, offset, mask)
        return function(*args, **(kwargs or {}))


def _place(value: Tensor, offset: Tensor, arguments: Sequence[Any]) -> Place:
    _, height, width, channels = value.shape
    outputs = (offset.shape[1], offset.shape[2])
    return Place(geometry=geometry_of(arguments), softmax=arguments[-1], channels=channels, input_size=(height, width), output_size=outputs)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """`model` in evaluation mode, as it was afterwards; ValueError unless its parameters are float32 on the CPU."""
    for name, tensor in model.named_parameters():
        if tensor.dtype != torch.float32 or tensor.device.type != "cpu":
            raise ValueError(
                f"a network is saved as a program in float32 and from the CPU, got {name} in {tensor.dtype} on {tensor.device}"
            )
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def check_agreement(model: nn.Module, run: Callable[[Tensor], Tensor], image_size: int, *, bound: float) -> None:
    """ValueError unless `run` maps random images to `model`'s logits, each within `bound` times the largest of them."""
    images = torch.randn(CHECKED_BATCH, 3, image_size, image_size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected, found = model(images), run(images)
    largest, difference = (float(tensor.abs().max()) for tensor in (expected, found - expected))
    if not difference <= bound * largest:  # nor is NaN
        raise ValueError(
            f"a saved program must give the network's logits within {bound:g} of the largest, got a difference of {difference:.2g} "
            f"where the largest is {largest:.2g}; nothing was saved"
        )
