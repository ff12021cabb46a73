"""Device code loaded and launched through cuda-bindings, in PyTorch's own context and on its current stream."""

import ctypes
from functools import cache
from typing import Any

import torch

from dcnv3 import nvrtc
from dcnv3.cache import cache_folder
from dcnv3.cuda_plan import Device, Instance, Launch

ENTRY = nvrtc.SOURCES / "kernel.cuh"
OLDEST = (8, 0)  # bfloat16 conversions in hardware


@cache
def unavailable() -> str | None:
    """Why kernels cannot be compiled and launched here, in one sentence; None when they can."""
    if torch.version.hip is not None:
        return "this PyTorch is built for ROCm, the kernels are CUDA"
    if not torch.cuda.is_available():
        return "PyTorch finds no CUDA device" if torch.version.cuda else "this PyTorch is built without CUDA"
    oldest = min(torch.cuda.get_device_capability(index) for index in range(torch.cuda.device_count()))
    if oldest < OLDEST:
        return f"the kernels need compute capability {_dotted(OLDEST)}, a device here has {_dotted(oldest)}"
    try:
        compiler = nvrtc.version()
        (supported,) = checked(driver().cuDriverGetVersion())
        targets = {nvrtc.target(torch.cuda.get_device_capability(index)) for index in range(torch.cuda.device_count())}
    except (ImportError, RuntimeError) as error:
        return f"NVRTC and cuda-bindings, which compile and launch the kernels, cannot be loaded: {error}"
    return driver_too_old(supported, compiler, any(target.startswith("compute") for target in targets))


def driver_too_old(supported: int, compiler: tuple[int, int], translates: bool = False) -> str | None:
    """A reason when a driver (12080 for CUDA 12.8) cannot load what this NVRTC makes.

    Machine code may be of a later minor version than the driver's, never of a later major one; what it `translates`, PTX, of neither.
    """
    if supported >= 1000 * compiler[0] + (10 * compiler[1] if translates else 0):
        return None
    major = supported // 1000
    advice = f"update the driver or install a PyTorch for CUDA {major}"
    return f"the driver supports CUDA {major}.{supported % 1000 // 10}, but NVRTC is {_dotted(compiler)}: {advice}"


def describe() -> str:
    """The current device, its compiler and where its kernels are kept."""
    reason = unavailable()
    if reason:
        return reason
    name, capability = torch.cuda.get_device_name(), torch.cuda.get_device_capability()
    return f"{name} ({nvrtc.target(capability)}), NVRTC {_dotted(nvrtc.version())}, cubins in {cache_folder()}"


@cache
def device_limits(index: int) -> Device:
    """What the choice of kernels depends on for CUDA device `index`."""
    properties = torch.cuda.get_device_properties(index)
    attribute = driver().CUdevice_attribute.CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN
    (shared,) = checked(driver().cuDeviceGetAttribute(attribute, _ordinal(index)))
    return Device((properties.major, properties.minor), shared, properties.multi_processor_count)


def macros(instance: Instance) -> tuple[str, ...]:
    """What kernel.cuh is compiled with for an instance."""
    return f"KERNEL={instance.kernel}", f"SETUP={instance.setup}", f"THREADS={instance.threads}", f"BLOCKS={instance.blocks}"


def launch(step: Launch, arguments: ctypes.Structure, device: torch.device) -> None:
    """Queue `step` on the device's current stream; a failure raises RuntimeError with the driver's name for it."""
    with torch.cuda.device(device):
        # A thread that has only taken memory from PyTorch's pool may have no context yet.
        checked(driver().cuCtxSetCurrent(_context(device.index)))
        queue(_function(device.index, step.instance), (step.blocks, step.threads, step.shared), arguments)


def queue(function: Any, grid: tuple[int, int, int], arguments: ctypes.Structure) -> None:
    """Launch a function of one parameter on (blocks, threads a block, bytes of shared memory) of the current device and stream."""
    blocks, threads, shared = grid
    stream = torch.cuda.current_stream().cuda_stream
    parameters = (ctypes.c_void_p * 1)(ctypes.addressof(arguments))
    checked(driver().cuLaunchKernel(function, blocks, 1, 1, threads, 1, 1, shared, stream, ctypes.addressof(parameters), 0))


@cache
def _function(index: int, instance: Instance) -> Any:
    architecture = nvrtc.target(torch.cuda.get_device_capability(index))
    function = load_kernel(nvrtc.device_code(ENTRY, macros(instance), architecture), b"dcnv3_kernel")
    # Leave to ask for all that the device has; each launch says what it takes.
    attribute = driver().CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
    checked(driver().cuFuncSetAttribute(function, attribute, device_limits(index).shared_optin))
    return function


def load_kernel(code: bytes, name: bytes) -> Any:
    """The function `name` of a cubin or PTX, in the current context, for as long as the process lives."""
    (module,) = checked(driver().cuModuleLoadData(code))
    (function,) = checked(driver().cuModuleGetFunction(module, name))
    _MODULES.append(module)
    return function


_MODULES: list[Any] = []


@cache
def _context(index: int) -> Any:
    return checked(driver().cuDevicePrimaryCtxRetain(_ordinal(index)))[0]


def _ordinal(index: int) -> Any:
    checked(driver().cuInit(0))
    return checked(driver().cuDeviceGet(index))[0]


def checked(result: tuple[Any, ...]) -> tuple[Any, ...]:
    """What a call returned after its status; RuntimeError with the status's name and meaning when it is an error."""
    status, *values = result
    if status.value:
        name, text = driver().cuGetErrorName(status)[1], driver().cuGetErrorString(status)[1]
        raise RuntimeError(f"CUDA driver: {(name or b'unknown').decode()} ({(text or b'no description').decode()})")
    return tuple(values)


def driver() -> Any:
    """The driver's functions; ImportError without cuda-bindings."""
    from cuda.bindings import driver as functions

    return functions


def _dotted(numbers: tuple[int, int]) -> str:
    return ".".join(map(str, numbers))
