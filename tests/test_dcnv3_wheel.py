"""The wheel that carries compiled kernels: what is in it, and that a machine without a compiler runs them."""

import json
import os
import platform
import re
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path
from typing import Any

import pytest
from packaging.tags import sys_tags
from packaging.utils import parse_wheel_filename

import nas
from dcnv3 import build
from dcnv3 import wheel as maker

pytestmark = pytest.mark.xdist_group("wheel")
HERE = Path(__file__).parent
PACKAGES = {"nas", "searchspace", "dcnv3", "trainer", "dashboard", "studies"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel whose libraries were compiled in a hurry."""
    out = tmp_path_factory.mktemp("out") / "dist"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "COMMON", (*build.COMMON, "-O0"))
        maker.main(["--out", str(out)])
    (made,) = out.iterdir()
    return made


def test_the_name_says_any_python_on_this_kind_of_machine(wheel: Path) -> None:
    name, version, _, tags = parse_wheel_filename(wheel.name)
    assert (name, str(version)) == ("nas-scaling", nas.__version__)
    assert {(tag.interpreter, tag.abi) for tag in tags} == {("py3", "none")}
    assert tags & set(sys_tags())
    assert wheel.name.endswith(f"-{sysconfig.get_platform().replace('-', '_')}.whl")


def test_sources_libraries_and_type_markers_are_inside(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (record,) = [archive.read(name).decode() for name in names if name.endswith("RECORD")]
        (metadata,) = [archive.read(name).decode() for name in names if name.endswith("METADATA")]
    kept = [path for top in PACKAGES for path in (HERE.parent / top).rglob("*") if path.suffix in {".py", ".h", ".cpp", ".cuh", ".typed"}]
    libraries = {f"dcnv3/lib/{build.library_name(variant)}" for variant in maker.variants()}
    assert {str(path.relative_to(HERE.parent)) for path in kept} | libraries <= names
    assert {name.partition("/")[0] for name in names if ".dist-info" not in name} == PACKAGES
    assert {line.partition(",")[0] for line in record.splitlines()} == names
    assert re.search(r"^Requires-Dist: filelock", metadata, re.MULTILINE)


def test_a_machine_without_a_compiler_runs_the_kernel_that_was_shipped(wheel: Path, tmp_path: Path) -> None:
    for folder in ("cache", "empty"):
        (tmp_path / folder).mkdir()
    python = environment_with(wheel, tmp_path / "venv")
    found = outcome(python, tmp_path, PATH=str(tmp_path / "empty"), DCNV3_CACHE=str(tmp_path / "cache"))
    assert (found["name"], found["warnings"], found["agrees"]) == (build.supported()[0], [], True)
    assert found["reason"].startswith(f"native kernel {tmp_path / 'venv'}")
    assert list((tmp_path / "cache").iterdir()) == []


def environment_with(wheel: Path, folder: Path) -> Path:
    """The Python of a new environment with the wheel in it, which sees what is installed beside pytest, but not the checkout."""
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", "--no-index", str(wheel)]
    subprocess.run([*install, "--disable-pip-version-check"], check=True)
    (site,) = folder.glob("lib/*/site-packages")
    (site / "beside_pytest.pth").write_text(sysconfig.get_path("purelib"))
    return python


def outcome(python: Path, folder: Path, **variables: str) -> dict[str, Any]:
    """What a process in `folder` makes of the operator."""
    kept = {name: text for name, text in os.environ.items() if name not in {"CXX", "DCNV3_CPU", "PYTHONPATH"}}
    done = subprocess.run([python, "-P", HERE / "dcnv3_probe.py"], cwd=folder, env={**kept, **variables}, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


def test_without_a_compiler_there_is_no_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "g++-of-yore")
    with pytest.raises(SystemExit, match=r"no wheel: no C\+\+ compiler on PATH \(looked for g\+\+-of-yore\)"):
        maker.main(["--out", str(tmp_path / "dist")])
    assert not (tmp_path / "dist").exists()


def test_only_x86_machines_ship_what_only_they_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert maker.variants() == ("portable",)
