"""The CPU kernels on drawn geometries under sanitizers: nothing read or written outside a tensor, and the naive loops' results."""

import subprocess
from pathlib import Path

import pytest
import torch

from dcnv3 import build

HERE = Path(__file__).parent
CASES = 1500
# Sums and comparisons as in the library; optimised only as far as a sanitizer's report stays readable.
FLAGS = [flag for flag in build.COMMON if flag not in {"-O3", "-fPIC", "-shared"}]
SANITIZERS = ("-O1", "-g1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")


@pytest.mark.parametrize("variant", build.VARIANTS)
def test_drawn_geometries_stay_inside_their_tensors_and_agree_with_plain_loops(variant: str, tmp_path: Path) -> None:
    if variant not in build.supported():
        pytest.skip(f"this processor does not run {variant}")
    driver = compile_driver(variant, tmp_path / "driver")
    done = subprocess.run([driver, "0", str(CASES)], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + last_case(done.stderr)
    assert done.stdout == f"{CASES} cases passed\n"


def compile_driver(variant: str, target: Path) -> Path:
    includes = (f"-I{build.SOURCE}", f"-I{Path(torch.__file__).parent / 'include'}")
    command = [*build.compiler(), *FLAGS, *build.VARIANTS[variant], *SANITIZERS, *includes, str(HERE / "operator_driver.cpp"), "-pthread"]
    done = subprocess.run([*command, "-o", str(target)], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return target


def last_case(report: str) -> str:
    """The case that ended the run, and what a sanitizer had to say on it."""
    return report[report.rfind("case ") :][:5000]
