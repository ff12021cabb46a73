"""How latency is measured, and what was measured; loads no torch."""

from dataclasses import dataclass, field

from searchspace.model_config import ModelConfig
from searchspace.presets import preset
from trainer.proxy_config import MIN_IMAGE_SIZE, PRECISIONS, check_device

BLOCK = 5  # rounds between two buildings of the networks: docs/latency.md
FEWEST_BLOCKS = 6  # with fewer there is no 95 % interval of a median
DEFAULT_ROUNDS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencySetting:
    """One batch on one device; "bfloat16" has weights and images in it.

    Either `rounds`, rounded up to whole blocks of 5 (60 where neither is given), or as many blocks as begin within `seconds`, at least 6.
    `seed` draws the order of the networks and their random weights.
    """

    device: str = "cpu"
    batch_size: int = 1
    image_size: int = 224
    precision: str = "float32"
    threads: int = 1
    rounds: int | None = None
    seconds: float | None = None
    anchor: ModelConfig = field(default_factory=lambda: preset("T").config)
    seed: int = 0

    def __post_init__(self) -> None:
        check_device(self.device)
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, got {self.precision!r}")
        for name, least in (("batch_size", 1), ("image_size", MIN_IMAGE_SIZE), ("threads", 1), ("seed", 0)):
            _check_whole(name, getattr(self, name), least)
        if self.rounds is not None and self.seconds is not None:
            raise ValueError(f"rounds and seconds both say how long to measure; give one, got {self.rounds=}, {self.seconds=}")
        if self.rounds is not None:
            _check_whole("rounds", self.rounds, BLOCK * FEWEST_BLOCKS)
        if self.seconds is not None and not (isinstance(self.seconds, int | float) and 0 < self.seconds < float("inf")):
            raise ValueError(f"seconds must be a positive number, got {self.seconds!r}")

    @property
    def blocks(self) -> int:
        """How many blocks of rounds are measured, or at least where `seconds` decide."""
        if self.seconds is not None:
            return FEWEST_BLOCKS
        return -(-(self.rounds or DEFAULT_ROUNDS) // BLOCK)


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Milliseconds of one batch and times the anchor's, each as a median with its 95 % interval, over so many rounds."""

    median_ms: float
    low_ms: float
    high_ms: float
    ratio: float
    ratio_low: float
    ratio_high: float
    rounds: int


class OutOfMemory(MemoryError):
    """The device cannot hold one variant with its batch; `config` is the variant."""

    def __init__(self, config: ModelConfig, message: str) -> None:
        super().__init__(message)
        self.config = config


def _check_whole(name: str, value: object, least: int) -> None:
    if type(value) is not int or value < least:
        raise ValueError(f"{name} must be whole and at least {least}, got {value!r}")
