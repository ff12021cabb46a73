"""Training and measuring one variant from the command line: recorded, resumable, and the same loop as a search's."""

import json
from pathlib import Path

import pytest
from filelock import FileLock

from nas.cli import main
from nas.errors import NasError
from nas.export import variant_document
from nas.training import full_proxy, train
from searchspace.formats import load_variant
from studies.records import TrialState
from trainer.proxy import run_proxy
from trainer.proxy_config import ProxyConfig

SMALL = "16,8,1,1"
QUICK = ["--dataset", "digits", "--recipe", "proxy", "--epochs", "3", "--batch-size", "32", "--threads", "1"]


def nas(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    monkeypatch.setattr("sys.argv", ["nas", *arguments])
    with pytest.raises(SystemExit) as stopped:
        main()
    out, err = capsys.readouterr()
    return int(stopped.value.code or 0), out, err


def test_a_variant_is_trained_recorded_and_measured_again_from_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = nas(monkeypatch, capsys, "train", SMALL, *QUICK, "--name", "small", "--format", "json")
    assert code == 0, err
    assert "candidate" not in err
    (trained,) = json.loads(out)
    *_, expected = run_proxy(
        load_variant(SMALL), full_proxy(load_variant(SMALL), dataset="digits", recipe="proxy", epochs=3, batch_size=32), seed=0
    )
    assert (trained["top1"], trained["loss"]) == (expected.metrics["top1"], expected.metrics["loss"])
    assert trained["top1"] > 0.3  # chance is 0.1
    folder = tmp_path / "runs" / "small"
    assert (folder / "small-trial-0.yaml").is_file()
    code, out, err = nas(monkeypatch, capsys, "artifacts", "small", "--format", "json")
    assert code == 0, err
    (artifact,) = json.loads(out)
    weights = folder / "small-trial-0.safetensors"
    assert artifact["size"] == weights.stat().st_size
    code, out, err = nas(monkeypatch, capsys, "evaluate", SMALL, "--weights", str(weights), "--dataset", "digits", "--format", "json")
    assert code == 0, err
    (measured,) = json.loads(out)
    assert (measured["top1"], measured["top5"]) == (trained["top1"], trained["top5"])
    assert measured["loss"] == pytest.approx(trained["loss"], rel=1e-5)
    assert measured["images"] == 359
    code, out, err = nas(monkeypatch, capsys, "evaluate", SMALL, "--weights", str(weights), "--split", "all")
    assert (code, out, err) == (1, "", "nas: split must be one of train, validation, test, got 'all'\n")
    state = next((folder / "checkpoints").iterdir())
    code, out, err = nas(monkeypatch, capsys, "evaluate", SMALL, "--weights", str(state))
    assert (code, out) == (1, "")
    assert err.endswith("it is the state of a training under way; the weights are written beside its folder when the training ends\n")
    code, out, err = nas(monkeypatch, capsys, "evaluate", SMALL, "--weights", str(weights), "--dataset", "shapes:60,classes=4")
    assert (code, out) == (1, "")
    assert "not trained for the 4 classes of shapes:60,size=32,classes=4" in err


def test_a_stopped_training_goes_on_only_when_asked_to_and_ends_as_if_never_stopped(tmp_path: Path) -> None:
    document = variant_document(SMALL)
    proxy = full_proxy(document.config, dataset="digits", recipe="proxy", epochs=3, batch_size=32, threads=1)
    whole = train(document, proxy, out=tmp_path / "whole", name="whole", store=f"sqlite:///{tmp_path / 'nas.db'}")

    def stop(progress: object) -> None:
        if any(trial.metrics for trial in progress.running):  # type: ignore[attr-defined]
            raise KeyboardInterrupt

    arguments = {"out": tmp_path / "parts", "name": "parts", "store": f"sqlite:///{tmp_path / 'nas.db'}"}
    with pytest.raises(KeyboardInterrupt):
        train(document, proxy, listener=stop, **arguments)  # type: ignore[arg-type]
    with pytest.raises(NasError, match="--resume goes on with it"):
        train(document, proxy, **arguments)  # type: ignore[arg-type]
    parts = train(document, proxy, resume=True, **arguments)  # type: ignore[arg-type]
    for study in (whole, parts):
        assert [report.step for report in study.store.reports(study.record)[0]] == [1, 2, 3]
    assert {name: whole.trials()[0].metrics[name] for name in ("top1", "loss")} == {
        name: parts.trials()[0].metrics[name] for name in ("top1", "loss")
    }


def test_a_training_is_never_taken_for_one_in_another_folder_and_one_that_failed_goes_on(tmp_path: Path) -> None:
    document, url = variant_document(SMALL), f"sqlite:///{tmp_path / 'nas.db'}"
    proxy = full_proxy(document.config, dataset="digits", recipe="proxy", epochs=1, batch_size=32, threads=1)
    study = train(document, proxy, out=tmp_path / "one", name="s", store=url)
    for resume in (False, True):
        with pytest.raises(NasError, match=r"'s' has been trained before, and .*two holds no checkpoint of it"):
            train(document, proxy, out=tmp_path / "two", name="s", store=url, resume=resume)
    assert not (tmp_path / "two").exists()
    (done,) = study.trials()
    study.store.finish(done, TrialState.FAILED, reason="the disk is full")
    (again,) = train(document, proxy, out=tmp_path / "one", name="s", store=url, resume=True).trials()
    assert (again.state, again.reason, again.metrics) == (TrialState.COMPLETE, None, done.metrics)


def test_two_trainings_never_share_a_folder(tmp_path: Path) -> None:
    document = variant_document(SMALL)
    proxy = full_proxy(document.config, dataset="digits", recipe="proxy", epochs=1, batch_size=32, threads=1)
    (tmp_path / "out").mkdir()
    with FileLock(tmp_path / "out" / ".training.lock"), pytest.raises(NasError, match=r"another process trains in .*choose another --out"):
        train(document, proxy, out=tmp_path / "out", name="s", store=f"sqlite:///{tmp_path / 'nas.db'}")


def test_a_training_goes_on_with_the_threads_that_it_began_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    command = ["train", SMALL, "--recipe", "proxy", "--epochs", "1"]
    assert nas(monkeypatch, capsys, *command, "--threads", "1")[0] == 0
    monkeypatch.setattr("os.sched_getaffinity", lambda process: range(2))
    code, _, err = nas(monkeypatch, capsys, *command, "--resume")
    assert (code, err) == (0, "study 'train-internimage-16-8-1-1' has its 1 trial; nothing is left to do\n")


def test_a_published_variant_is_trained_as_published_unless_told_otherwise() -> None:
    proxy = full_proxy(load_variant("B"), dataset="packed:imagenet")
    assert (proxy.recipe, proxy.epochs, proxy.image_size, proxy.drop_path_rate) == ("published", 300, 224, 0.5)
    assert (proxy.channel_divisor, proxy.train_fraction) == (1, 1.0)
    assert full_proxy(load_variant("B"), dataset="digits", recipe="proxy", epochs=2).drop_path_rate is None
    assert full_proxy(load_variant("T"), dataset="digits", drop_path_rate=0.3).drop_path_rate == 0.3
    assert full_proxy(load_variant("T"), dataset="shapes:2000").image_size == 32


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", SMALL, "--dataset", "imagefolder:nowhere"], "nowhere"),
        (["train", SMALL, "--processes", "0"], "Invalid value for '--processes': Input should be greater than or equal to 1"),
        (["train", SMALL, *QUICK, "--threads", "0"], "Invalid value for '--threads': Input should be greater than or equal to 1"),
        (["train", SMALL, "--seed", "-1"], "Invalid value for '--seed': Input should be greater than or equal to 0"),
        (["train", SMALL, "--seed", "4294967296"], "Invalid value for '--seed': Input should be less than or equal to 4294967295"),
        (["train", SMALL, *QUICK, "--recipe", "magic"], "unknown recipe 'magic'"),
        (["evaluate", SMALL, "--weights", "absent.safetensors"], "absent.safetensors"),
    ],
)
def test_what_cannot_be_trained_or_measured_is_one_line(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = nas(monkeypatch, capsys, *arguments)
    assert code == 1
    assert out == ""
    assert err.count("\n") == 1
    assert message in err


def test_a_training_in_no_process_is_refused(tmp_path: Path) -> None:
    document = variant_document(SMALL)
    with pytest.raises(ValueError, match="processes must be at least 1, got 0"):
        train(document, full_proxy(document.config, dataset="digits"), out=tmp_path / "out", processes=0)


def test_what_is_trained_may_be_text_or_an_architecture_and_is_whole(tmp_path: Path) -> None:
    config = load_variant(SMALL)
    proxy = full_proxy(config, dataset="digits", recipe="proxy", epochs=1, batch_size=32, threads=1)
    url = f"sqlite:///{tmp_path / 'nas.db'}"
    by_text, by_config = (
        train(each, proxy, out=str(tmp_path / name), name=name, store=url) for name, each in (("a", SMALL), ("b", config))
    )
    assert by_text.trials()[0].metrics["top1"] == by_config.trials()[0].metrics["top1"]
    with pytest.raises(
        ValueError, match=r"of the whole variant on all of the data, got channel_divisor=4, train_fraction=0\.5; full_proxy"
    ):
        train(SMALL, ProxyConfig(), out=tmp_path / "c", store=url)
    with pytest.raises(ValueError, match="variant must be a ModelConfig, text or a path, got int"):
        train(3, proxy, out=tmp_path / "c", store=url)  # type: ignore[arg-type]


def test_a_measurement_says_how_it_looked_at_images_and_what_of_it_is_assumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    document, url = variant_document(SMALL), f"sqlite:///{tmp_path / 'nas.db'}"
    proxy = full_proxy(document.config, dataset="digits", recipe="proxy", epochs=1, batch_size=32, threads=1)
    train(document, proxy, out=tmp_path, name="s", store=url)
    code, out, err = nas(monkeypatch, capsys, "export", "s", "--trial", "0", "--format", "huggingface", "--weights", ".", "--out", "v")
    assert code == 0, err
    folder = tmp_path / "v" / "s-trial-0"
    command = ["evaluate", str(folder), "--weights", str(folder / "model.safetensors")]
    assert nas(monkeypatch, capsys, *command)[1].rstrip().endswith("\n32 px, recipe proxy")
    (row,) = json.loads(nas(monkeypatch, capsys, *command, "--format", "json")[1])
    assert (row["image_size"], row["recipe"]) == (32, "proxy")
    (folder / "provenance.json").unlink()
    out = " ".join(nas(monkeypatch, capsys, *command, "--image-size", "64")[1].split())
    assert "64 px, recipe published; --recipe assumed: nothing with the weights says how they were trained" in out
