"""What a variant costs as tables: by part, at the margin, and the memory of training it."""

from dataclasses import asdict
from typing import Any

from nas import output
from nas.output import Column, Format, metric_column, print_rows, text_column
from searchspace.cost import COST_METRICS, cost, cost_by_part
from searchspace.memory import Training, TrainingMemory, memory_bytes
from searchspace.model_config import ModelConfig
from searchspace.quantity import format_quantity
from searchspace.styles import restack, style_of, style_text

MIB = 2**20


def print_cost(config: ModelConfig, training: Training, format: Format) -> None:
    """Print parameters, FLOPs and activations of one image by part and in total, what more would cost, and the memory of training."""
    image_size, classes = training.image_size, training.num_classes
    parts = [{"part": part, **asdict(size)} for part, size in cost_by_part(config, image_size, classes).items()]
    total = {"part": "total", **asdict(cost(config, image_size, classes))}
    marginal, memory = marginal_rows(config, image_size, classes), memory_bytes(config, training)
    if format == "json":
        shape = {"variant": config.short_name, "style": style_of(config), "image_size": image_size, "num_classes": classes}
        details = {"parts": parts, "marginal": marginal, "memory": _memory_row(training, memory), "model": config.to_dict()}
        output.print_json({**shape, **total, **details})
        return
    columns = [text_column("part", "part"), *map(metric_column, COST_METRICS)]
    title = f"{config.short_name}, style {style_text(config)}, {image_size} px, {classes} classes"
    print_rows([*parts, total], columns, format=format, title=title, caption=f"{total['params']:,} parameters")
    if format == "table":
        more = [text_column("more", "one more"), *(Column(metric, metric, format_quantity) for metric in COST_METRICS)]
        print_rows(marginal, more, format=format, title="At the margin")
        _print_memory(training, memory)


def marginal_rows(config: ModelConfig, image_size: int, num_classes: int) -> list[dict[str, Any]]:
    """What one more block in each stage, an L1 one deeper and a C1 one group wider add to the cost, exactly."""
    before = cost(config, image_size, num_classes)
    return [{"more": name, **asdict(cost(larger, image_size, num_classes) - before)} for name, larger in _larger(config).items()]


def _larger(config: ModelConfig) -> dict[str, ModelConfig]:
    blocks = {f"block in stage {stage + 1}{' (L3)' if stage == 2 else ''}": _deeper(config, stage) for stage in range(len(config.depths))}
    channels = _wider(config)
    wider = restack(config, channels=channels, group_channels=config.group_channels, depths=config.depths)
    return {
        **blocks,
        "L1 (stages 1, 2 and 4)": _deeper(config, 0, 1, 3),
        f"C' (C1 = {channels})": wider,
    }


def _deeper(config: ModelConfig, *stages: int) -> ModelConfig:
    l1, l2, l3, l4 = (depth + (stage in stages) for stage, depth in enumerate(config.depths))
    return restack(config, channels=config.channels, group_channels=config.group_channels, depths=(l1, l2, l3, l4))


def _wider(config: ModelConfig) -> int:
    """C1 + C', or C1 + 2 · C' where the stem could not halve that; one group grows by all of its channels."""
    return config.channels + config.group_channels * (1 + config.group_channels % 2)


def _memory_row(training: Training, memory: TrainingMemory) -> dict[str, Any]:
    how = {"batch_size": training.batch_size, "precision": training.precision, "device": training.device}
    return {**how, **asdict(memory), "total": memory.total}


def _print_memory(training: Training, memory: TrainingMemory) -> None:
    columns = [Column(name, name, lambda size: f"{size / MIB:,.1f}") for name in (*asdict(memory), "total")]
    title = f"MiB to train (batch {training.batch_size}, {training.precision}, {training.device})"
    print_rows([_memory_row(training, memory)], columns, format="table", title=title)
