"""Which trained networks stay on disk, what is recorded of them, and what happens when a search stops between the two."""

import hashlib
import json
import logging
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import nas
from nas.cli import studies as commands
from nas.job import weights_file
from nas.kept_weights import folder_of
from nas.progress_record import Progress
from searchspace.spaces import stacking_space
from studies.records import TrialState
from studies.store import Store
from tests.evaluators import counting
from trainer.proxy_config import ProxyConfig, ProxyResult

L3 = range(1, 7)
CONFIG = nas.StudyConfig(
    space=stacking_space(channels=[16], group_channels=[8], l1=[1], l3=L3), proxy=ProxyConfig(epochs=2), objectives=["top1"]
)


def writing(top1: Sequence[float] = (0.3, 0.1, 0.4, 0.2, 0.4, 0.0), seen: list[Path] | None = None) -> Callable[..., Any]:
    """Top-1 by L3, and a file of weights with the variant's name after the first of two epochs; files there before go to `seen`."""

    def evaluate(config: Any, proxy: ProxyConfig, *, seed: int, weights: Path | None = None) -> Iterator[ProxyResult]:
        if weights is not None and weights.exists() and seen is not None:
            seen.append(weights)
        for epoch in range(1, proxy.epochs + 1):
            if weights is not None:
                weights.parent.mkdir(parents=True, exist_ok=True)
                weights.write_text(config.short_name)
            metrics = {"top1": top1[config.depths[2] - 1], "loss": 1.0}
            yield ProxyResult(epoch=epoch, metrics=metrics, fidelity=proxy.fidelity(epochs=epoch, seed=seed))

    return evaluate


def search(folder: Path, **options: Any) -> nas.Study:
    return nas.search(CONFIG, **{"name": "s", "store": f"sqlite:///{folder}/nas.db", "engine": "local", "evaluate": writing(), **options})


def on_disk(folder: Path) -> set[str]:
    """The files below a folder, without the marks that say whose it is."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and path.suffix != ".study"}


def files_of(study: nas.Study, numbers: Sequence[int]) -> set[str]:
    return {weights_file(study.name, number) for number in numbers}


def check_recorded(study: nas.Study) -> None:
    """What is recorded is there, with this size and hash."""
    for artifact in study.artifacts():
        content = artifact.path.read_bytes()
        assert (artifact.kind, artifact.size, artifact.sha256) == ("weights", len(content), hashlib.sha256(content).hexdigest())


@settings(max_examples=6)
@given(st.lists(st.sampled_from([0.1, 0.2, 0.3]), min_size=len(L3), max_size=len(L3)))
def test_the_weights_on_disk_and_in_the_store_are_those_of_the_front_after_every_trial(top1: list[float]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        def check(progress: Progress) -> None:
            if progress.running:
                return
            store = Store(f"sqlite:///{folder}/nas.db")
            study = nas.open_study("s", store=store)
            front = [trial.number for trial in study.front()]
            assert [artifact.trial for artifact in study.artifacts()] == sorted(front)
            assert on_disk(folder / "nas-weights" / "s") == files_of(study, front)

        study = search(folder, evaluate=writing(top1), listener=check)
        check_recorded(study)
        assert {trial.value("top1") for trial in study.front()} == {max(top1)}


def test_all_or_none_are_kept_when_asked_for(tmp_path: Path) -> None:
    everything = search(tmp_path, keep_weights="all")
    assert on_disk(tmp_path / "nas-weights" / "s") == files_of(everything, range(6))
    check_recorded(everything)
    nothing = search(tmp_path, name="other", keep_weights="none")
    assert nothing.artifacts() == []
    assert not (tmp_path / "nas-weights" / "other").exists()
    with pytest.raises(ValueError, match="keep_weights must be front, all or none, got 'some'; a folder is a weights_folder"):
        search(tmp_path, keep_weights="some")


def test_a_search_that_goes_on_with_the_front_gives_up_what_all_had_kept(tmp_path: Path) -> None:
    search(tmp_path, keep_weights="all")
    again = search(tmp_path)
    assert [artifact.trial for artifact in again.artifacts()] == [2, 4]
    assert on_disk(tmp_path / "nas-weights") == {f"s/{file}" for file in files_of(again, [2, 4])}


def test_an_evaluator_that_takes_no_weights_is_not_given_any(tmp_path: Path) -> None:
    study = search(tmp_path, evaluate=counting(tmp_path / "calls"))
    assert {trial.state for trial in study.trials()} == {TrialState.COMPLETE}
    assert study.artifacts() == []
    assert not (tmp_path / "nas-weights").exists()


def test_weights_that_could_not_be_written_cost_a_warning_and_not_the_trial(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def full(config: Any, proxy: ProxyConfig, *, seed: int, weights: Path) -> Iterator[ProxyResult]:
        yield ProxyResult(epoch=2, metrics={"top1": 0.5}, fidelity=proxy.fidelity(epochs=2, seed=seed))

    study = search(tmp_path, evaluate=full, trials=1, keep_weights="all")
    assert [trial.state for trial in study.trials()] == [TrialState.COMPLETE]
    assert study.artifacts() == []
    assert caplog.messages == [
        f"the weights of trial 0 are not kept: {tmp_path}/nas-weights/s/s-trial-0.safetensors: No such file or directory"
    ]


def test_results_that_are_taken_over_come_without_weights_and_without_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    search(tmp_path)
    again = search(tmp_path, name="again", reuse=["s"])
    assert {trial.reason for trial in again.trials()} == {f"taken over from study s, trial {number}" for number in range(6)}
    assert again.artifacts() == []
    assert not caplog.messages


def test_a_trial_that_was_on_its_way_leaves_no_file_at_the_next_start(tmp_path: Path) -> None:
    def interrupt(progress: Progress) -> None:
        if progress.done == 2 and progress.running and progress.running[0].metrics:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        search(tmp_path, listener=interrupt, keep_weights="all")
    folder = tmp_path / "nas-weights" / "s"
    half_written = folder / ".s-trial-2.safetensors.x1y2" / "s-trial-2.safetensors"
    half_written.parent.mkdir()
    half_written.write_text("half")
    foreign = folder / "s-trial-9.safetensors"
    foreign.write_text("not of this study's trials")
    assert len(on_disk(folder)) == 5
    study = search(tmp_path, trials=2, keep_weights="all")  # has them, so nothing is trained
    assert on_disk(folder) == {*files_of(study, [0, 1]), foreign.name}
    assert not half_written.parent.exists()
    seen: list[Path] = []
    search(tmp_path, evaluate=writing(seen=seen), keep_weights="all")
    assert seen == []


def test_weights_of_a_finished_trial_that_a_killed_search_did_not_record_are_recorded_at_the_next_start(tmp_path: Path) -> None:
    study = search(tmp_path, keep_weights="all")
    study.store.artifacts.forget([artifact for artifact in study.artifacts() if artifact.trial in (1, 3)])
    again = search(tmp_path, keep_weights="all")
    assert [artifact.trial for artifact in again.artifacts()] == list(range(6))
    check_recorded(again)


def test_a_trial_that_fails_after_writing_keeps_nothing(tmp_path: Path) -> None:
    study = search(tmp_path, evaluate=writing((float("nan"), *[0.1] * 5)), keep_weights="all")
    assert [trial.state for trial in study.trials()][:2] == [TrialState.FAILED, TrialState.COMPLETE]
    assert on_disk(tmp_path / "nas-weights" / "s") == files_of(study, range(1, 6))


def test_weights_below_the_store_move_with_it_and_others_stay_where_they_are(tmp_path: Path) -> None:
    old, elsewhere = tmp_path / "old", tmp_path / "elsewhere"
    old.mkdir()
    search(old)
    search(old, name="far", weights_folder=elsewhere)
    new = old.rename(tmp_path / "new")
    near, far = (nas.open_study(name, store=f"sqlite:///{new}/nas.db") for name in ("s", "far"))
    assert [artifact.path for artifact in near.artifacts()] == [new / "nas-weights" / "s" / weights_file("s", n) for n in (2, 4)]
    assert [artifact.path for artifact in far.artifacts()] == [elsewhere / weights_file("far", n) for n in (2, 4)]
    for study in (near, far):
        check_recorded(study)
    search(new, keep_weights="front")
    check_recorded(near)


def test_two_stores_in_one_folder_keep_their_weights_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert folder_of("sqlite:///nas.db", "s", None) == tmp_path / "nas-weights" / "s"
    assert folder_of(f"sqlite:///{tmp_path}/other.db", "s", None) == tmp_path / "other-weights" / "s"
    assert folder_of("postgresql://me@server/nas", "s", None) == tmp_path / "nas-weights" / "s"
    assert folder_of("sqlite:///nas.db", "a / b", None).parent == tmp_path / "nas-weights"
    assert folder_of("sqlite:///nas.db", "s", "shared") == tmp_path / "shared"


def test_a_folder_is_of_one_study_even_where_another_store_has_one_of_its_name(tmp_path: Path) -> None:
    def other(**options: Any) -> nas.Study:
        return search(tmp_path, store=f"sqlite:///{tmp_path}/nas.sqlite", **options)  # its weights would lie in nas-weights, too

    study = search(tmp_path)
    for _ in range(2):  # the folder of its own is found again
        own = other(keep_weights="all").artifacts()[0].path.parent
        assert re.fullmatch(r"s-\d{8}T\d{6}-\d{6}", own.name)
        assert own.parent == tmp_path / "nas-weights"
        assert on_disk(tmp_path / "nas-weights" / "s") == files_of(study, [2, 4])
        assert on_disk(own) == files_of(study, range(6))
        check_recorded(study)
    assert len(other(name="u", weights_folder=tmp_path / "free").artifacts()) == 2
    search(tmp_path, name="t", weights_folder=tmp_path / "free")  # studies of other names share it
    again = search(tmp_path, name="u", weights_folder=tmp_path / "free")
    assert {artifact.path.parent.parent for artifact in again.artifacts()} == {tmp_path / "free"}
    check_recorded(again)


@pytest.mark.parametrize("lost", ["renamed", "deleted"])
def test_a_study_that_was_renamed_or_deleted_keeps_its_weights_when_its_name_is_searched_again(
    lost: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = search(tmp_path, keep_weights="all")
    before = {artifact.path: artifact.path.read_bytes() for artifact in first.artifacts()}
    if lost == "renamed":
        first.store.rename(first.record, "t")
    else:
        first.store.delete(first.record)
    second = search(tmp_path, evaluate=writing((0.9, *[0.1] * 5)))
    assert [artifact.trial for artifact in second.artifacts()] == [0]
    own = second.artifacts()[0].path.parent
    assert caplog.messages == [
        f"{tmp_path}/nas-weights/s is for the weights of another study 's'; those of this one go to {own}",
    ]
    check_recorded(second)
    if lost == "renamed":
        renamed = search(tmp_path, name="t", keep_weights="all")
        assert [artifact.path for artifact in renamed.artifacts()] == list(before)
        check_recorded(renamed)
    assert before == {path: path.read_bytes() for path in before}


def test_a_copy_of_a_store_deletes_no_weights_of_the_original(tmp_path: Path) -> None:
    study = search(tmp_path, keep_weights="all")
    study.store.close()  # the last commits may lie beside the file until then
    shutil.copy(tmp_path / "nas.db", tmp_path / "copy.db")
    copied = search(tmp_path, store=f"sqlite:///{tmp_path}/copy.db", keep_weights="front")
    assert [trial.number for trial in copied.front()] == [2, 4]
    assert on_disk(tmp_path / "nas-weights" / "s") == files_of(study, range(6))
    assert [artifact.path for artifact in copied.artifacts()] == [artifact.path for artifact in study.artifacts()]
    check_recorded(study)


def test_a_folder_that_cannot_be_made_is_one_clear_line_before_anything_is_trained(tmp_path: Path) -> None:
    (tmp_path / "nas-weights").write_text("in the way")
    with pytest.raises(
        nas.NasError,
        match=r"cannot write to the folder .*nas-weights/s: .*; choose another one \(train: --out\), or search with --keep-weights none",
    ):
        search(tmp_path)
    assert Store(f"sqlite:///{tmp_path}/nas.db").studies() == []
    assert search(tmp_path, keep_weights="none").artifacts() == []
    with pytest.raises(ValueError, match="weights_folder must be UTF-8"):
        search(tmp_path, weights_folder=tmp_path / "caf\udce9")


def test_the_files_of_a_study_are_listed_with_size_and_hash(tmp_path: Path) -> None:
    study = search(tmp_path)
    app = typer.Typer()
    app.command()(commands.artifacts)
    listed = CliRunner().invoke(app, ["s", "--store", study.store.url, "--format", "json"])
    rows = [
        {"trial": a.trial, "kind": "weights", "size": len("16,8,1,3"), "sha256": a.sha256, "path": str(a.path)} for a in study.artifacts()
    ]
    assert json.loads(listed.stdout) == rows
    assert len(rows) == 2
    table = CliRunner().invoke(app, ["s", "--store", study.store.url])
    assert "Files of study 's'" in table.stdout


@pytest.mark.cluster
@pytest.mark.xdist_group("ray")
def test_workers_of_a_cluster_leave_their_weights_beside_the_store(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="nas"):
        study = search(tmp_path, engine="ray", workers=2)
    best = sorted(trial.number for trial in study.trials() if trial.value("top1") == 0.4)
    assert [artifact.trial for artifact in study.artifacts()] == best
    assert on_disk(tmp_path / "nas-weights" / "s") == files_of(study, best)
    assert caplog.messages == []
