"""Launches through the real cuda-bindings into a driver without a device, in a process of their own."""

import ctypes
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import pytest
import torch

from dcnv3 import cuda, cuda_driver, cuda_plan
from tests.cuda_cases import square

HERE = Path(__file__).parent
STREAM, DEVICE = 0x5000, torch.device("cuda", 0)
PROBLEM = cuda_plan.Problem(square(3), 64, (28, 28), 32, cuda_plan.FLOAT, cuda_plan.FLOAT)


class Seen(ctypes.Structure):
    """`Launch` of cuda_driver_stub.cpp."""

    _fields_ = [
        ("grid", ctypes.c_uint * 3),
        ("block", ctypes.c_uint * 3),
        ("shared", ctypes.c_uint),
        ("stream", ctypes.c_void_p),
        ("function", ctypes.c_void_p),
        ("parameter", ctypes.c_ubyte * 256),
        ("leave_for_shared", ctypes.c_int),
        ("status", ctypes.c_int),
    ]


def test_launches_reach_the_driver_as_planned_and_its_errors_come_back(tmp_path: Path) -> None:
    pytest.importorskip("cuda.bindings.driver")
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("the stub of the driver is compiled by g++, which is not installed")
    library = tmp_path / "libcuda.so.1"
    flags = ["-shared", "-fPIC", "-Wl,-soname,libcuda.so.1", "-o", str(library)]
    subprocess.run([compiler, *flags, str(HERE / "cuda_driver_stub.cpp")], check=True)
    done = subprocess.run([sys.executable, "-m", "tests.test_dcnv3_launch", str(library)], cwd=HERE.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@contextmanager
def pretended_device() -> Iterator[None]:
    """PyTorch's side of an H200: the driver's side is the stub."""
    properties = SimpleNamespace(major=9, minor=0, multi_processor_count=132)
    names = {
        "is_available": lambda: True,
        "device_count": lambda: 1,
        "get_device_name": lambda: "NVIDIA H200",
        "device": lambda _: nullcontext(),
        "current_stream": lambda: SimpleNamespace(cuda_stream=STREAM),
        "get_device_capability": lambda _=None: (9, 0),
        "get_device_properties": lambda _: properties,
    }
    with patch.multiple(torch.cuda, **names):
        yield


def check_launch(seen: Seen) -> None:
    device = cuda_driver.device_limits(0)
    assert device == cuda_plan.Device((9, 0), 232448, 132)
    (step,) = cuda_plan.plan_backward(PROBLEM, device, strategy="planes")
    assert step.shared > 48 * 1024
    arguments = cuda.Arguments.from_buffer_copy(cuda.sizes(PROBLEM, True))
    arguments.d_value = 0x1230
    cuda_driver.launch(step, arguments, DEVICE)
    assert (*seen.grid, *seen.block) == (step.blocks, 1, 1, step.threads, 1, 1)
    assert (seen.shared, seen.stream, seen.leave_for_shared) == (step.shared, STREAM, 232448)
    assert bytes(seen.parameter)[: ctypes.sizeof(arguments)] == bytes(arguments)


def check_error(seen: Seen) -> None:
    seen.status = 700
    with pytest.raises(RuntimeError, match="CUDA_ERROR_ILLEGAL_ADDRESS"):
        cuda_driver.launch(cuda_plan.plan_forward(PROBLEM), cuda.Arguments(), DEVICE)


def main(library: str, cache: Path) -> None:
    # Loaded before cuda-bindings looks for a library of this name, it is the one that they find.
    stub = ctypes.CDLL(library, mode=ctypes.RTLD_GLOBAL)
    stub.last_launch.restype = ctypes.POINTER(Seen)
    with pretended_device(), patch.dict("os.environ", {"DCNV3_CACHE": str(cache)}):
        assert cuda.unavailable() is None
        assert cuda.describe().startswith("NVIDIA H200 (sm_90), NVRTC ")
        assert cuda.describe().endswith(f"cubins in {cache}")
        check_launch(stub.last_launch().contents)
        check_error(stub.last_launch().contents)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[1]).parent)
