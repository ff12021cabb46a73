"""What a newcomer reads must be true: the README's example runs, its commands exist, the version is one."""

import re
import shlex
import tomllib
from pathlib import Path

import pytest
import typer

import nas
from nas.cli import app

ROOT = Path(__file__).parents[1]
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


def test_every_command_that_the_readme_shows_exists_with_its_flags() -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    shown = re.findall(r"^nas (.+?)(?:\s+#.*)?$", README, re.MULTILINE)
    assert len(shown) >= 8
    for line in shown:
        name, *arguments = shlex.split(line)
        known = {flag for parameter in commands[name].params for flag in parameter.opts}
        assert {argument for argument in arguments if argument.startswith("--")} <= known, line


def test_the_version_is_the_same_everywhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    changelog = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    citation = re.search(r"^version: (\S+)", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    assert changelog is not None
    assert citation is not None
    assert {project["version"], nas.__version__, changelog[1], citation[1]} == {nas.__version__}


def test_no_figure_of_the_readme_is_still_to_come() -> None:
    assert re.findall(r"@[A-Z_]+@|TODO|TBD", README) == []


def test_every_link_and_picture_of_the_readme_is_in_the_repository() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert target.startswith("https://arxiv.org/") or (ROOT / target).exists(), target


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
