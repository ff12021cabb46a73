"""A training that is interrupted goes on to the same numbers; damage, strangers and full disks are said."""

import dataclasses
import json
import logging
import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from safetensors import safe_open

import trainer.proxy
from searchspace.stacking import stack
from trainer.checkpoints import Checkpoint
from trainer.data import load_dataset
from trainer.proxy import Saver, run_proxy
from trainer.proxy_config import ProxyConfig, ProxyResult
from trainer.weights import describe

SMALL = stack(32, 16, 1, 2)
LONG = ProxyConfig(epochs=4, train_fraction=0.1)


def numbers(results: list[ProxyResult]) -> list[tuple[int, dict[str, float]]]:
    return [(result.epoch, {name: value for name, value in result.metrics.items() if name != "seconds"}) for result in results]


def stopped_after(epochs: int, proxy: ProxyConfig, folder: Path) -> list[ProxyResult]:
    training = run_proxy(SMALL, proxy, seed=1, checkpoints=folder)
    results = [next(training) for _ in range(epochs)]
    training.close()
    return results


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("recipe", ["proxy", "published"])
def test_an_interrupted_training_ends_as_an_uninterrupted_one(recipe: str, tmp_path: Path) -> None:
    proxy = replace(LONG, recipe=recipe)
    whole = list(run_proxy(SMALL, proxy, seed=1))
    before = stopped_after(2, proxy, tmp_path)
    after = list(run_proxy(SMALL, proxy, seed=1, checkpoints=tmp_path))
    assert after[:2] == before  # told again, seconds included
    assert numbers(after) == numbers(whole)
    assert after[2].metrics["seconds"] > before[-1].metrics["seconds"]
    assert names(tmp_path) == ["epoch-0003.safetensors", "epoch-0004.safetensors"]


def test_a_finished_training_is_told_again_and_leaves_its_weights(tmp_path: Path) -> None:
    proxy, folder, weights = replace(LONG, epochs=1), tmp_path / "checkpoints", tmp_path / "trained.safetensors"
    first = list(run_proxy(SMALL, proxy, seed=1, checkpoints=folder))
    assert list(run_proxy(SMALL, proxy, seed=1, checkpoints=folder, weights=weights)) == first
    kept = describe(weights)
    assert kept is not None
    assert kept["provenance"]["metrics"] == first[0].metrics


def test_a_truncated_checkpoint_is_said_and_the_one_before_is_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    results = stopped_after(3, LONG, tmp_path)
    newest = tmp_path / "epoch-0003.safetensors"
    newest.write_bytes(newest.read_bytes()[:-1])
    again = list(run_proxy(SMALL, LONG, seed=1, checkpoints=tmp_path))
    assert numbers(again[:3]) == numbers(results)
    assert again[:2] == results[:2]
    (said,) = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert "a damaged checkpoint is passed over" in said
    assert str(newest) in said


def test_a_training_whose_checkpoints_are_all_damaged_begins_anew_and_keeps_what_it_writes(tmp_path: Path) -> None:
    for epoch in (2, 3):
        (tmp_path / f"epoch-000{epoch}.safetensors").write_bytes(b"")
    stopped_after(1, LONG, tmp_path)
    assert names(tmp_path) == ["epoch-0001.safetensors"]


@pytest.mark.parametrize("damage", [b"", b"\0" * 64, b"PK\x03\x04"])
def test_whatever_is_no_checkpoint_is_passed_over(damage: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "epoch-0009.safetensors").write_bytes(damage)
    assert stopped_after(1, LONG, tmp_path)[0].epoch == 1
    assert "epoch-0009" in caplog.text


@pytest.mark.parametrize(
    ("change", "seed", "message"),
    [
        ({"epochs": 5}, 1, "proxy.epochs is 4 there, 5 here"),
        ({"recipe": "published"}, 1, "proxy.recipe is 'proxy' there, 'published' here"),
        ({"precision": "bfloat16"}, 1, "proxy.precision is None there, 'bfloat16' here"),
        ({}, 2, "another training: seed is 1 there, 2 here; name another folder, or delete it"),
    ],
)
def test_the_checkpoints_of_another_training_are_refused(change: dict[str, object], seed: int, message: str, tmp_path: Path) -> None:
    stopped_after(1, LONG, tmp_path)
    with pytest.raises(ValueError, match=message):
        next(run_proxy(SMALL, replace(LONG, **change), seed=seed, checkpoints=tmp_path))  # type: ignore[arg-type]
    assert names(tmp_path) == ["epoch-0001.safetensors"]


def test_data_that_has_changed_makes_another_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digits = load_dataset("digits", seed=0, image_size=32)
    results = []
    for fingerprint in ("one", "other"):
        monkeypatch.setattr(trainer.proxy, "cached_dataset", lambda *_, marked=fingerprint, **__: replace(digits, fingerprint=marked))
        if fingerprint == "other":
            with pytest.raises(ValueError, match="another training: fingerprint is 'one' there, 'other' here"):
                stopped_after(1, LONG, tmp_path)
        else:
            results = stopped_after(1, LONG, tmp_path)
    assert results[0].fidelity["fingerprint"] == "one"


def test_a_training_that_diverges_keeps_its_last_sound_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    stopped_after(1, LONG, tmp_path)
    monkeypatch.setattr(trainer.proxy.Trainer, "evaluate", lambda *_: {"top1": 0.1, "loss": math.nan})
    assert math.isnan(stopped_after(2, LONG, tmp_path)[1].metrics["loss"])
    assert names(tmp_path) == ["epoch-0001.safetensors"]
    assert "no checkpoint after epoch 2" in caplog.text


def test_threads_are_no_part_of_what_is_trained(tmp_path: Path) -> None:
    before = stopped_after(1, LONG, tmp_path)
    assert next(run_proxy(SMALL, replace(LONG, threads=2), seed=1, checkpoints=tmp_path)) == before[0]


def test_a_folder_that_cannot_be_written_costs_the_checkpoint_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    taken = tmp_path / "file"
    taken.write_text("no folder")
    results = list(run_proxy(SMALL, replace(LONG, epochs=1), seed=1, checkpoints=taken))
    assert len(results) == 1
    assert "no checkpoint after epoch 1: cannot write" in caplog.text


def test_a_checkpoint_holds_tensors_and_json_and_clears_what_a_killed_one_left(tmp_path: Path) -> None:
    left = tmp_path / ".epoch-0001.safetensors.abc"
    left.mkdir()
    (left / "epoch-0001.safetensors").write_bytes(b"half of it")
    (result,) = stopped_after(1, replace(LONG, recipe="published"), tmp_path)
    assert names(tmp_path) == ["epoch-0001.safetensors"]
    with safe_open(tmp_path / "epoch-0001.safetensors", framework="pt") as file:
        stored = json.loads(file.metadata()["nas-training"])
        parts = {key.partition(".")[0] for key in file.keys()}  # noqa: SIM118 - no dictionary
    assert parts == {"model", "average", "optimizer"}
    assert stored["results"] == [dataclasses.asdict(result)]
    assert stored["steps"] == 4


def test_saving_takes_no_more_than_its_share_of_the_time_and_the_first_epoch_is_always_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    now, saved = [0.0], []

    class Slow:
        """A store of states that takes a second for each."""

        def write(self, state: Checkpoint) -> None:
            now[0] += 1
            saved.append(state.steps)

    monkeypatch.setattr("trainer.proxy.time.perf_counter", lambda: now[0])
    rarely, always = Saver(Slow(), 0.1), Saver(Slow(), None)  # type: ignore[arg-type]
    for saver, expected in ((rarely, [1, 5, 9]), (always, list(range(1, 11)))):
        saved.clear()
        for steps in range(1, 11):  # epochs of three seconds
            now[0] += 3
            saver.save(SimpleNamespace(tensors=dict, steps=steps), ())  # type: ignore[arg-type]
        assert saved == expected
