"""Study files: what people write in them is read, and what cannot be read is answered with the keys that there are."""

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml

from nas.config import LatencyConfig, Screen, StudyConfig
from searchspace.space import SearchSpace
from searchspace.spaces import SPACES, scaling_space
from studies.halving import Halving
from trainer.proxy_config import ProxyConfig

RECORDS = {"proxy": ProxyConfig, "screen": Screen, "latency": LatencyConfig, "halving": Halving}
STACKING = "name: stacking, domains: {channels: [64], group_channels: [16], l1: [1]}"


def read(tmp_path: Path, text: str) -> StudyConfig:
    file = tmp_path / "study.yaml"
    file.write_text(text)
    return StudyConfig.read(str(file))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a mapping of space, proxy, objectives, sampler, seed, seeds, screen, .*; got nothing"),
        ("objectivs: [top1]", r"unknown key 'objectivs' \(did you mean objectives\?\); known: space, .*, halving, require, evaluator"),
        ("early_stopping: stop", "unknown key 'early_stopping'; known: space, .*, halving"),
        ("proxy: {epoch: 3}", r"proxy: unknown key 'epoch' \(did you mean epochs\?\); known: dataset, image_size, epochs"),
        ("proxy: 3", "proxy: write a mapping of dataset, .*; got 3"),
        ("proxy: {train_fraction: 150%}", r"proxy: train_fraction: a fraction must lie in \(0, 1\] here, got '150%'; write 50% or 0.5"),
        (f"space: {{{STACKING}, limit: [a]}}", r"space: .*unknown key 'limit' \(did you mean limits\?\); known: name, domains, target"),
        (f"space: {{{STACKING}, target: {{valeu: 3}}}}", r"target: unknown key 'valeu' \(did you mean value\?\); known: value, metric"),
        (f"space: {{{STACKING}, target: {{metric: flops}}}}", "target: the key value is missing, got metric"),
        ("space: {name: scaling, scaling: {metrics: flops}}", r"scaling: unknown key 'metrics' \(did you mean metric\?\); known: metric"),
        ("space: {name: wide, limits: []}", "space: the space 'wide' takes no settings: write space: wide, or name: stacking"),
        ("space: stackin", "space: write stacking, wide, scaling or a mapping of name, domains, .*; got 'stackin'"),
        ("objectives: top1", r"objectives: write a list such as \[top1, flops\], got 'top1'"),
        ("objectives: [{metric: top1}]", "objectives: the key direction is missing, got metric"),
        ("require: top1>=90%", r"require: write a list such as .*, got 'top1>=90%'"),
        ("require: [{metric: top1, value: 3}]", "require: unknown key 'value'; known: metric, sense, bound"),
        ("halving: stop", "halving: write a mapping of mode, eta, min_epochs; got 'stop'"),
        ("halving: {modus: stop}", r"halving: unknown key 'modus' \(did you mean mode\?\); known: mode, eta"),
        ("screen: {keep: 0.5}", "screen: the key score is missing, got keep"),
        ("latency: {imagesize: 64}", r"latency: unknown key 'imagesize' \(did you mean image_size\?\); known: device"),
    ],
)
def test_what_a_study_file_gets_wrong_is_answered_in_one_line_with_what_it_may_say(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as refused:
        read(tmp_path, text)
    assert str(refused.value).startswith("study.yaml: ")
    assert "\n" not in str(refused.value)


def test_a_study_file_writes_spaces_by_name_and_shares_as_percentages(tmp_path: Path) -> None:
    found = read(tmp_path, "{space: scaling, proxy: {train_fraction: 25%}, screen: {score: zen, keep: 10%}, halving: null}")
    expected: dict[str, Any] = {"proxy": ProxyConfig(train_fraction=0.25), "screen": Screen(score="zen", keep=0.1)}
    assert found == StudyConfig(space=scaling_space(), **expected)


def test_the_documented_keys_of_a_study_file_are_all_there_are_with_their_defaults() -> None:
    text = (Path(__file__).parent.parent / "docs" / "searching.md").read_text()
    rows = {key: (meaning, default) for key, meaning, default in re.findall(r"^\| `(\w+)` \| (.*) \| (.*) \|$", text, re.MULTILINE)}
    documented = {key: row for key, row in rows.items() if key not in SPACES}
    assert list(documented) == list(StudyConfig.model_fields)
    for key, (_, default) in documented.items():
        written = {} if default == "none" else {key: yaml.safe_load(default.strip("`"))}
        assert StudyConfig.from_dict(written) == StudyConfig(), key
    for key, kind in RECORDS.items():
        (mapping,) = re.findall(r"`(\{.*\})`", " ".join(documented[key]))
        assert list(yaml.safe_load(mapping)) == [field.name for field in fields(kind)]
    of_a_space = re.search(r"The mapping of a space has the keys (.*?)\. How many", text, re.DOTALL)
    assert of_a_space is not None
    assert {field.name for field in fields(SearchSpace)} - {"rule"} <= set(re.findall(r"`(\w+)`", of_a_space[1]))
