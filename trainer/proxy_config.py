"""What a proxy trains on and for how long, and what it measured; loads no torch."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from searchspace.model_config import ModelConfig
from searchspace.recipes import RECIPES
from searchspace.space_text import from_mapping, with_fraction
from trainer.dataset_spec import parse_dataset

MIN_IMAGE_SIZE = 32  # four stages: a smaller image ends in an empty map
PRECISIONS = ("float32", "bfloat16")
DEVICE = re.compile(r"cpu|cuda(:\d{1,3})?")
SPLIT_SEED = 0  # every study, trial and seed sees the same training, validation and test images
WHERE = ("device", "threads")  # what says where a proxy is trained, not what: only its seconds hang on it
# Settings that are written down only where they differ from this: what was stored before they existed still compares equal.
YOUNGER: Mapping[str, Any] = {"precision": "float32", "drop_path_rate": None}


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyConfig:
    """A training made cheap in a declared way: smaller images, few epochs, part of the data, channels divided.

    `channel_divisor` divides C1 and C' alike, so depths and group counts stay. `train_fraction` is the part of the training split used.
    Precision "bfloat16" computes in it over float32 weights. `drop_path_rate` takes the place of the recipe's stochastic depth.
    """

    dataset: str = "digits"
    image_size: int = 32
    epochs: int = 5
    train_fraction: float = 0.5
    channel_divisor: int = 4
    batch_size: int = 32
    recipe: str = "proxy"
    device: str = "cpu"
    threads: int = 1
    precision: str = "float32"
    drop_path_rate: float | None = None

    def __post_init__(self) -> None:
        for name in ("dataset", "recipe", "device", "precision"):
            if not isinstance(getattr(self, name), str):
                raise ValueError(f"{name} must be text, got {getattr(self, name)!r}")
        object.__setattr__(self, "dataset", str(parse_dataset(self.dataset)))  # one spelling for one data set
        for name in ("image_size", "epochs", "channel_divisor", "batch_size", "threads"):
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                raise ValueError(f"{name} must be whole and at least 1, got {value!r}")
        if self.image_size < MIN_IMAGE_SIZE:
            raise ValueError(f"image_size must be at least {MIN_IMAGE_SIZE} (four stages), got {self.image_size}")
        if self.batch_size < 2:
            raise ValueError(f"batch_size must be at least 2 (BatchNorm), got {self.batch_size}")
        if type(self.train_fraction) is bool or not isinstance(self.train_fraction, int | float) or not 0 < self.train_fraction <= 1:
            raise ValueError(f"train_fraction must lie in (0, 1], got {self.train_fraction!r}")
        if self.recipe not in RECIPES:
            raise ValueError(f"unknown recipe {self.recipe!r}; known: {', '.join(RECIPES)}")
        check_device(self.device)
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, got {self.precision!r}")
        if self.drop_path_rate is not None and not (isinstance(self.drop_path_rate, int | float) and 0 <= self.drop_path_rate < 1):
            raise ValueError(f"drop_path_rate must be at least 0 and below 1, got {self.drop_path_rate!r}; leave it out for the recipe's")

    def proxy_of(self, config: ModelConfig) -> ModelConfig:
        """The network that is trained in place of `config`."""
        return config.divide_channels(self.channel_divisor)

    def fidelity(self, *, epochs: int, seed: int, fingerprint: str | None = None) -> dict[str, Any]:
        """What every number of this proxy is stored with, after `epochs` epochs; `fingerprint` is that of data from files."""
        facts = {
            "dataset": self.dataset,
            "synthetic": parse_dataset(self.dataset).synthetic,
            "image_size": self.image_size,
            "epochs": epochs,
            "train_fraction": self.train_fraction,
            "channel_divisor": self.channel_divisor,
            "batch_size": self.batch_size,
            "recipe": self.recipe,
            "seed": seed,
        }
        return facts | self._departures() | ({} if fingerprint is None else {"fingerprint": fingerprint})

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {name: value for name, value in asdict(self).items() if name not in YOUNGER} | self._departures()

    def _departures(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name, default in YOUNGER.items() if getattr(self, name) != default}

    @classmethod
    def from_dict(cls, values: Any) -> Self:
        """The configuration that `to_dict` or a user wrote, who may write `50%` of the data; ValueError names unknown keys."""
        return from_mapping(cls, with_fraction(values, "train_fraction"))


def check_device(device: object) -> None:
    """ValueError unless it names a processor or a CUDA device."""
    if not isinstance(device, str) or not DEVICE.fullmatch(device):
        raise ValueError(f"device must be cpu or cuda (or one of several: cuda:1), got {device!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyResult:
    """What has been measured after `epoch` epochs, with its fidelity; the last of a run is the trial's result.

    `evaluation_seconds` is what this epoch's measuring took, which is no metric.
    """

    epoch: int
    metrics: Mapping[str, float]
    fidelity: Mapping[str, Any]
    evaluation_seconds: float = 0.0
