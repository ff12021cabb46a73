"""One network on one batch: building it, timing it, and the state of the machine meanwhile."""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from dcnv3 import backend
from searchspace.model_config import ModelConfig
from trainer.compute import memory_errors, seeded_compute
from trainer.internimage import InternImage
from trainer.latency_setting import LatencySetting, OutOfMemory

MEASUREMENT_SECONDS = 0.02  # short calls are repeated within a measurement until the clock and the launch weigh little
TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True, slots=True)
class Bench:
    """Networks are built and timed on one batch of images."""

    setting: LatencySetting
    images: Tensor

    @classmethod
    def of(cls, setting: LatencySetting) -> Self:
        """A bench with a batch of noise."""
        images = torch.randn(setting.batch_size, 3, setting.image_size, setting.image_size, dtype=TYPES[setting.precision])
        return cls(setting, images.to(setting.device))

    def network(self, config: ModelConfig) -> nn.Module:
        """With random weights, in evaluation mode; its samples fall between pixels, as a trained network's do."""
        with _naming(config, self.setting):
            with torch.device("meta"):
                model = InternImage(config).to(TYPES[self.setting.precision])
            model = model.to_empty(device=self.setting.device).eval()
            _fill(model)
        return model

    def calls(self, config: ModelConfig) -> int:
        """How often a measurement runs the network, so that it takes long enough."""
        model = self.network(config)
        self.milliseconds(config, model, 1)  # allocates, compiles, tunes
        return math.ceil(1000 * MEASUREMENT_SECONDS / self.milliseconds(config, model, 1))

    def milliseconds(self, config: ModelConfig, model: nn.Module, calls: int) -> float:
        """Of one call; an untimed one goes first and fills the caches that another network had."""
        with _naming(config, self.setting):
            model(self.images)
            return 1000 * CLOCKS[self.images.device.type](model, self.images, calls)


def _fill(model: nn.Module) -> None:
    for name, parameter in model.named_parameters():
        if parameter.dim() > 1:
            nn.init.normal_(parameter, std=0.02)
        else:
            nn.init.constant_(parameter, 0.0 if name.endswith("bias") else 1.0)
    for module in model.modules():
        if isinstance(module, _NormBase):
            module.reset_running_stats()


def _on_cpu(model: nn.Module, images: Tensor, calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        model(images)
    return (time.perf_counter() - start) / calls


def _on_cuda(model: nn.Module, images: Tensor, calls: int) -> float:
    # The untimed call may still be running: the first event waits for it on the stream, so the timed ones begin on a busy device.
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    for _ in range(calls):
        model(images)
    end.record()
    end.synchronize()
    return float(start.elapsed_time(end)) / 1000 / calls


CLOCKS: Mapping[str, Callable[[nn.Module, Tensor, int], float]] = {"cpu": _on_cpu, "cuda": _on_cuda}


@contextmanager
def machine(setting: LatencySetting) -> Iterator[None]:
    """Threads, matrix products, device and seeded weights as the setting has them; all put back afterwards."""
    device = torch.device(setting.device)
    current = torch.cuda.device(device) if device.type == "cuda" else nullcontext()
    with seeded_compute(setting.device, threads=setting.threads, seed=setting.seed), current, torch.inference_mode():
        backend(setting.device)  # a kernel that has yet to be compiled is, before any clock starts
        yield


@contextmanager
def _naming(config: ModelConfig, setting: LatencySetting) -> Iterator[None]:
    """PyTorch's ways of running out of memory as one error that names the variant."""
    try:
        with memory_errors():
            yield
    except MemoryError as error:
        raise OutOfMemory(
            config, f"variant {config.short_name} does not fit into the memory of {setting.device} at batch {setting.batch_size}: {error}"
        ) from error
