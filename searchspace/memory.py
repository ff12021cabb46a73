"""The memory of one training step, predicted: what stays, and what autograd keeps from the forward pass for the backward pass."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import partial

from searchspace.cost import cost, stage_sides, whole
from searchspace.model_config import STAGES, ModelConfig
from searchspace.saved_tensors import Batch, block, downsample, loss, pooled, stem
from searchspace.tape import FLOAT32, Precision, Stored, Tape

MOMENTS = 2  # of AdamW, in float32; its step counters are a number per parameter tensor and not counted
WIDTHS: Mapping[str, int] = {"float32": FLOAT32, "bfloat16": 2}
DEVICES = ("cuda", "cpu")


@dataclass(frozen=True, slots=True)
class TrainingMemory:
    """Bytes of one training step at its peak; `saved` is what autograd keeps, with the largest recomputed block on top."""

    weights: int
    gradients: int
    optimizer: int
    saved: int

    @property
    def total(self) -> int:
        """Everything at once: gradients of the step before stay until the loss is computed."""
        return self.weights + self.gradients + self.optimizer + self.saved


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """How a network is trained: its batch, precision ("bfloat16" is autocast over float32 weights), device and ways to spare memory."""

    batch_size: int
    image_size: int = 224
    num_classes: int = 1000
    precision: str = "float32"
    device: str = "cuda"
    drop_path: bool = False
    checkpointed_stages: Collection[int] = ()

    def __post_init__(self) -> None:
        for name, known in (("precision", WIDTHS), ("device", DEVICES)):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}, got {getattr(self, name)!r}")
        for name in ("batch_size", "image_size", "num_classes"):
            object.__setattr__(self, name, whole(name, getattr(self, name)))
        if self.batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {self.batch_size}")
        if unknown := sorted(set(self.checkpointed_stages) - set(range(STAGES))):
            raise ValueError(f"checkpointed_stages holds stages from 0 to {STAGES - 1}, got {unknown}")

    @property
    def batch(self) -> Batch:
        """What goes through the network at once."""
        return Batch(self.batch_size, self.image_size, self.num_classes)

    @property
    def arithmetic(self) -> Precision:
        """Bytes of the elements that the layers read and write."""
        if self.precision == "float32":
            return Precision(FLOAT32)
        return Precision(WIDTHS[self.precision], wide_norms=self.device == "cuda", padded_maps=self.device == "cpu")


def memory_bytes(config: ModelConfig, training: Training) -> TrainingMemory:
    """Predicted peak of one AdamW step.

    Left out is what lives shorter than a layer: gradients on their way back, workspaces, and the allocator's rounding and fragments.
    """
    params = cost(config, training.image_size, training.num_classes).params * FLOAT32
    return TrainingMemory(params, params, MOMENTS * params, saved_bytes(config, training))


def saved_bytes(config: ModelConfig, training: Training) -> int:
    """The most that autograd keeps at once, after the forward pass or while a checkpointed block runs again."""
    tape = Tape(training.arithmetic)
    x = stem(tape, config, training.batch)
    maps = []
    for stage in range(STAGES):
        x = _stage(tape, config, stage, x, training)
        maps.append(x)
        if stage < STAGES - 1:
            x = downsample(tape, config, stage, x, training.batch)
    loss(tape, pooled(tape, config, maps, training.batch), training.batch)
    return tape.peak


def _stage(tape: Tape, config: ModelConfig, stage: int, x: Stored, training: Training) -> Stored:
    side = stage_sides(training.image_size)[stage]
    for index in range(config.depths[stage]):
        dropped = training.batch_size if training.drop_path and stage + index > 0 else 0  # the first block's rate is 0
        run = partial(block, config=config, stage=stage, side=side, dropped=dropped)
        x = tape.checkpointed(run, x) if stage in training.checkpointed_stages else run(tape, x)
        if stage == 2 and index in config.level2_post_norm_block_ids:
            x = tape.norm(x, config.widths[stage])
    return tape.norm(x, config.widths[stage]) if config.stage_norm else x
