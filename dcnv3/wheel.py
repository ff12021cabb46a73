"""`python -m dcnv3.wheel`: the project's wheel with a compiled library of every CPU variant inside, for machines without a compiler."""

import argparse
import logging
import platform
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import tomllib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from dcnv3 import build

log = logging.getLogger(__name__)

ROOT = Path(__file__).parents[1]


def build_wheel(out: Path) -> Path:
    """The wheel in `out`, for any Python 3 on this kind of machine; BuildError when the libraries cannot be compiled."""
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        libraries = _libraries(scratch / "libraries")
        content = _pure_content(scratch)
        shutil.move(libraries, content / build.SHIPPED.relative_to(ROOT))
        _mark_as_native(content)
        (scratch / "packed").mkdir()
        _run(scratch, "wheel", "pack", str(content), "--dest-dir", "packed")
        (wheel,) = (scratch / "packed").iterdir()
        out.mkdir(parents=True, exist_ok=True)
        return Path(shutil.copy(wheel, out))


def variants() -> tuple[str, ...]:
    """What is shipped: all the variants of an x86 machine, whichever of them its own processor runs; elsewhere the portable one."""
    return tuple(build.VARIANTS) if platform.machine() == "x86_64" else ("portable",)


def _libraries(folder: Path) -> Path:
    folder.mkdir()
    with ThreadPoolExecutor(max_workers=2) as pool:
        list(pool.map(lambda variant: build.compile_library(variant, folder / build.library_name(variant)), variants()))
    return folder


def _pure_content(scratch: Path) -> Path:
    """The ordinary wheel, unpacked. It is built from a copy: setuptools leaves files behind, and packs those of an earlier build."""
    _copy_sources(scratch / "sources")
    _run(scratch, "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-build-isolation", "./sources")
    (wheel,) = scratch.glob("*.whl")
    _run(scratch, "wheel", "unpack", wheel.name, "--dest", "content")
    (content,) = (scratch / "content").iterdir()
    return content


def _copy_sources(folder: Path) -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    for top in {package.partition(".")[0] for package in settings["tool"]["setuptools"]["packages"]}:
        shutil.copytree(ROOT / top, folder / top, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", settings["project"]["readme"], *settings["project"]["license-files"]):
        shutil.copy(ROOT / name, folder)


def _mark_as_native(content: Path) -> None:
    """Platform instead of `any` in the wheel's tag, which `wheel pack` then puts into its name."""
    (file,) = content.glob("*.dist-info/WHEEL")
    platform_tag = sysconfig.get_platform().replace("-", "_").replace(".", "_")
    text = file.read_text().replace("py3-none-any", f"py3-none-{platform_tag}")
    file.write_text(text.replace("Root-Is-Purelib: true", "Root-Is-Purelib: false"))


def _run(folder: Path, *module: str) -> None:
    subprocess.run([sys.executable, "-m", *module], cwd=folder, stdout=subprocess.DEVNULL, check=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Build, and say where the wheel is."""
    parser = argparse.ArgumentParser(prog="python -m dcnv3.wheel", description="Build the wheel with compiled CPU kernels.")
    parser.add_argument("--out", type=Path, default=Path("dist"), help="folder that the wheel is written to (default: %(default)s)")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        log.info("wrote %s", build_wheel(options.out))
    except build.BuildError as error:
        raise SystemExit(f"no wheel: {error}") from error


if __name__ == "__main__":
    main()
