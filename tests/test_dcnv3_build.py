"""How the CPU kernel comes to be on a machine: compiled once, kept, chosen, and done without where it cannot be had."""

import errno
import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from dcnv3 import DCNv3, backends, build, cache

pytestmark = pytest.mark.xdist_group("dcnv3_build")
ROOT = Path(__file__).parents[1]
WORKS: dict[str, Any] = {"name": "portable", "warnings": [], "agrees": True}


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library of the portable variant, made in a hurry."""
    target = tmp_path_factory.mktemp("compiled") / "portable.so"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "COMMON", (*build.COMMON, "-O0"))
        build.compile_library("portable", target)
    return target


@pytest.fixture
def compiler(compiled: Path, tmp_path: Path) -> Path:
    """A compiler that notes each of its runs and copies what was compiled before."""
    return script(tmp_path / "compiler", f"echo run >> {tmp_path / 'runs'}", "sleep 0.3", TO_TARGET, f'cp {compiled} "$2"')


def digest(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


TO_TARGET = 'while [ "$1" != -o ]; do shift; done'


def script(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(["#!/bin/sh", *lines, ""]))
    path.chmod(0o755)
    return path


def runs(compiler: Path) -> int:
    return len((compiler.parent / "runs").read_text().split())


def started(cache: Path, **variables: str) -> subprocess.Popen[str]:
    """A fresh process with a cache of its own that calls the operator."""
    kept = {name: text for name, text in os.environ.items() if name != "CXX"}
    environment = {**kept, "DCNV3_CPU": "portable", "DCNV3_CACHE": str(cache), "PYTHONPATH": str(ROOT), **variables}
    command = [sys.executable, "-m", "tests.dcnv3_probe"]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def outcome(process: subprocess.Popen[str]) -> dict[str, Any]:
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    return json.loads(output)


def cached_name(monkeypatch: pytest.MonkeyPatch) -> str:
    """What the portable library is called in the cache."""
    with monkeypatch.context() as patch:
        patch.setattr(build, "cached", lambda name, make: Path(name))
        return build.library("portable").name


def without_compiler(folder: Path, _: str) -> tuple[dict[str, str], str]:
    return {"PATH": str(folder)}, "no C++ compiler on PATH (looked for g++, c++, clang++)"


def with_a_compiler_that_does_not_exist(folder: Path, _: str) -> tuple[dict[str, str], str]:
    return {"CXX": "g++-of-yore"}, "no C++ compiler on PATH (looked for g++-of-yore)"


def with_a_blank_for_a_compiler(folder: Path, _: str) -> tuple[dict[str, str], str]:
    return {"CXX": " ", "PATH": str(folder)}, "no C++ compiler on PATH (looked for g++, c++, clang++)"


def with_a_compiler_whose_quotation_does_not_end(folder: Path, _: str) -> tuple[dict[str, str], str]:
    return {"CXX": 'g++ "-O2'}, '$CXX is no command: No closing quotation, got g++ "-O2'


def with_a_compiler_that_writes_no_text(folder: Path, _: str) -> tuple[dict[str, str], str]:
    return {"CXX": str(script(folder / "foreign", "printf 'error: \\377' >&2", "exit 1"))}, "failed with exit code 1: error: \ufffd"


def with_a_linker_that_finds_the_disk_full(folder: Path, _: str) -> tuple[dict[str, str], str]:
    words = "ld: No space left on device", "collect2: error: ld returned 1 exit status"
    failing = script(folder / "failing", *(f"echo '{line}' >&2" for line in words), "exit 1")
    return {"CXX": str(failing)}, "failed with exit code 1: ld: No space left on device; collect2: error: ld returned 1 exit status"


def with_a_compiler_that_fails(folder: Path, _: str) -> tuple[dict[str, str], str]:
    failing = script(folder / "failing", "echo In file included from a.h: >&2", "echo 'a.h:1: error: sorry' >&2", "exit 3")
    return {"CXX": str(failing)}, f"{failing} failed with exit code 3: a.h:1: error: sorry"


def with_a_library_that_does_not_load(folder: Path, _: str) -> tuple[dict[str, str], str]:
    return {"CXX": str(script(folder / "careless", TO_TARGET, 'echo nonsense > "$2"'))}, "does not load"


def with_a_cache_that_cannot_be_locked(folder: Path, name: str) -> tuple[dict[str, str], str]:
    (folder / f"{name}.lock").mkdir()
    return {}, "Is a directory"


REASONS = [
    without_compiler,
    with_a_compiler_that_does_not_exist,
    with_a_blank_for_a_compiler,
    with_a_compiler_whose_quotation_does_not_end,
    with_a_compiler_that_writes_no_text,
    with_a_linker_that_finds_the_disk_full,
    with_a_compiler_that_fails,
    with_a_library_that_does_not_load,
    with_a_cache_that_cannot_be_locked,
]


@pytest.mark.parametrize("spoil", REASONS)
def test_what_keeps_the_kernel_away_is_the_reason_for_the_reference(
    spoil: Callable[[Path, str], tuple[dict[str, str], str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    variables, reason = spoil(tmp_path, cached_name(monkeypatch))
    for name, text in {"DCNV3_CACHE": str(tmp_path), "CXX": "", **variables}.items():
        monkeypatch.setenv(name, text)
    monkeypatch.setenv("DCNV3_CPU", "portable")
    monkeypatch.setattr(backends, "load_variant", backends.load_variant.__wrapped__)
    monkeypatch.setattr(backends, "_settled", {})
    with pytest.warns(RuntimeWarning, match="dcnv3 runs its slow PyTorch reference on CPU tensors: ") as caught:
        found = backends.backend()
    assert backends.backend() == found  # and no second warning, which would be an error
    assert found.name == "reference"
    assert reason in found.reason
    assert str(caught[0].message).endswith(found.reason)


def test_the_warning_points_at_the_line_that_called(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing() -> backends.Backend:
        raise build.BuildError("sorry")

    monkeypatch.setitem(backends._FINDERS, "cpu", failing)
    for call in (lambda: backends.backend(), lambda: DCNv3(8, 2)(torch.ones(1, 2, 2, 8))):
        monkeypatch.setattr(backends, "_settled", {})
        with pytest.warns(RuntimeWarning, match="sorry") as caught:
            call()
        assert caught[0].filename == __file__


FORKED = """
import os, signal, threading
from dcnv3 import backends

held, done = threading.Event(), threading.Event()

def hold():
    with backends._settling:
        held.set()
        done.wait()

thread = threading.Thread(target=hold)
thread.start()
held.wait()
child = os.fork()
if not child:
    signal.alarm(20)
    backends.backend("mps")
    os._exit(0)
done.set()
thread.join()
raise SystemExit(os.waitpid(child, 0)[1])
"""


def test_a_child_forked_while_another_thread_compiles_does_not_wait_for_it() -> None:
    subprocess.run([sys.executable, "-c", FORKED], check=True, timeout=60)


def test_without_a_compiler_the_operator_works_after_one_warning(tmp_path: Path) -> None:
    variables, reason = without_compiler(tmp_path, "")
    warning = f"RuntimeWarning: dcnv3 runs its slow PyTorch reference on CPU tensors: {reason}"
    assert outcome(started(tmp_path, **variables)) == {"name": "reference", "reason": reason, "warnings": [warning], "agrees": True}


def test_two_processes_that_start_together_compile_once_and_a_third_not_at_all(compiler: Path, tmp_path: Path) -> None:
    together = [started(tmp_path / "cache", CXX=str(compiler)) for _ in range(2)]
    for found in [*map(outcome, together), outcome(started(tmp_path / "cache", CXX="none"))]:
        assert found.items() >= WORKS.items()
        assert str(tmp_path / "cache") in found["reason"]
    assert runs(compiler) == 1


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: os.truncate(path, 1000),
        lambda path: path.unlink(),
        lambda path: path.write_text(""),
        lambda path: digest(path).write_bytes(b"\xff"),
    ],
)
def test_a_damaged_library_is_made_again_before_anyone_loads_it(
    damage: Callable[[Path], None], compiler: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DCNV3_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("CXX", str(compiler))
    path = build.library("portable")
    intact = path.read_bytes()
    damage(path)
    assert build.library("portable").read_bytes() == intact
    assert runs(compiler) == 2
    assert build.library("portable") == path
    assert runs(compiler) == 2


def test_a_library_from_a_machine_that_is_no_match_is_compiled_here(compiler: Path, tmp_path: Path) -> None:
    first = outcome(started(tmp_path / "cache", CXX=str(compiler)))
    (path,) = (tmp_path / "cache").glob("*.so")
    path.write_text("made elsewhere")
    digest(path).write_text(hashlib.sha256(path.read_bytes()).hexdigest())
    assert outcome(started(tmp_path / "cache", CXX=str(compiler))) == first
    assert runs(compiler) == 2


def test_a_file_that_cannot_be_discarded_is_made_anew_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read_only(path: Path, missing_ok: bool = False) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setenv("DCNV3_CACHE", str(tmp_path))
    old = cache.cached("file", lambda path: path.write_text("old"))
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", read_only)
        cache.discard(old)
    new = cache.cached("file", lambda path: path.write_text("new"))
    assert (old.read_text(), new.read_text()) == ("old", "new")
    assert new.parent != tmp_path


def test_what_killed_processes_left_in_the_cache_goes_after_a_day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DCNV3_CACHE", str(tmp_path))
    left, another, foreign = (tmp_path / name for name in (".dcnv3-left", ".dcnv3-another", "tmpforeign"))
    for folder in (left, another, foreign):
        folder.mkdir()
        (folder / "file").touch()
    for folder in (left, foreign):
        os.utime(folder, (0, 0))
    cache.cached("file", lambda path: path.write_text("new"))
    assert (left.exists(), another.exists(), foreign.exists()) == (False, True, True)


def test_a_relative_cache_folder_counts_from_where_the_process_stands(
    compiler: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("CXX", str(compiler))
    for named, folder in ((".", tmp_path), ("~/kernels", tmp_path / "kernels")):
        monkeypatch.setenv("DCNV3_CACHE", named)
        assert build.library("portable").parent == folder


def test_the_compiler_may_come_with_flags(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "env LANG=C g++ -pipe")
    assert build.compiler() == [shutil.which("env"), "LANG=C", "g++", "-pipe"]


def test_a_forked_child_leaves_its_parent_s_temporary_folder_alone(tmp_path: Path) -> None:
    cache._remove_own(tmp_path, os.getpid() + 1)
    assert tmp_path.exists()
    cache._remove_own(tmp_path, os.getpid())
    assert not tmp_path.exists()


def test_where_the_cache_cannot_be_written_the_kernel_lasts_for_one_process(compiler: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "temporary").mkdir()
    found = outcome(started(tmp_path / "file" / "cache", CXX=str(compiler), TMPDIR=str(tmp_path / "temporary")))
    assert found.items() >= WORKS.items()
    assert str(tmp_path / "temporary") in found["reason"]
    assert list((tmp_path / "temporary").iterdir()) == []


def test_without_a_home_the_kernel_lasts_for_one_process(compiler: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", str(compiler))
    for name in ("DCNV3_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    assert build.library("portable").read_bytes()


def homeless() -> Path:
    raise RuntimeError("Could not determine home directory.")


@pytest.mark.skipif("avx2" not in build.supported(), reason="this processor does not run avx2")
def test_a_variant_that_is_asked_for_serves(tmp_path: Path) -> None:
    quick = script(tmp_path / "quick", f'exec {shlex.join(build.compiler())} "$@" -O0')
    found = outcome(started(tmp_path / "cache", DCNV3_CPU="avx2", CXX=str(quick)))
    assert found.items() >= {**WORKS, "name": "avx2"}.items()


def test_the_reference_is_there_for_the_asking(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DCNV3_CPU", "reference")
    assert backends._cpu_backend() == backends.Backend("reference", "$DCNV3_CPU=reference")


def test_a_variant_that_there_is_not_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DCNV3_CPU", "sse9")
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    with pytest.raises(ValueError, match=r"\$DCNV3_CPU must be one of avx2, portable, reference on this processor, got sse9"):
        backends._cpu_backend()


@pytest.mark.parametrize(("capability", "first"), [("AVX512", "avx512"), ("AVX2", "avx2"), ("DEFAULT", "portable"), ("SVE256", "portable")])
def test_a_processor_gets_the_best_variant_that_it_runs(capability: str, first: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    assert build.supported()[0] == first
    assert build.supported()[-1] == "portable"


def test_a_changed_source_or_release_of_pytorch_asks_for_another_library(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [cached_name(monkeypatch), cached_name(monkeypatch)]
    texts = build.source_texts()
    monkeypatch.setattr(build, "source_texts", lambda: [*texts[:-1], f"{texts[-1]} "])
    names.append(cached_name(monkeypatch))
    monkeypatch.setattr(torch, "__version__", "2.99")
    names.append(cached_name(monkeypatch))
    assert len(set(names)) == 3
