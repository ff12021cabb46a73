"""What the numbers were measured on."""

import platform
from pathlib import Path
from typing import Any

import torch

from dcnv3.backends import backend

CPUINFO = Path("/proc/cpuinfo")


def describe() -> dict[str, Any]:
    """Processor, its instruction set as PyTorch and the kernel see it, threads, PyTorch's version, and the GPU if there is one."""
    return {
        "processor": processor(),
        "instruction set": torch.backends.cpu.get_cpu_capability(),
        "kernel": backend().name,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def processor() -> str:
    """The model's name with its numbers, for virtual machines name whole families alike."""
    try:
        lines = CPUINFO.read_text(encoding="utf-8").split("\n\n")[0].splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    fields = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    name = fields.get("model name", platform.machine())
    return f"{name} (family {fields['cpu family']}, model {fields['model']})" if "cpu family" in fields else name
