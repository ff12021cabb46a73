"""Studies are renamed, copied and deleted by command, and their trials written to files; what is lost is asked for first."""

import os
import sys
from pathlib import Path

import pandas as pd
import pytest
import typer
from typer.testing import CliRunner, Result

from nas.api import Study
from nas.cli import housekeeping
from nas.config import StudyConfig
from studies.records import NewTrial, Report, Trial, TrialState
from studies.store import Store

CONFIG = StudyConfig()
app = typer.Typer()
for command in (housekeeping.rename, housekeeping.copy, housekeeping.delete, housekeeping.trials):
    app.command()(command)


@pytest.fixture
def study(store_url: str) -> Study:
    """A study with two complete trials of the space's first candidates."""
    store = Store(store_url)
    study = Study(store, store.open("small", CONFIG.to_dict()))
    for l1 in (1, 2):
        complete(study, l1)
    return study


def complete(study: Study, l1: int, seed: int = 0) -> Trial:
    (trial,) = study.store.add(study.record, [NewTrial(params={"l1": l1}, seed=seed, cost={"flops": l1})], driver="d")
    study.store.finish(trial, TrialState.COMPLETE, fidelity={"epochs": 1}, last=Report(1, {"top1": l1 / 10}))
    return trial


def run(study: Study, *words: str) -> Result:
    return CliRunner().invoke(app, [*words, "--store", study.store.url])


def names(study: Study) -> list[str]:
    return [summary.study.name for summary in study.store.studies()]


def test_a_study_gets_another_name(study: Study) -> None:
    assert run(study, "rename", "small", "large").output == "study 'small' is now 'large'\n"
    assert names(study) == ["large"]
    assert len(study.trials()) == 2


def test_a_copy_has_the_trials_and_stands_beside(study: Study) -> None:
    assert run(study, "copy", "small", "again").output == "study 'again' has the 2 trials of 'small'\n"
    assert names(study) == ["small", "again"]
    again = Study(study.store, study.store.study("again"))
    assert [trial.metrics for trial in again.trials()] == [trial.metrics for trial in study.trials()]


@pytest.mark.parametrize("words", [("rename", "small", "other"), ("copy", "small", "other")])
def test_a_name_in_use_is_refused(study: Study, words: tuple[str, ...]) -> None:
    study.store.open("other", CONFIG.to_dict())
    refused = run(study, *words)
    assert isinstance(refused.exception, ValueError)
    assert "has a study 'other' already; choose another name" in str(refused.exception)
    assert names(study) == ["small", "other"]


@pytest.mark.parametrize(("answer", "left", "said"), [("n", ["small"], "nothing was deleted"), ("y", [], "deleted study 'small'")])
def test_deleting_asks_on_a_terminal(
    study: Study, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], answer: str, left: list[str], said: str
) -> None:
    keyboard, terminal = os.openpty()
    os.write(keyboard, f"{answer}\n".encode())
    with open(terminal) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        housekeeping.delete("small", store=study.store.url)
    os.close(keyboard)
    asked, told = capsys.readouterr().out.split("[y/N]: ")
    assert asked == f"Delete study 'small' with 2 trials from {study.store.url}? "
    assert told.strip().startswith(said)
    assert names(study) == left


def test_deleting_is_refused_where_nobody_can_be_asked(study: Study) -> None:
    refused = run(study, "delete", "small")
    assert str(refused.exception) == "deleting study 'small' cannot be taken back, and nobody is there to be asked; add --yes"
    assert names(study) == ["small"]


def test_deleting_says_what_stays_on_disk(study: Study, tmp_path: Path) -> None:
    folder = tmp_path / "weights"
    folder.mkdir()
    for trial in study.trials():
        (folder / f"{trial.number}.safetensors").write_bytes(bytes(700_000))
        study.store.artifacts.record(trial, "weights", folder / f"{trial.number}.safetensors")
    (folder / "0.safetensors").unlink()
    (running,) = study.store.add(study.record, [NewTrial(params={"l1": 3}, seed=0)], driver="d")
    study.store.set_checkpoint(running, "/shared/run/trial-2/attempt-001")
    done = run(study, "delete", "small", "--yes")
    assert done.output.splitlines() == [
        f"deleted study 'small' with 3 trials from {study.store.url}",
        f"left on disk: 1 file (0.7 MB) in {folder}",
        "left on disk: checkpoints of 1 unfinished trial in /shared/run",
    ]
    assert names(study) == []
    assert (folder / "1.safetensors").exists()


@pytest.mark.parametrize("words", [("delete", "small", "--yes"), ("rename", "small", "other")])
def test_a_study_that_is_searched_is_neither_deleted_nor_renamed(study: Study, words: tuple[str, ...]) -> None:
    with study.store.driving(study.record):
        refused = run(study, *words)
    assert "study 'small' is being searched by another process" in str(refused.exception)
    assert names(study) == ["small"]


def test_trials_go_to_a_file(study: Study, tmp_path: Path) -> None:
    out = tmp_path / "trials.csv"
    done = run(study, "trials", "small", "--out", str(out))
    assert done.output == f"wrote the 2 trials of study 'small' to {out}\n"
    assert list(pd.read_csv(out)["top1"]) == [0.1, 0.2]
    assert run(study, "trials", "small", "--out", str(out)).exit_code == 0  # a file of its own is written again
    refused = run(study, "trials", "small", "--out", str(tmp_path / "trials.txt"))
    assert "trials are written as .csv or .parquet, got 'trials.txt'" in str(refused.exception)


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_file_that_is_something_else_is_not_replaced_by_trials(study: Study, tmp_path: Path, ending: str) -> None:
    out = tmp_path / f"mine.{ending}"
    assert run(study, "trials", "small", "--out", str(out)).exit_code == 0
    assert run(study, "trials", "small", "--out", str(out)).exit_code == 0
    out.write_text("number,value\n1,2\n")
    refused = run(study, "trials", "small", "--out", str(out))
    assert f"{out} is no file of trials, so it stays as it is" in str(refused.exception)
    assert out.read_text() == "number,value\n1,2\n"


def test_a_candidate_that_lacks_seeds_is_on_no_front_of_a_file(store_url: str, tmp_path: Path) -> None:
    store = Store(store_url)
    study = Study(store, store.open("small", StudyConfig(seeds=3).to_dict()))
    for l1, seed, on_front in ((1, 0, False), (1, 1, False), (1, 2, True), (2, 0, True)):
        complete(study, l1, seed)
        assert run(study, "trials", "small", "--out", str(tmp_path / "trials.csv")).exit_code == 0
        written = pd.read_csv(tmp_path / "trials.csv")
        assert list(written["on_front"]) == list(study.frame()["on_front"]) == [on_front] * min(len(written), 3) + [False] * (l1 - 1)


def test_no_command_makes_a_store(tmp_path: Path) -> None:
    for words in (["rename", "a", "b"], ["copy", "a", "b"], ["delete", "a", "--yes"], ["trials", "a", "--out", "a.csv"]):
        refused = CliRunner().invoke(app, [*words, "--store", f"sqlite:///{tmp_path / 'none.db'}"])
        assert "no store at" in str(refused.exception)
    assert list(tmp_path.iterdir()) == []
