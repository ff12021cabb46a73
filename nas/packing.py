"""How many trials share one GPU: as many as their predicted peaks allow together."""

from collections.abc import Iterable

from searchspace.memory import Training, memory_bytes
from searchspace.model_config import ModelConfig
from trainer.proxy_config import ProxyConfig

USABLE = 0.9  # of a device's memory: the rest is for fragments and for what lives shorter than a layer
PROCESS_BYTES = 768 * 2**20  # allowed for each process's context, kernels and libraries, which no prediction of ours covers
MOST_CLASSES = 1000  # before the data set is read; a smaller head needs less


def trial_bytes(config: ModelConfig, proxy: ProxyConfig) -> int:
    """Predicted peak of training the proxy of `config` on a GPU, its process included."""
    how = Training(
        batch_size=proxy.batch_size, image_size=proxy.image_size, num_classes=MOST_CLASSES, precision=proxy.precision, drop_path=True
    )
    return memory_bytes(proxy.proxy_of(config), how).total + PROCESS_BYTES


def trials_per_gpu(configs: Iterable[ModelConfig], proxy: ProxyConfig, *, device_bytes: int, most: int) -> int:
    """How many of these trials fit on a GPU at once whichever they are, from 1 to `most`; one that does not fit at all is tried alone."""
    largest = max(trial_bytes(config, proxy) for config in configs)
    return max(1, min(most, int(USABLE * device_bytes) // largest))
