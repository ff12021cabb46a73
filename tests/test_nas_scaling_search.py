"""Searches of the scaling space: from flags to trials of equal size, with a base from a study and exponents from a clock."""

import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from evaluators import counting

import nas
from nas.cli import main
from nas.config import StudyConfig
from nas.flags import study_config
from nas.measured_exponents import latency_exponents
from nas.scaling_sources import Sources, sources, variant_named
from searchspace.exponents import Exponents
from searchspace.model_config import ModelConfig
from searchspace.presets import preset
from searchspace.scaling_rule import scaled_base
from searchspace.spaces import scaling_space, stacking_space
from searchspace.stacking import stack
from studies.records import TrialState
from studies.store import Store, StudyMismatch
from trainer.latency_setting import Latency, LatencySetting, OutOfMemory

T = preset("T").config
PROXY = ("--epochs", "1", "--train-fraction", "5%", "--engine", "local")


def cli(*arguments: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["nas", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    captured = capsys.readouterr()
    return int(ended.value.code or 0), captured.out, captured.err


def test_a_search_trains_the_base_and_its_larger_relatives_once_each(
    store_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ("search", "--space", "scaling", "--base", "16,8,1,2", "--phi", "1,2", *PROXY, "--store", store_url)
    code, out, err = cli(*command, "--format", "json", monkeypatch=monkeypatch, capsys=capsys)
    assert code == 0, err
    study = nas.open_study("scaling", store=store_url)
    trials = study.trials()
    assert [trial.params for trial in trials if trial.state is TrialState.COMPLETE] == [
        {"phi": 0, "channels": 16},
        {"phi": 1, "channels": 24},
        {"phi": 2, "channels": 32},
    ]
    assert all(0 <= (trial.value("top1") or 0) <= 1 and trial.fidelity == trials[0].fidelity for trial in trials)
    sizes = [trial.cost["params"] / trials[0].cost["params"] for trial in trials]
    assert [size / 2**phi for size, phi in zip(sizes, (0, 1, 2), strict=True)] == pytest.approx([1, 1, 1], abs=0.015)
    assert {row["variant"] for row in json.loads(out)} <= {"16,8,1,2", "24,8,1,2", "32,8,1,4"}
    again = cli(*command, monkeypatch=monkeypatch, capsys=capsys)
    assert "nothing is left to do" in again[2]
    assert f"nas fit scaling --store {store_url}" in " ".join(again[1].split())


def test_a_dry_run_shows_coefficients_and_size_error_of_every_candidate(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = cli("search", "--space", "scaling", "--dry-run", "--format", "json", monkeypatch=monkeypatch, capsys=capsys)
    rows = json.loads(out)
    assert (code, len(rows), sum(row["feasible"] for row in rows)) == (0, 16, 15)
    row = next(row for row in rows if row["variant"] == "112,16,5,26")
    assert (row["phi"], row["alpha"], row["beta"]) == (2, pytest.approx(math.sqrt(41 / 30)), pytest.approx(math.sqrt(112 / 64)))
    assert row["size_error"] == pytest.approx(row["params"] / (4 * 29_918_424) - 1)
    assert all(row["reason"] for row in rows if not row["feasible"])
    monkeypatch.setenv("COLUMNS", "200")
    _, out, _ = cli("search", "--space", "scaling", "--dry-run", monkeypatch=monkeypatch, capsys=capsys)
    assert "16 candidates, 15 feasible" in out
    assert all(heading in out for heading in ("φ", "size error", "effective α", "effective β", "1.169"))


def test_flags_make_the_space_that_they_name() -> None:
    def space_of(**flags: Any) -> Any:
        return study_config(None, {"space": "scaling", **flags}).space

    assert space_of() == scaling_space()
    assert space_of(base="B", phi="1,2", lattice="fine", split="published", scale_metric="flops", alpha="1.05:1.3") == scaling_space(
        base=preset("B").config, phi=[1, 2], lattice="fine", split="published", metric="flops", alpha=(1.05, 1.3)
    )
    assert space_of(pairs="paper", keep_formula=True) == scaling_space(pairs="paper", formula=True)
    assert space_of(pairs="1.09,1.36;1.12,1.34", tolerance="3%", style="s") == scaling_space(
        pairs=[(1.09, 1.36), (1.12, 1.34)], tolerance=0.03, style="s"
    )
    assert space_of(target="100M").domains["phi"] == (1.7409,)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--pairs 1.09", "malformed pairs '1.09'; write alpha,beta pairs"),
        ("--pairs 1.2,1.36", "nearest: 1.1755,1.3052"),
        ("--pairs paper --alpha 1:1.2", "give one of them"),
        ("--alpha 1.2", "malformed range of alpha '1.2'; write 1:1.4"),
        ("--alpha 0.8:1.2", "alpha must ascend from at least 1"),
        ("--phi 0.5", "phi=0.5 has no width"),
        ("--phi 2 --target 100M", "exclude each other"),
        ("--phi x", "malformed list of numbers"),
        ("--base G", "AABA base"),
        ("--base 16,4,1,2 --phi 1", "nothing but the base is feasible"),
        ("--base 64,16,1,31 --split published", "take split ratio or keep-l1"),
        ("--base study:nowhere", "no store"),
        ("--latency-batch 8", "--objective latency_ms or --scale-metric latency_ms"),
        ("--channels 64", "does not take --channels"),
    ],
)
def test_flags_that_cannot_be_are_refused_in_one_line(
    arguments: str, message: str, store_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ("search", "--space", "scaling", *arguments.split(), "--dry-run", "--store", store_url)
    code, out, err = cli(*command, monkeypatch=monkeypatch, capsys=capsys)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert message in err


def test_the_base_may_be_the_best_trial_of_a_study(store_url: str, tmp_path: Path) -> None:
    space = stacking_space(channels=[16], group_channels=[8], l1=[1], l3=[1, 2, 3])
    best_of_l3 = counting(tmp_path / "log", top1=lambda config: {1: 0.3, 2: 0.6, 3: 0.5}[config.depths[2]])
    config = StudyConfig(space=space, objectives=("top1", "flops"))
    nas.search(config, name="stacks", store=store_url, engine="local", evaluate=best_of_l3)
    assert variant_named("study:stacks", store_url) == stack(16, 8, 1, 2)
    assert variant_named("T", store_url) == T
    found = study_config(None, {"space": "scaling", "base": "study:stacks", "phi": "1,2"}, sources(store_url, "scaling", print))
    assert found.space.base == stack(16, 8, 1, 2)
    Store(store_url).open("empty", config.to_dict())
    with pytest.raises(ValueError, match="study 'empty' has no complete trial to start from; `nas show empty`"):
        variant_named("study:empty", store_url)
    with pytest.raises(ValueError, match=r"no study 'other'.*known: stacks, empty"):
        variant_named("study:other", store_url)


def test_a_study_of_an_earlier_version_goes_on_unchanged(store_url: str, tmp_path: Path) -> None:
    old = StudyConfig.read("scaling-digits")
    assert "scaling" not in old.to_dict()["space"]
    evaluate = counting(tmp_path / "log")
    first = nas.search(old, name="old", store=store_url, trials=2, engine="local", evaluate=evaluate)
    stored = nas.open_study("old", store=store_url).config
    assert stored == old
    second = nas.search(stored, name="old", store=store_url, engine="local", evaluate=evaluate)
    assert [trial.params for trial in second.trials()][:2] == [trial.params for trial in first.trials()][:2]
    assert sorted((tmp_path / "log").read_text().split()) == sorted(
        ["112,16,4,20", "112,16,4,21", "112,16,5,20", "112,16,5,22", "96,16,5,23"]
    )
    with pytest.raises(StudyMismatch, match=r"space\.domains"):
        nas.search(StudyConfig(space=scaling_space()), name="old", store=store_url, engine="local", evaluate=evaluate)


class Clock:
    """Made-up latencies that grow by powers of depth and width, and a record of what was measured beside what."""

    def __init__(self, depth: float, width: float) -> None:
        self._exponents = Exponents(depth, width)
        self.asked: list[tuple[ModelConfig, ...]] = []

    def __call__(self, configs: Sequence[ModelConfig], setting: LatencySetting) -> list[Latency]:
        self.asked.append((setting.anchor, *configs))
        anchor = setting.anchor
        return [_times(self._exponents.growth(c.depths[2] / anchor.depths[2], c.channels / anchor.channels)) for c in configs]


def test_latency_exponents_are_measured_beside_the_base() -> None:
    clock = Clock(0.9, 1.3)
    found = latency_exponents(T, measure=clock)
    assert (found.depth, found.width) == (pytest.approx(0.9), pytest.approx(1.3))
    assert [config.short_name for config in clock.asked[0]] == ["64,16,4,18", "64,16,8,36", "128,16,4,18"]
    with pytest.raises(nas.NasError, match=r"1\.02 times with twice the width: .*width must lie in .*larger --latency-batch"):
        latency_exponents(T, measure=lambda configs, setting: [_times(2), _times(1.02)])

    def full(configs: Sequence[ModelConfig], setting: LatencySetting) -> Sequence[Latency]:
        raise OutOfMemory(configs[1], "variant 128,16,4,18 does not fit")

    with pytest.raises(nas.NasError, match="does not fit; take a smaller --latency-batch"):
        latency_exponents(T, measure=full)


def _times(ratio: float) -> Latency:
    return Latency(median_ms=1.0, low_ms=1.0, high_ms=1.0, ratio=ratio, ratio_low=ratio, ratio_high=ratio, rounds=60)


def test_a_search_scaled_by_latency_measures_once_and_goes_on_with_what_it_measured(store_url: str, tmp_path: Path) -> None:
    measured: list[LatencySetting] = []

    def measure(base: ModelConfig, setting: LatencySetting) -> Exponents:
        measured.append(setting)
        return Exponents(0.9, 1.2 + len(measured) / 32)

    flags = {"space": "scaling", "scale_metric": "latency_ms", "latency_batch": 8, "phi": "2,3"}
    first = study_config(None, flags, Sources(exponents=measure))
    assert (measured[0].batch_size, measured[0].image_size, measured[0].device) == (8, 224, "cpu")
    assert scaled_base(first.space).exponents == Exponents(0.9, 1.23125)
    assert first.latency.batch_size == 8  # the study says at what
    for candidate in first.space.feasible():
        assert abs(candidate.size_error or 0) <= 0.015
    nas.search(first, name="fast", store=store_url, trials=1, engine="local", evaluate=counting(tmp_path / "log"))
    told: list[str] = []
    again = study_config(None, flags, sources(store_url, "fast", told.append))
    assert again == first
    assert told == []
    assert study_config(None, flags, Sources(exponents=measure)) != first


def test_the_exponents_of_a_real_device_come_out_of_the_latency_code() -> None:
    found = nas.latency_exponents(stack(48, 16, 1, 1), LatencySetting(image_size=32, rounds=30))
    assert 0.1 <= found.depth <= 10
    assert 0.1 <= found.width <= 10
