"""Where trials find room: on which cluster, how many at a time, and with which part of a GPU each."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from nas.errors import NasError
from searchspace.memory import Training, memory_bytes
from searchspace.model_config import ModelConfig
from trainer.proxy_config import ProxyConfig

USABLE = 0.9  # of a device's memory: the rest is for fragments and for what lives shorter than a layer
PROCESS_BYTES = 768 * 2**20  # allowed for each process's context, kernels and libraries, which no prediction of ours covers
MOST_CLASSES = 1000  # before the data set is read; a smaller head needs less


@dataclass(frozen=True, slots=True, kw_only=True)
class Slots:
    """`workers` trials at a time (0: as many as find room), each with `cpus` processors and a part `gpus` of a GPU, or several whole ones.

    `logical_gpus` are told to a Ray cluster of our own instead of counted.
    """

    workers: int = 0
    cpus: float = 1.0
    gpus: float = 0.0
    logical_gpus: int | None = None

    def __post_init__(self) -> None:
        if self.workers < 0:
            raise ValueError(f"workers must be at least 1, got {self.workers}")
        if not 0 < self.cpus < float("inf"):
            raise ValueError(f"cpus per trial must be above 0, got {self.cpus:g}")
        if not 0 <= self.gpus < float("inf") or (self.gpus > 1 and self.gpus != int(self.gpus)):
            raise ValueError(f"gpus per trial must be at most 1 or a whole number, got {self.gpus:g}")

    @property
    def ranks(self) -> int:
        """The processes that train one trial together, each with a GPU of its own."""
        return int(self.gpus) if self.gpus > 1 else 1


def slots_on(nodes: Sequence[Mapping[str, float]], slots: Slots) -> Slots:
    """`slots` on nodes with these resources (`CPU`, `GPU`): no more workers than have room at once, all that have where none are named.

    The processes of a trial with several GPUs may be on several nodes, any other trial is on one. NasError where no trial has room.
    """
    room = sum(_room(node, slots) for node in nodes) // slots.ranks
    if room < 1:
        raise NasError(
            f"no trial finds room: each asks for {_resources(slots.cpus, slots.gpus)}, "
            f"and the cluster has {_nodes(nodes)}; ask for less with --cpus-per-trial and --gpus-per-trial"
        )
    return replace(slots, workers=min(slots.workers or room, room))


def _room(node: Mapping[str, float], slots: Slots) -> int:
    """How many trials, or processes of one, fit on a node; shares of a GPU never lie on two of them."""
    cpus = int(node.get("CPU", 0) / (slots.cpus / slots.ranks) + 1e-9)
    if slots.gpus == 0:
        return cpus
    share = slots.gpus / slots.ranks
    return min(cpus, int(node.get("GPU", 0)) * int(1 / share + 1e-9))


def _nodes(nodes: Sequence[Mapping[str, float]]) -> str:
    kinds = Counter(_resources(node.get("CPU", 0), node.get("GPU", 0)) for node in nodes)
    return "; ".join(f"{count} x ({kind})" if count > 1 else kind for kind, count in kinds.items()) or "no node"


def _resources(cpus: float, gpus: float) -> str:
    return f"{cpus:g} CPU, {gpus:g} GPU"


def check_address(address: str | None) -> None:
    """ValueError unless `address` is None, `auto` or HOST:PORT."""
    if address is None or address == "auto":
        return
    if "://" in address:
        raise ValueError(
            f"ray address {address!r} is Ray Client's, which would move the search itself there and the store with it; "
            "run the driver on the cluster and name its HOST:PORT (port 6379 unless chosen) or auto"
        )
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise ValueError(f"ray address must be auto or HOST:PORT, got {address!r}")


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
