"""PyTorch's compiler on whole networks: exported and compiled they compute what they do when run."""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from searchspace.model_config import ModelConfig
from searchspace.presets import preset
from searchspace.styles import styled
from trainer.internimage import InternImage

IMAGES = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))


WHOLE = preset("T").config
FEW_BLOCKS = replace(WHOLE, depths=(1, 1, 2, 1))  # a compiler goes through every block anew


def tiny(config: ModelConfig) -> InternImage:
    """InternImage-T whose points lie half a pixel off their places and weigh differently, as after training."""
    torch.manual_seed(0)
    model = InternImage(config)
    for name, parameter in model.named_parameters():
        if ".offset." in name or ".mask." in name:
            nn.init.normal_(parameter, std=0.5 if name.endswith("bias") else 0.5 * parameter.shape[1] ** -0.5)
    return model.eval()


@pytest.fixture
def _quiet_compiler() -> Iterator[None]:
    with warnings.catch_warnings():
        # The compiler makes an instance of autograd's Function itself and is warned for it.
        warnings.filterwarnings("ignore", "<class 'torch.autograd.function.Function'> should not be instantiated", DeprecationWarning)
        # Its C++ backend is written with what PyTorch has deprecated.
        warnings.filterwarnings("ignore", ".torch.jit.script", DeprecationWarning)
        yield
    torch._dynamo.reset()


def compiled_by(backend: str) -> Callable[[nn.Module], Callable[[Tensor], Tensor]]:
    return lambda model: torch.compile(model, backend=backend, fullgraph=True)


def exported(model: nn.Module) -> Callable[[Tensor], Tensor]:
    program = torch.export.export(model, (IMAGES,))
    operators = [node for node in program.graph.nodes if node.target is torch.ops.dcnv3.forward.default]
    assert len(operators) == 30
    return program.module()


@pytest.mark.usefixtures("_quiet_compiler")
@pytest.mark.parametrize(
    ("transformed", "config"),
    [
        pytest.param(exported, WHOLE, id="export"),
        pytest.param(compiled_by("aot_eager"), FEW_BLOCKS, id="aot_eager"),
        pytest.param(compiled_by("inductor"), WHOLE, id="inductor", marks=pytest.mark.slow),
    ],
)
def test_the_tiny_variant_gives_the_same_logits(
    transformed: Callable[[nn.Module], Callable[[Tensor], Tensor]], config: ModelConfig
) -> None:
    model = tiny(config)
    with torch.no_grad():
        torch.testing.assert_close(transformed(model)(IMAGES), model(IMAGES), rtol=0, atol=1e-4)


def gradients(model: nn.Module, run: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
    model.zero_grad()
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    nn.functional.cross_entropy(run(images), torch.tensor([1, 2, 3, 4])).backward()
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters()}


@pytest.mark.usefixtures("_quiet_compiler")
def test_a_compiled_training_step_has_the_same_gradients() -> None:
    torch.manual_seed(0)
    model = InternImage(styled(channels=16, group_channels=4, depths=(1, 1, 1, 1), style="s"), num_classes=10)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    known = gradients(model, model)
    found = gradients(model, torch.compile(model, backend="aot_eager", fullgraph=True))
    assert all(gradient.any() for gradient in known.values())
    for name, gradient in known.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-5, msg=lambda text, name=name: f"{name}: {text}")
