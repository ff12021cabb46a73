"""Typical mistakes at the Python interface: each is answered in one line that names the argument, before anything is stored or trained."""

import inspect
import pickle
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import dcnv3
import nas
import studies
from nas.config import StudySettings
from searchspace.presets import preset
from searchspace.sizes import Limit, Target
from tests.evaluators import counting
from trainer.proxy_config import ProxyResult

CONFIG = nas.StudyConfig(space=nas.stacking_space(channels=[16], group_channels=[8], l1=[1], l3=[1, 2]), proxy={"epochs": 2})

SPACES: list[tuple[Callable[..., Any], dict[str, Any], str]] = [
    (nas.stacking_space, {"target": 30_000_000}, "target: write a text such as 30M or flops=5G.*got 30000000"),
    (nas.stacking_space, {"limits": "flops<=5G"}, r'limits: write a list such as \["flops<=5G"\], got'),
    (nas.stacking_space, {"limits": [5]}, "limits: write a text such as flops<=5G.*got 5"),
    (nas.stacking_space, {"channels": 64}, r"channels: write a list such as \[48, 64, 80\] or a range.*got 64"),
    (nas.stacking_space, {"l3": "9:3"}, "l3: malformed range '9:3': the range is empty"),
    (nas.scaling_space, {"phi": 2}, r"phi must be a list of numbers such as \[2, 3\], got 2"),
    (nas.scaling_space, {"phi": []}, r"phi must be a list of numbers such as \[2, 3\], got \[\]"),
    (nas.scaling_space, {"phi": ["2"]}, r"phi must be a list of numbers such as \[2, 3\], got \['2'\]"),
    (nas.scaling_space, {"base": "Z"}, "base: unknown preset 'Z'"),
    (nas.scaling_space, {"base": preset("T")}, "base: give a ModelConfig, .* or a preset's name such as T; got Preset"),
    (nas.scaling_space, {"pairs": [1.09, 1.36]}, r"pairs must be .paper. or a list of \(alpha, beta\) such as .* got \[1\.09, 1\.36\]"),
    (nas.scaling_space, {"pairs": "papers"}, r"pairs must be .paper. or a list of .* got 'papers'"),
    (nas.scaling_space, {"metric": "latency_ms", "exponents": (0.9, 1.2)}, r"exponents must be Exponents.*got \(0\.9, 1\.2\)"),
]
RECORDS: list[tuple[Callable[..., Any], dict[str, Any], str]] = [
    (nas.Budget, {"until": "top1>=97%"}, r'until must be a list of bounds such as \["top1>=97%"\], got \'top1>=97%\''),
    (nas.Budget, {"until": [97]}, r"until must be a list of bounds .*got \[97\]"),
    (nas.Budget, {"seconds": True}, "seconds must be a number of seconds above 0, got True"),
    (nas.ProxyConfig, {"train_fraction": True}, r"train_fraction must lie in \(0, 1\], got True"),
    (nas.StudyConfig, {"objectives": "top1"}, r"objectives: write a list such as \[top1, flops\], got 'top1'"),
    (nas.StudyConfig, {"proxy": 3}, "proxy: write a mapping of dataset, .*; got 3"),
    (nas.StudyConfig, {"proxy": nas.ProxyConfig}, "proxy: Input should be an instance of ProxyConfig, got <class"),
    (nas.StudyConfig, {"objectivs": ["top1"]}, r"unknown key 'objectivs' \(did you mean objectives\?\)"),
    (nas.StudyConfig, {"seed": -1}, "seed: Input should be greater than or equal to 0, got -1"),
    (nas.StudyConfig, {"evaluator": "nope"}, "evaluator: unknown evaluator 'nope'; known: train, table:PATH"),
    (nas.StudyConfig, {"seeds": 2, "objectives": ["params"]}, "seeds=2 repeats trainings"),
]


@pytest.mark.parametrize(("make", "how", "message"), [*SPACES, *RECORDS])
def test_what_a_study_cannot_be_made_of_is_refused_in_one_line(make: Callable[..., Any], how: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}") as refused:
        make(**how)
    assert "\n" not in str(refused.value)


def without_seed(config: Any, proxy: Any) -> Iterator[Any]:
    yield None


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"config": "stacking"}, "config must be a StudyConfig, as .* make it, got 'stacking'"),
        ({"config": {}}, "config must be a StudyConfig, .*got {}"),
        ({"name": 3}, "name must be text, got 3"),
        ({"store": Path("x.db")}, r"store must be a Store or a URL such as sqlite:///nas\.db, got .*x\.db"),
        ({"budget": 3}, r"budget must be a Budget, such as Budget\(trials=8\), got 3"),
        ({"reuse": "other"}, r'reuse must be a list of studies by name such as \["base"\], got \'other\''),
        ({"listener": 3}, "listener must be a function that takes a Progress, got 3"),
        ({"checkpoints": 3}, "checkpoints must be text or a path, got 3"),
        ({"weights_folder": 3}, "weights_folder must be text or a path, got 3"),
        ({"workers": "2"}, "workers must be at least 1 and whole, got '2'"),
        ({"gpus_per_trial": "1"}, "gpus_per_trial must be a number, got '1'"),
        ({"ray_address": 6379}, "ray_address must be text, auto or HOST:PORT, got 6379"),
        ({"step_timeout": "5m"}, "step_timeout must be a number of seconds above 0, got '5m'"),
        ({"evaluate": 3}, r"evaluate must be a function, got 3; write evaluate\(config, proxy, \*, seed\)"),
        ({"evaluate": without_seed}, r"evaluate\(config: Any, proxy: Any\) .*'seed'; write evaluate\("),
    ],
)
def test_what_a_search_cannot_take_is_refused_before_anything_is_stored(
    how: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message) as refused:
        nas.search(**{"config": CONFIG, "engine": "ray", "evaluate": counting(tmp_path / "calls"), **how})
    assert "\n" not in str(refused.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "how", "message"), [(3, {}, "name must be text, got 3"), ("x", {"store": Path("x.db")}, "store must be a Store")]
)
def test_what_no_study_is_found_by_is_refused_in_one_line(name: Any, how: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        nas.open_study(name, **how)


def test_an_evaluator_without_a_signature_and_one_that_needs_its_file_of_weights_are_let_through(store_url: str, tmp_path: Path) -> None:
    class Unsigned:
        __signature__ = 3  # inspect finds none, as for some that are written in C

        def __call__(self, config: Any, proxy: Any, *, seed: int) -> Iterator[Any]:
            yield ProxyResult(epoch=2, metrics={"top1": 0.5}, fidelity={"epochs": 2})

    def needing(config: Any, proxy: Any, *, seed: int, weights: Path) -> Iterator[Any]:
        weights.touch()
        yield ProxyResult(epoch=2, metrics={"top1": 0.5}, fidelity={"epochs": 2})

    with pytest.raises(TypeError):
        inspect.signature(Unsigned())
    for name, evaluate in (("unsigned", Unsigned()), ("needing", needing)):
        study = nas.search(CONFIG, name=name, store=store_url, engine="local", evaluate=evaluate, checkpoints=tmp_path / "states")
        assert [trial.value("top1") for trial in study.trials()] == [0.5, 0.5]


def test_a_search_that_finds_all_its_trials_failed_says_that_they_are_not_repeated(store_url: str, tmp_path: Path) -> None:
    def fail(l3: int) -> None:
        raise RuntimeError("no such kernel")

    with pytest.raises(nas.NasError, match=r"^all 2 trials failed; the first: RuntimeError: no such kernel$"):
        nas.search(CONFIG, name="e", store=store_url, engine="local", evaluate=counting(tmp_path / "calls", fail))
    again = r"^all 2 trials failed before and are not repeated; choose another name than 'e' to train them again; the first: RuntimeError"
    with pytest.raises(nas.NasError, match=again):
        nas.search(CONFIG, name="e", store=store_url, engine="local", evaluate=counting(tmp_path / "calls"))


def test_text_stands_for_sizes_ranges_presets_and_bounds() -> None:
    sizes: dict[str, Any] = {"target": Target(30_000_000), "limits": [Limit("flops", 5 * 10**9)]}
    assert nas.stacking_space(channels="48,64", l1="1:3", target="30M", limits=["flops<=5G"]) == nas.stacking_space(
        channels=[48, 64], l1=[1, 2, 3], **sizes
    )
    assert nas.scaling_space(base="S", phi=[2], limits=["flops<=90G"]) == nas.scaling_space(
        base=preset("S").config, phi=[2], limits=[Limit("flops", 90 * 10**9)]
    )
    assert nas.Budget(until=["top1>=97%"]) == nas.Budget(until=(nas.Constraint("top1", ">=", 0.97),))


def test_a_study_is_written_as_in_a_study_file_and_stays_the_value_that_it_was() -> None:
    written = nas.StudyConfig(space="stacking", proxy={"epochs": 3}, objectives=["top1"], require=["top1>=90%"], screen={"score": "zen"})
    assert written == nas.StudyConfig.from_dict(written.to_dict())
    assert pickle.loads(pickle.dumps(written)) == written
    assert written.model_copy(update={"seed": 3}).seed == 3
    assert list(StudySettings.__annotations__) == list(nas.StudyConfig.model_fields) == list(inspect.signature(nas.StudyConfig).parameters)


TYPED = """
from pathlib import Path

names = ["top1", "flops"]
settings = {"epochs": 3}
config = nas.StudyConfig(space="stacking", proxy=settings, objectives=names, require=["top1>=90%"], screen={"score": "zen"})
config = nas.StudyConfig(space={"name": "stacking"}, halving={"mode": "stop"}, latency={"batch_size": 2})
space = nas.stacking_space(channels=range(16, 64, 16), l1="1:3", target="30M", limits=["flops<=5G"])
study = nas.search(config, budget=nas.Budget(until=["top1>=97%"]), checkpoints=Path("states"))
scaled = nas.scaling_space(base="T", phi=[2, 3])
"""


@pytest.mark.slow
def test_the_types_accept_what_works(tmp_path: Path) -> None:
    root = Path(nas.__file__).parents[1]
    (readme,) = re.findall(r"```python\n(.*?)```", (root / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    example = tmp_path / "example.py"
    example.write_text(readme + TYPED)
    command = [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", f"--cache-dir={tmp_path / 'cache'}", example]
    checked = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=300)
    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize("package", [nas, studies, dcnv3])
def test_completion_offers_every_public_name(package: Any) -> None:
    assert set(package.__all__) <= set(dir(package))
