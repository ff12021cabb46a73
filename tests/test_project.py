"""What a newcomer reads must be true: the README's example runs, its commands exist, the version is one."""

import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer

import nas
from nas.cli import app
from searchspace import PRESETS, cost
from searchspace.switch_flags import with_settings

ROOT = Path(__file__).parents[1]
DOCS = sorted((ROOT / "docs").glob("*.md"))
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_readme_s_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(compile(example, "README.md", "exec"), names)
    study = names["study"]
    assert isinstance(study, nas.Study)
    assert len(study.trials()) == 4
    assert re.search(r"80,16,\d,\d|64,16,\d,\d+ ", capsys.readouterr().out)


def test_the_operator_s_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    first, saved = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "operator.md").read_text(), re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(first, "operator.md", "exec"), names)
    assert names["out"].shape == (2, 14, 14, 64)
    assert "Backend(name=" in capsys.readouterr().out
    exec(compile(saved, "operator.md", "exec"), names)
    elsewhere = "import torch, dcnv3.ops; print(torch.export.load('layer.pt2').module()(torch.ones(2, 14, 14, 64)).shape)"
    done = subprocess.run([sys.executable, "-c", elsewhere], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == "torch.Size([2, 14, 14, 64])"


def test_every_command_that_the_readme_shows_exists_with_its_flags() -> None:
    texts = "\n".join([README, *(page.read_text(encoding="utf-8") for page in DOCS)])
    shown = re.findall(r"^(?: {4})?nas (.+?)(?:\s+#.*)?$", texts, re.MULTILINE)
    assert len(shown) >= 12
    for line in shown:
        words = shlex.split(line)
        command = typer.main.get_command(app)
        while hasattr(command, "commands"):
            command = command.commands[words.pop(0)]
        known = {flag for parameter in command.params for flag in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= known, line


def test_the_version_is_the_same_everywhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    changelog = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    citation = re.search(r"^version: (\S+)", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    assert changelog is not None
    assert citation is not None
    assert {project["version"], nas.__version__, changelog[1], citation[1]} == {nas.__version__}


def test_no_figure_of_the_readme_is_still_to_come() -> None:
    assert re.findall(r"@[A-Z_]+@|TODO|TBD", README) == []


def test_the_readme_s_table_of_the_family_is_the_cost_of_its_networks() -> None:
    rows = re.findall(r"^\| (\w+)(?:, `(.+?)`)? \| ([\d,]+) \| [^|]+ \| ([\d,.]+) at (\d+)² \| \S+ \| ([\d,]+) \|$", README, re.MULTILINE)
    assert [name for name, *_ in rows] == [*PRESETS, "T", "T", "T"]
    for name, changes, params, gflops, side, tensors in rows:
        config = with_settings(PRESETS[name].config, changes.split())
        size = cost(config, int(side))
        assert (params, gflops) == (f"{size.params:,}", f"{size.flops / 1e9:,.2f}"), name
        assert len(nas.build(config, device="meta").state_dict()) == int(tensors.replace(",", "")), name


def test_every_link_and_picture_of_the_readme_is_in_the_repository() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert target.startswith("https://arxiv.org/") or (ROOT / target).exists(), target
    for page in DOCS:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
            assert target.startswith("https://") or (page.parent / target).exists(), (page.name, target)


def test_every_dependency_is_pinned() -> None:
    pins = {re.split(r"[=<>]", line)[0].lower().replace("_", "-") for line in (ROOT / "constraints.txt").read_text().split()}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for requirement in [*project["dependencies"], *(r for extra in project["optional-dependencies"].values() for r in extra)]:
        name = re.split(r"[\[=<>]", requirement)[0].lower().replace("_", "-")
        assert name in pins or name == "nas-scaling", name


def test_every_package_is_installed_and_typed() -> None:
    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    found = {".".join(path.parent.relative_to(ROOT).parts) for top in ("nas", "searchspace", "dcnv3", "trainer", "dashboard", "studies")
             for path in (ROOT / top).rglob("__init__.py")}  # fmt: skip
    assert found == listed
    assert all((ROOT / package / "py.typed").exists() for package in listed if "." not in package)
