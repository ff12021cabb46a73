"""At what effort numbers were measured, in words."""

from collections.abc import Iterable, Mapping
from typing import Any


def fidelity_text(fidelities: Iterable[Mapping[str, Any]]) -> str:
    """`digits, 32 px, 3 epochs, channels / 4`, every different effort once; empty when none was recorded."""
    return "; ".join(dict.fromkeys(text for fidelity in fidelities if (text := _one(fidelity))))


def _one(fidelity: Mapping[str, Any]) -> str:
    return ", ".join(part for part in (_dataset(fidelity), *_numbers(fidelity)) if part)


def _dataset(fidelity: Mapping[str, Any]) -> str:
    name = str(fidelity.get("dataset", ""))
    return f"{name} (synthetic)".strip() if fidelity.get("synthetic") else name


def _numbers(fidelity: Mapping[str, Any]) -> Iterable[str]:
    if size := fidelity.get("image_size"):
        yield f"{size} px"
    if (epochs := fidelity.get("epochs")) is not None:
        yield f"{epochs:g} epoch{'' if epochs == 1 else 's'}" if epochs else "untrained networks"
    if (divisor := fidelity.get("channel_divisor", 1)) != 1:
        yield f"channels / {divisor}"
    if (fraction := fidelity.get("train_fraction", 1)) != 1:
        yield f"{fraction:.0%} of the training data"
    if latency := fidelity.get("latency"):
        yield f"latency on {latency['device']} at batch {latency['batch_size']}, {latency['image_size']} px, {latency['precision']}"
