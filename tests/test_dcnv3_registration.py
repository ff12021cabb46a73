"""What PyTorch expects of an operator: gradients, shape rules, compilation, export, transforms, checkpoints, autocast, FLOPs."""

import copy
import os
import pickle
import subprocess
import sys
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

from dcnv3 import DCNv3, backends, dcnv3
from dcnv3.geometry import Geometry
from dcnv3.registration import arguments_of

GEOMETRY = Geometry(kernel_size=(3, 3), stride=(1, 1), padding=(1, 1), dilation=(1, 1), groups=2, offset_scale=1.0, remove_center=False)
CALL: dict[str, Any] = {"kernel_size": 3, "groups": 2}


def tensors(*, n: int = 2, size: int = 4, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    draw = torch.Generator().manual_seed(0)
    value, offset, mask = (torch.randn(n, size, size, last, generator=draw, dtype=dtype) for last in (8, 36, 18))
    return [tensor.requires_grad_() for tensor in (value, offset.floor() + 0.3, mask)]


def gradients(out: Tensor, inputs: list[Tensor]) -> tuple[Tensor, ...]:
    return torch.autograd.grad(out.square().sum(), inputs)


@pytest.fixture(params=["kernel", "reference"])
def _either_backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    if request.param == "kernel":
        assert backends.backend().name != backends.REFERENCE
        yield
    else:
        monkeypatch.setattr(backends, "_backend", lambda kind: backends.Backend(backends.REFERENCE, "wanted"))
        yield


@pytest.fixture
def _quiet_compiler() -> Iterator[None]:
    with warnings.catch_warnings():
        # The compiler makes an instance of autograd's Function itself and is warned for it.
        warnings.filterwarnings("ignore", "<class 'torch.autograd.function.Function'> should not be instantiated", DeprecationWarning)
        yield
    torch._dynamo.reset()


@pytest.mark.usefixtures("_either_backend")
def test_gradients_agree_with_finite_differences() -> None:
    assert torch.autograd.gradcheck(lambda *each: dcnv3(*each, **CALL), tensors(n=1, size=3))


def test_the_operators_pass_pytorchs_own_checks() -> None:
    inputs = [tensor.detach() for tensor in tensors()]
    arguments = arguments_of(GEOMETRY, True)
    for operator, each in ((torch.ops.dcnv3.forward, inputs), (torch.ops.dcnv3.backward, [torch.randn(2, 4, 4, 8).double(), *inputs])):
        found = torch.library.opcheck(operator, (*each, *arguments))
        assert set(found.values()) == {"SUCCESS"}


@pytest.mark.usefixtures("_quiet_compiler")
@pytest.mark.parametrize("dynamic", [False, True])
def test_compiled_whole_it_gives_the_same_output_and_gradients(dynamic: bool) -> None:
    def function(*each: Tensor) -> Tensor:
        return dcnv3(*each, **CALL).sin()

    compiled = torch.compile(function, fullgraph=True, backend="aot_eager", dynamic=dynamic)
    for n in (2, 3):
        inputs = tensors(n=n)
        out = compiled(*inputs)
        assert torch.equal(out, function(*inputs))
        assert all(map(torch.equal, gradients(out, inputs), gradients(function(*inputs), inputs)))


def test_an_exported_layer_holds_the_operator_and_computes_the_same() -> None:
    layer = DCNv3(16, 4).eval()
    x = torch.randn(2, 5, 5, 16)
    program = torch.export.export(layer, (x,))
    assert [str(node.target) for node in program.graph.nodes if "dcnv3" in str(node.target)] == ["dcnv3.forward.default"]
    torch.testing.assert_close(program.module()(x), layer(x))


def test_functional_calls_and_function_transforms_give_the_layers_gradients() -> None:
    layer, x = DCNv3(16, 4), torch.randn(2, 5, 5, 16)
    parameters = dict(layer.named_parameters())

    def loss(named: dict[str, Tensor]) -> Tensor:
        return torch.func.functional_call(layer, named, (x,)).square().sum()

    loss(parameters).backward()
    for name, gradient in torch.func.grad(loss)(parameters).items():
        torch.testing.assert_close(gradient, parameters[name].grad)


@pytest.mark.parametrize("needs_gradients", [False, True])
def test_vmap_is_refused_with_the_way_out(needs_gradients: bool) -> None:
    value, offset, mask = (tensor.detach().requires_grad_(needs_gradients) for tensor in tensors())
    with pytest.raises(NotImplementedError, match="fold the mapped dimension into the batch dimension N"):
        torch.vmap(lambda each: dcnv3(each, offset, mask, **CALL))(torch.stack((value, value)))


def test_a_second_derivative_is_refused_and_not_wrong() -> None:
    inputs = tensors()
    first = torch.autograd.grad(dcnv3(*inputs, **CALL).sum(), inputs, create_graph=True)
    with pytest.raises(NotImplementedError, match="can be differentiated once"):
        first[0].sum().backward()


def _by_transform(function: Any, value: Tensor) -> None:
    torch.func.jvp(function, (value,), (torch.ones_like(value),))


def _by_dual_number(function: Any, value: Tensor) -> None:
    with forward_ad.dual_level():
        function(forward_ad.make_dual(value, torch.ones_like(value)))


def _by_hessian(function: Any, value: Tensor) -> None:
    torch.func.hessian(lambda each: function(each).sum())(value)


# PyTorch's own forward mode is written with what it has deprecated.
@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")
@pytest.mark.parametrize("derive", [_by_transform, _by_dual_number, _by_hessian])
def test_a_forward_mode_derivative_is_refused_and_not_zero(derive: Any) -> None:
    value, offset, mask = (tensor.detach() for tensor in tensors())
    with pytest.raises(NotImplementedError, match="no forward-mode derivative"):
        derive(lambda each: dcnv3(each, offset, mask, **CALL), value)


def test_the_bare_operator_has_the_same_gradients() -> None:
    inputs = tensors()
    bare = torch.ops.dcnv3.forward(*inputs, *arguments_of(GEOMETRY, True))
    assert all(map(torch.equal, gradients(bare, inputs), gradients(dcnv3(*inputs, **CALL), inputs)))


def test_a_loaded_program_learns_as_the_layer_does(tmp_path: Any) -> None:
    torch.manual_seed(0)
    layer, x = DCNv3(16, 4), torch.randn(2, 5, 5, 16)
    torch.export.save(torch.export.export(layer, (x,)), tmp_path / "layer.pt2")
    layer(x).square().sum().backward()
    loaded = torch.export.load(tmp_path / "layer.pt2").module()
    loaded(x).square().sum().backward()
    expected = {name: parameter.grad for name, parameter in layer.named_parameters()}
    for name, parameter in loaded.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name])


def test_checkpoints_recompute_the_same_gradients() -> None:
    inputs = tensors()
    plain = gradients(dcnv3(*inputs, **CALL), inputs)
    again = gradients(checkpoint(lambda *each: dcnv3(*each, **CALL), *inputs, use_reentrant=False), inputs)
    assert all(map(torch.equal, plain, again))


def test_one_gradient_alone_is_the_same_as_among_three() -> None:
    value, offset, mask = tensors()
    out = dcnv3(value.detach(), offset, mask.detach(), **CALL)
    expected = torch.autograd.grad(dcnv3(value, offset, mask, **CALL).sum(), offset)[0]
    assert torch.equal(torch.autograd.grad(out.sum(), offset)[0], expected)


@pytest.mark.usefixtures("_either_backend")
def test_under_autocast_the_layer_works_in_half_precision_and_learns() -> None:
    torch.manual_seed(0)
    layer, x = DCNv3(16, 4), torch.randn(2, 6, 6, 16)
    for linear in (layer.offset, layer.mask):
        nn.init.normal_(linear.weight, std=0.1)
    expected = layer(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = layer(x)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), expected, rtol=0.1, atol=0.05)
    found.float().square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in layer.parameters())


def test_flops_follow_pytorchs_convention() -> None:
    inputs = tensors(n=2, size=4)
    with FlopCounterMode(display=False) as forward:
        dcnv3(*(tensor.detach() for tensor in inputs), **CALL)
    with FlopCounterMode(display=False) as both:
        dcnv3(*inputs, **CALL).sum().backward()
    core = 10 * (2 * 4 * 4) * 9 * 8
    assert (forward.get_total_flops(), both.get_total_flops()) == (core, 3 * core)


def test_a_copied_layer_works_in_many_threads() -> None:
    layer = pickle.loads(pickle.dumps(copy.deepcopy(DCNv3(16, 4).eval())))
    inputs = [torch.randn(2, 5, 5, 16) for _ in range(8)]
    with torch.no_grad(), ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda x: layer(x).detach(), inputs))
    assert all(torch.equal(mine, layer(x)) for mine, x in zip(found, inputs, strict=True))


WITHOUT_KERNEL = """
import sys, torch
from dcnv3 import backend, dcnv3

assert backend().name == "reference"
draw = torch.Generator().manual_seed(0)
size = int(sys.argv[1])
inputs = [torch.rand(2, size, size, last, generator=draw, dtype=torch.float64).requires_grad_() for last in (8, 36, 18)]

def function(*each):
    return dcnv3(*each, kernel_size=3, groups=2).sin()

expected = function(*inputs)
found = torch.compile(function, fullgraph=True, backend="aot_eager")(*inputs)
arguments = ((3, 3), (1, 1), (1, 1), (1, 1), 2, 1.0, False, True)
bare = torch.ops.dcnv3.forward(*inputs, *arguments)
torch.testing.assert_close(found, expected)
torch.testing.assert_close(bare.detach().sin(), expected.detach())
for mine, theirs in zip(*(torch.autograd.grad(out.sum(), inputs) for out in (found, expected)), strict=True):
    torch.testing.assert_close(mine, theirs)

plain = [tensor.detach().float() for tensor in (bare, *inputs)]
for operator, each in ((torch.ops.dcnv3.forward, inputs), (torch.ops.dcnv3.backward, plain)):
    assert set(torch.library.opcheck(operator, (*each, *arguments)).values()) == {"SUCCESS"}
wanted = torch.ops.dcnv3.backward(*plain, *arguments)
for place in (torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16)):
    with place:
        found = torch.ops.dcnv3.backward(*(tensor.clone() for tensor in plain), *arguments)
    assert all(map(torch.equal, found, wanted))
"""


@pytest.mark.parametrize("size", [4, 20], ids=["summed by matrix", "gathered"])
def test_compiled_and_bare_operators_work_without_a_kernel_too(size: int) -> None:
    environment = {**os.environ, backends.CPU_VARIABLE: backends.REFERENCE}
    subprocess.run([sys.executable, "-c", WITHOUT_KERNEL, str(size)], check=True, env=environment, timeout=120)


DISTRIBUTED = """
import os, sys, warnings, torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel
from dcnv3 import DCNv3

# The depthwise convolution's gradient is dense in another order; PyTorch says that this may cost time.
warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
rank, folder = int(sys.argv[1]), sys.argv[2]
distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
torch.manual_seed(0)
layer = DCNv3(8, 2)
nn.init.normal_(layer.offset.weight)
x = torch.randn(4, 5, 5, 8)
layer(x).square().mean().backward()
expected = [parameter.grad.clone() for parameter in layer.parameters()]
layer.zero_grad()
parallel = DistributedDataParallel(layer)
parallel(x[2 * rank : 2 * rank + 2]).square().mean().backward()
for parameter, whole in zip(layer.parameters(), expected, strict=True):
    torch.testing.assert_close(parameter.grad, whole, rtol=1e-4, atol=1e-6)
distributed.barrier()
del parallel
distributed.destroy_process_group()
# Everything has been checked; now and then gloo's threads abort a process that shuts down.
os._exit(0)
"""


def test_two_processes_share_gradients_as_one_process_computes_them(tmp_path: Any) -> None:
    workers = [subprocess.Popen([sys.executable, "-W", "error", "-c", DISTRIBUTED, str(rank), str(tmp_path)]) for rank in (0, 1)]
    assert [worker.wait(timeout=120) for worker in workers] == [0, 0]
