"""What NVRTC makes of the CUDA kernels: registers, spills, the cache, and reasons where it cannot serve."""

import re
from pathlib import Path

import pytest
import torch

from benchmarks import operator_cuda
from dcnv3 import cuda, cuda_driver, nvrtc
from dcnv3.cuda_plan import Device, Instance, Problem, plan_backward, plan_forward
from tests.cuda_cases import BRAIN, DOUBLE, HALF, SINGLE, square
from tests.cuda_emulation import device_for, elements, tiles

H200 = Device((9, 0), 232448, 132)
# Registers a thread on sm_80 and sm_90 in float32, bfloat16 and float16, as NVRTC 13.0 gives them, with little slack.
REGISTERS = {"forward": 80, "backward_parameters": 96, "backward_sums": 80, "backward_fixed": 80, "backward_plane": 64, "backward_tile": 64}


def of_kernel(kernel: str, value: torch.dtype, parameter: torch.dtype, channels: int, size: int) -> set[Instance]:
    """The instances of `kernel` that any device may ask for."""
    problem = Problem(square(size), 64, (14, 14), channels, *elements(value, parameter))
    steps = [plan_forward(problem), *(step for way in ("sums", "fixed") for step in plan_backward(problem, H200, strategy=way))]
    steps += [step for tile in tiles(channels) for step in plan_backward(problem, device_for(problem, tile), strategy="planes")]
    return {step.instance for step in steps if step.instance.kernel == kernel}


@pytest.fixture(scope="session")
def compiler() -> None:
    """Skips where NVRTC cannot be loaded; no device is needed."""
    pytest.importorskip("cuda.bindings.nvrtc")
    try:
        nvrtc.version()
    except RuntimeError as error:
        pytest.skip(str(error))


@pytest.mark.usefixtures("compiler")
@pytest.mark.parametrize("architecture", ["sm_80", "sm_90"])
@pytest.mark.parametrize("dtype", [SINGLE, BRAIN, HALF, DOUBLE], ids=str)
@pytest.mark.parametrize("kernel", sorted(REGISTERS))
def test_every_instance_compiles_without_spills_and_within_its_registers(kernel: str, dtype: torch.dtype, architecture: str) -> None:
    limit = 128 if dtype == DOUBLE else REGISTERS[kernel]
    few = dtype in (DOUBLE, HALF) or architecture == "sm_80"
    sizes = [(3, 3), (16, 5), *((channels, 3) for channels in ([16] if few else [4, 8, 16, 32]))]
    for instance in {instance for channels, size in sizes for instance in of_kernel(kernel, dtype, dtype, channels, size)}:
        registers, spilled = usage(instance, architecture)
        assert not spilled, instance
        assert registers <= limit, instance


@pytest.mark.usefixtures("compiler")
@pytest.mark.parametrize("types", [(BRAIN, SINGLE), (HALF, SINGLE), (SINGLE, BRAIN), (HALF, BRAIN)], ids=str)
def test_mixtures_of_types_compile_without_spills(types: tuple[torch.dtype, torch.dtype]) -> None:
    for kernel, limit in REGISTERS.items():
        for instance in of_kernel(kernel, *types, 16, 3):
            registers, spilled = usage(instance, "sm_90")
            assert not spilled, instance
            assert registers <= limit, instance


@pytest.mark.usefixtures("compiler")
@pytest.mark.parametrize(
    ("architecture", "pattern", "count"),
    [("compute_90", r"red\.global\.add\.v4\.f32", 36), ("compute_80", r"(?:red|atom)\.global\.add\.f32", 144)],
)
def test_memory_is_read_in_whole_words_and_added_to_in_the_widest_that_a_device_has(architecture: str, pattern: str, count: int) -> None:
    problem = Problem(square(3, groups=4), 64, (56, 56), 64, *elements(BRAIN, BRAIN))
    forward, backward = plan_forward(problem), plan_backward(problem, H200, strategy="sums")[0]
    assert len(re.findall(r"ld\.global\.nc\.v4\.u32", assembly(forward.instance, architecture))) == 36
    assert len(re.findall(pattern, assembly(backward.instance, architecture))) == count


@pytest.mark.usefixtures("compiler")
def test_the_plain_kernels_of_the_benchmark_compile() -> None:
    code, _ = nvrtc.compile_source(operator_cuda.PLAIN, ("TYPE=bfloat16", "GROUP_CHANNELS=16"), "sm_90")
    assert b"plain_forward" in code
    assert b"plain_backward" in code


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_the_benchmark_says_what_it_could_not_measure() -> None:
    rows = operator_cuda.rows()
    assert len(rows) == 8
    assert all(row["us"] == "not measured" and row["reason"] == cuda.unavailable() for row in rows)


def assembly(instance: Instance, architecture: str) -> str:
    return nvrtc.compile_source(cuda_driver.ENTRY, cuda_driver.macros(instance), architecture)[0].decode()


def usage(instance: Instance, architecture: str) -> tuple[int, int]:
    """Registers of a thread and bytes of stack that the assembler reports."""
    log = nvrtc.compile_source(cuda_driver.ENTRY, cuda_driver.macros(instance), architecture)[1]
    registers, stack = re.search(r"Used (\d+) registers", log), re.search(r"(\d+) bytes stack frame", log)
    assert "warning" not in log
    assert registers is not None
    assert stack is not None
    return int(registers[1]), int(stack[1])


INSTANCE = Instance("forward", "Setup<float, float, 4, 4, 4, 1, 3, 3, unsigned>", 128, 6)


@pytest.mark.usefixtures("compiler")
def test_device_code_is_kept_and_made_anew_when_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DCNV3_CACHE", str(tmp_path))
    macros = cuda_driver.macros(INSTANCE)
    code = nvrtc.device_code(cuda_driver.ENTRY, macros, "sm_90")
    (kept,) = tmp_path.glob("*.bin")
    assert code[:4] == b"\x7fELF"
    monkeypatch.setattr(nvrtc, "compile_source", lambda *_: pytest.fail("compiled again"))
    assert nvrtc.device_code(cuda_driver.ENTRY, macros, "sm_90") == code
    monkeypatch.undo()
    monkeypatch.setenv("DCNV3_CACHE", str(tmp_path))
    kept.write_bytes(code[:100])
    assert nvrtc.device_code(cuda_driver.ENTRY, macros, "sm_90") == code
    assert nvrtc.device_code(cuda_driver.ENTRY, macros, "sm_80") != code
    assert len(list(tmp_path.glob("*.bin"))) == 2


@pytest.mark.usefixtures("compiler")
def test_what_nvrtc_objects_to_is_raised(tmp_path: Path) -> None:
    entry = tmp_path / "broken.cuh"
    entry.write_text('extern "C" __global__ void broken() { nothing_of_the_kind(); }')
    with pytest.raises(RuntimeError, match=r"broken\.cuh for sm_90[\s\S]*nothing_of_the_kind"):
        nvrtc.compile_source(entry, (), "sm_90")


@pytest.mark.usefixtures("compiler")
def test_a_device_newer_than_nvrtc_gets_ptx_and_an_older_one_a_reason() -> None:
    assert nvrtc.target((9, 0)) == "sm_90"
    newest = nvrtc.target((99, 0))
    assert re.fullmatch(r"compute_\d+", newest)
    assert b".version" in nvrtc.compile_source(cuda_driver.ENTRY, cuda_driver.macros(INSTANCE), newest)[0]
    with pytest.raises(RuntimeError, match="compiles for compute capability"):
        nvrtc.target((3, 0))


@pytest.mark.parametrize(
    ("driver", "compiler", "translates", "works"),
    [
        (13000, (13, 0), True, True),
        (13000, (13, 1), False, True),
        (13000, (13, 1), True, False),
        (12040, (12, 8), False, True),
        (12080, (13, 0), False, False),
    ],
)
def test_a_driver_too_old_for_the_compiler_is_named_as_the_reason(
    driver: int, compiler: tuple[int, int], translates: bool, works: bool
) -> None:
    reason = cuda_driver.driver_too_old(driver, compiler, translates)
    assert works == (reason is None)
    assert works or "but NVRTC is 13." in str(reason)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_machine_without_a_device_is_told_so() -> None:
    assert "CUDA" in str(cuda.unavailable())
    assert cuda.describe() == cuda.unavailable()
