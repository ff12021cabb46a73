"""The predicted memory of a training step against what PyTorch keeps in a real one."""

import statistics
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from random import Random
from typing import Any, Self

import pytest
import torch
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from searchspace.memory import Training, memory_bytes, saved_bytes
from searchspace.model_config import STAGES, ModelConfig
from searchspace.presets import PRESETS
from searchspace.styles import styled
from tests.architectures import drawn_architecture, fitting_image_size
from trainer.internimage import InternImage

PRECISIONS = ("float32", "bfloat16")
Autocast = Callable[[str], Any]


class Step:
    """A network in training with a batch; `loss` runs forward and counts what is kept, block by block."""

    def __init__(self, config: ModelConfig, training: Training) -> None:
        torch.manual_seed(0)
        rate = 0.3 if training.drop_path else 0.0
        stages = training.checkpointed_stages
        self.training = training
        self.model = InternImage(config, num_classes=training.num_classes, drop_path_rate=rate, checkpointed_stages=stages).train()
        self.images = torch.randn(training.batch_size, 3, training.image_size, training.image_size)
        self.labels = torch.randint(training.num_classes, (training.batch_size,))

    def loss(self, autocast: Autocast) -> torch.Tensor:
        with autocast(self.training.precision):
            return F.cross_entropy(self.model(self.images), self.labels)


class Kept(torch.autograd.graph.saved_tensors_hooks):
    """Counts the storages that are kept for the backward pass and belong to no parameter and no buffer."""

    def __init__(self, model: torch.nn.Module) -> None:
        self._owned = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())}
        self._storages: dict[int, torch.UntypedStorage] = {}
        super().__init__(self.add, lambda tensor: tensor)

    def __enter__(self) -> Self:  # type: ignore[override]
        super().__enter__()
        return self

    def add(self, tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self._owned:
            self._storages[storage.data_ptr()] = storage  # held, so that no other takes its place
        return tensor

    @property
    def nbytes(self) -> int:
        return sum(storage.nbytes() for storage in self._storages.values())


@contextmanager
def cpu_autocast(precision: str) -> Iterator[None]:
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
        yield


def drawn_training(random: Random, config: ModelConfig, **given: Any) -> Training:
    image_size = fitting_image_size(random, config, 80)
    batch_size = random.randint(2, 4)  # BatchNorm wants two values a channel
    return Training(batch_size=batch_size, image_size=image_size, num_classes=random.randint(1, 20), **given)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_what_a_step_keeps_is_predicted(precision: str, capsys: pytest.CaptureFixture[str]) -> None:
    random, errors = Random(0), []
    for _ in range(50):
        config = drawn_architecture(random, attention_heads=0.15)
        training = drawn_training(random, config, precision=precision, device="cpu", drop_path=random.random() < 0.5)
        step = Step(config, training)
        with Kept(step.model) as kept:
            loss = step.loss(cpu_autocast)
        errors.append(saved_bytes(config, training) / kept.nbytes - 1)
        loss.backward()
    median, worst = statistics.median(map(abs, errors)), max(map(abs, errors))
    with capsys.disabled():
        sys.stdout.write(f"\n{precision}: relative error of the kept bytes over {len(errors)}: median {median:.2%}, worst {worst:.2%}\n")
    assert worst == 0


def test_weights_gradients_and_moments_are_predicted() -> None:
    config = styled(channels=8, group_channels=4, depths=(1, 1, 1, 1), style="s")
    training = Training(batch_size=2, image_size=32, num_classes=5)
    step = Step(config, training)
    optimizer = torch.optim.AdamW(step.model.parameters(), fused=True)
    step.loss(cpu_autocast).backward()
    optimizer.step()
    memory = memory_bytes(config, training)
    parameters = list(step.model.parameters())
    moments = [state[name] for state in optimizer.state.values() for name in ("exp_avg", "exp_avg_sq")]
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    measured = (sum(tensor.nbytes for tensor in tensors) for tensors in (parameters, gradients, moments))
    assert (memory.weights, memory.gradients, memory.optimizer) == tuple(measured)
    assert memory.total == memory.weights + memory.gradients + memory.optimizer + memory.saved


class CudaAutocast(TorchFunctionMode):
    """Autocast's documented choices on CUDA devices: products in bfloat16, LayerNorm, softmax and the loss in float32, sums as they come.

    A sum of products takes the widest of its inputs' types.
    """

    NARROW = (F.linear, F.conv2d, F.scaled_dot_product_attention)
    WIDE = (F.layer_norm, F.cross_entropy, torch.Tensor.softmax, torch.softmax)
    WIDEST = (torch.addcmul,)

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        dtype = self._dtype(function, args)
        return function(*(arg.to(dtype) if dtype and _is_floating(arg) else arg for arg in args), **(kwargs or {}))

    def _dtype(self, function: Any, args: Any) -> torch.dtype | None:
        if function in self.NARROW:
            return torch.bfloat16
        narrow = all(arg.dtype is torch.bfloat16 for arg in args if _is_floating(arg))
        return torch.float32 if function in self.WIDE or (function in self.WIDEST and not narrow) else None


def _is_floating(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.is_floating_point()


def test_what_a_step_keeps_is_predicted_where_autocast_widens_norms() -> None:
    random = Random(1)
    for _ in range(15):
        config = drawn_architecture(random, attention_heads=0.15)
        training = drawn_training(random, config, precision="bfloat16", device="cuda", drop_path=random.random() < 0.5)
        step = Step(config, training)
        with Kept(step.model) as kept:
            step.loss(lambda _: CudaAutocast())
        assert kept.nbytes == saved_bytes(config, training)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_checkpointed_stage_keeps_the_inputs_of_its_blocks_and_one_block_at_the_peak(precision: str) -> None:
    random = Random(2)
    for _ in range(12):
        config = drawn_architecture(random, attention_heads=0.0)
        stages = tuple(stage for stage in range(STAGES) if random.random() < 0.5)
        training = drawn_training(random, config, precision=precision, device="cpu", checkpointed_stages=stages, drop_path=True)
        assert measured_peak(Step(config, training)) == saved_bytes(config, training)


def measured_peak(step: Step) -> int:
    """The most that is kept, measured forward in the network and for each checkpointed block by itself."""
    peaks: list[int] = []
    kept = Kept(step.model)

    def add_block(block: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        (x,) = inputs
        with Kept(step.model) as alone:
            alone.add(x)
            with cpu_autocast(step.training.precision):
                block.forward(x)
        peaks.append(kept.nbytes + alone.nbytes - x.untyped_storage().nbytes())

    handles = [
        block.register_forward_pre_hook(add_block)
        for stage in step.training.checkpointed_stages
        for block in step.model.levels[stage].blocks
    ]
    with kept:
        step.loss(cpu_autocast)
    for handle in handles:
        handle.remove()
    return max(*peaks, kept.nbytes, 0)


def test_checkpoints_of_large_stages_spare_memory_and_none_ask_for_more() -> None:
    config = PRESETS["T"].config
    plain = Training(batch_size=8)
    by_stage = [saved_bytes(config, replace(plain, checkpointed_stages=(stage,))) for stage in range(STAGES)]
    everything = saved_bytes(config, replace(plain, checkpointed_stages=range(STAGES)))
    assert everything < min(by_stage) < max(by_stage) < saved_bytes(config, plain)


def test_memory_grows_with_the_batch_and_shrinks_with_bfloat16() -> None:
    config = PRESETS["T"].config
    one, two = (saved_bytes(config, Training(batch_size=size)) for size in (1, 2))
    assert saved_bytes(config, Training(batch_size=3)) - two == two - one
    assert saved_bytes(config, Training(batch_size=8, precision="bfloat16")) < saved_bytes(config, Training(batch_size=8))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"precision": "float16"}, "precision must be one of float32, bfloat16, got 'float16'"),
        ({"device": "mps"}, "device must be one of cuda, cpu, got 'mps'"),
        ({"checkpointed_stages": (0, 4)}, r"stages from 0 to 3, got \[4\]"),
        ({"image_size": 0}, "image_size"),
    ],
)
def test_a_training_that_cannot_be_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        memory_bytes(PRESETS["T"].config, Training(**{"batch_size": 1, **given}))


@pytest.mark.gpu
@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_peak_of_a_step_on_a_gpu_is_near_the_prediction(precision: str) -> None:
    config, device = PRESETS["T"].config, torch.device("cuda")
    training = Training(batch_size=32, precision=precision)
    step = Step(config, training)
    step.model, step.images, step.labels = step.model.to(device), step.images.to(device), step.labels.to(device)
    optimizer = torch.optim.AdamW(step.model.parameters(), fused=True)
    for _ in range(3):
        torch.cuda.reset_peak_memory_stats(device)
        with torch.autocast("cuda", torch.bfloat16, enabled=precision == "bfloat16"):
            loss = F.cross_entropy(step.model(step.images), step.labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    assert torch.cuda.max_memory_allocated(device) == pytest.approx(memory_bytes(config, training).total, rel=0.15)
