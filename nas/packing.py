"""Where trials find room: how many run at a time, and which part of a GPU each of them has."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from searchspace.memory import Training, memory_bytes
from searchspace.model_config import ModelConfig
from trainer.proxy_config import ProxyConfig

USABLE = 0.9  # of a device's memory: the rest is for fragments and for what lives shorter than a layer
PROCESS_BYTES = 768 * 2**20  # allowed for each process's context, kernels and libraries, which no prediction of ours covers
MOST_CLASSES = 1000  # before the data set is read; a smaller head needs less


@dataclass(frozen=True, slots=True, kw_only=True)
class Slots:
    """`workers` trials at a time, each with a processor and `gpus` of a GPU; `logical_gpus` are told to Ray instead of counted."""

    workers: int
    gpus: float = 0.0
    logical_gpus: int | None = None


def gpu_slots(
    configs: Iterable[ModelConfig], proxy: ProxyConfig, device_bytes: Sequence[int], *, processors: int, data_bytes: int = 0
) -> Slots:
    """As many trials on each GPU as fit whichever they are, and no more than there are processors; one that may not fit is tried alone.

    `device_bytes` holds the memory of each GPU; `data_bytes` are the images that every process keeps there.
    """
    largest = max(trial_bytes(config, proxy) for config in configs) + data_bytes
    fit = int(USABLE * min(device_bytes)) // largest
    each = max(1, min(fit, processors // len(device_bytes)))
    return Slots(workers=each * len(device_bytes), gpus=1 / each)


def trial_bytes(config: ModelConfig, proxy: ProxyConfig) -> int:
    """Predicted peak of training the proxy of `config` on a GPU, its process included and its images not."""
    how = Training(
        batch_size=proxy.batch_size, image_size=proxy.image_size, num_classes=MOST_CLASSES, precision=proxy.precision, drop_path=True
    )
    return memory_bytes(proxy.proxy_of(config), how).total + PROCESS_BYTES
