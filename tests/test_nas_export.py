"""Exports as a user meets them: every format from a study's trials, its front or a named variant, whole or not at all."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

import nas
from nas.errors import NasError
from nas.export import export_document, export_trial
from nas.placing import place
from searchspace.formats import FORMATS, VariantDocument, load_document, load_variant, read_document
from searchspace.presets import preset
from searchspace.spaces import stacking_space
from searchspace.stacking import stack
from studies.records import TrialState
from tests.evaluators import counting
from tests.test_nas_cli import Cli
from trainer.proxy_config import ProxyConfig

SPACE = stacking_space(channels=[16], group_channels=[8, 32], l1=[1], l3=range(1, 4))


@pytest.fixture
def cli(store_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(store_url, monkeypatch, capsys)


@pytest.fixture
def study(store_url: str, tmp_path: Path) -> nas.Study:
    """Three trained trials, all on the front, and three without an architecture, since 16 channels are no multiple of 32."""
    config = nas.StudyConfig(space=SPACE, proxy=ProxyConfig(epochs=2))
    return nas.search(config, name="s", store=store_url, engine="local", evaluate=counting(tmp_path / "calls"))


def test_the_whole_front_is_exported_with_the_metrics_of_each_trial(cli: Cli, study: nas.Study, tmp_path: Path) -> None:
    code, out, err = cli("export", "s", "--front", "--format", "json", "--out", str(tmp_path / "out"))
    assert code == 0, err
    paths = [Path(line) for line in out.splitlines()]
    front = study.front()
    assert len(front) > 1
    assert [path.name for path in paths] == [f"s-trial-{trial.number}.json" for trial in front]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(path.name for path in paths)
    for path, trial in zip(paths, front, strict=True):
        document = read_document(path)
        assert document.config.to_dict() == trial.model
        assert document.provenance["metrics"] == trial.metrics
        assert document.provenance["fidelity"] == trial.fidelity
        assert (document.provenance["study"], document.provenance["trial"], document.provenance["seed"]) == ("s", trial.number, trial.seed)
        assert set(document.provenance["exported_with"]) == {"nas-scaling", "torch", "optuna", "ray"}


@pytest.mark.parametrize("format", sorted(FORMATS))
def test_cost_and_scale_take_every_exported_file(format: str, cli: Cli, tmp_path: Path) -> None:
    code, out, err = cli("export", "--variant", "S", "--format", format, "--out", str(tmp_path / "out"))
    assert code == 0, err
    assert list((tmp_path / "out").iterdir()) == [Path(out.strip())]
    assert json.loads(cli("cost", out.strip(), "--format", "json")[1])["params"] == 50_079_880
    rows = json.loads(cli("scale", "--base", out.strip(), "--phi", "0", "--format", "json")[1])
    (row,) = [row for row in rows if row["name"] == "scaled"]
    assert (row["variant"], row["style"], row["params"]) == ("80,16,4,21", "s", 50_079_880)


@pytest.mark.parametrize("format", sorted(FORMATS))
def test_a_trial_is_exported_to_every_format_with_its_provenance(format: str, study: nas.Study, tmp_path: Path) -> None:
    best = study.front()[0]
    path = export_trial(study, best.number, format=format, out=tmp_path / "out")
    assert path.name.startswith(f"s-trial-{best.number}")
    document = load_document(str(path))
    assert document.config == stack(16, 8, 1, 3)
    assert document.provenance["metrics"] == best.metrics
    assert str(tmp_path) not in "".join(file.read_text() for file in [path, *path.rglob("*")] if file.is_file())


def test_a_study_without_complete_trials_has_no_front_to_export(cli: Cli, study: nas.Study, tmp_path: Path) -> None:
    study.store.open("empty", study.config.to_dict())
    code, printed, err = cli("export", "empty", "--front", "--out", str(tmp_path / "out"))
    assert (code, printed) == (1, "")
    assert err == "nas: study 'empty' has no complete trial, so its front is empty\n"


def test_a_named_variant_needs_no_store_and_says_where_it_came_from(cli: Cli, tmp_path: Path) -> None:
    code, out, err = cli("export", "--variant", "64,16,4,18", "--style", "s", "--format", "huggingface", "--out", str(tmp_path / "a"))
    assert code == 0, err
    folder = Path(out.strip())
    assert sorted(file.name for file in folder.iterdir()) == ["config.json", "provenance.json"]
    assert load_variant(str(folder)) == stack(64, 16, 4, 18, style="s")
    again = Path(cli("export", "--variant", str(folder), "--out", str(tmp_path / "b"))[1].strip())
    provenance = read_document(again).provenance
    assert (provenance["variant"], provenance["style"]) == (folder.name, "s")
    assert provenance["origin"]["variant"] == "64,16,4,18"
    assert provenance["origin"]["origin"] == {"stack": [64, 16, 4, 18]}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]  # no store


def test_several_trials_are_exported_in_the_order_asked_for(cli: Cli, study: nas.Study, tmp_path: Path) -> None:
    numbers = [trial.number for trial in study.front()][::-1]
    flags = [text for number in numbers for text in ("--trial", str(number))]
    out = cli("export", "s", *flags, "--out", str(tmp_path / "out"))[1]
    assert [Path(line).name for line in out.splitlines()] == [f"s-trial-{number}.yaml" for number in numbers]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("export", "choose one of --trial N, --front and --variant VARIANT, got none"),
        ("export s", "choose one of --trial N, --front and --variant VARIANT, got none"),
        ("export s --trial 1 --front", "got --trial and --front"),
        ("export s --variant T --front", "got --front and --variant"),
        ("export s --variant T", "--variant takes no study, got s"),
        ("export --trial 1", "--trial needs a study, got none"),
        ("export --front", "--front needs a study, got none"),
        ("export s --front --style s", "--style goes with --variant only"),
        ("export --variant Q", "not a variant: 'Q'"),
        ("export --variant T --style x", "unknown style 'x'"),
        ("export --variant T --format exe", "unknown format 'exe'; known: yaml, json, opengvlab, huggingface, mmdet, mmseg"),
        ("export --variant T --format yml", "mmdet, mmseg, with weights also torch, onnx"),
        ("export s --front --format exe", "unknown format 'exe'"),
    ],
)
def test_what_cannot_be_chosen_is_one_line(arguments: str, message: str, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = cli(*arguments.split())
    assert (code, out) == (1, "")
    assert message in err
    assert len(err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("format", ["opengvlab", "huggingface", "mmdet", "mmseg"])
def test_a_switch_that_a_format_lacks_writes_nothing(format: str, cli: Cli, tmp_path: Path) -> None:
    wide = VariantDocument("wide", replace(preset("T").config, kernel_size=5))
    file = export_document(wide, format="yaml", out=tmp_path)
    code, out, err = cli("export", "--variant", str(file), "--format", format, "--out", str(tmp_path / "out"))
    assert (code, out) == (1, "")
    assert err == f"nas: the format {format} cannot express kernel_size=5, only kernel_size=3\n"
    assert list(tmp_path.iterdir()) == [file]


def test_one_trial_that_cannot_be_exported_keeps_the_others_from_being_written(cli: Cli, study: nas.Study, tmp_path: Path) -> None:
    good = str(study.front()[0].number)
    bad = next(str(trial.number) for trial in study.trials() if trial.state is TrialState.INFEASIBLE)
    for number, message in (("99", "has no trial 99"), (bad, f"trial {bad} of 's' has no architecture to export: channels must be")):
        code, printed, err = cli("export", "s", "--trial", good, "--trial", number, "--out", str(tmp_path / "out"))
        assert (code, printed, message in err) == (1, "", True)
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written_is_one_line(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("here")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        code, printed, err = cli("export", "--variant", "T", "--out", str(out))
        assert (code, printed) == (1, "")
        assert err.startswith(f"nas: cannot write {out}/internimage-t.yaml: ")
        assert len(err.splitlines()) == 1
    assert (tmp_path / "file").read_text() == "here"


@pytest.mark.parametrize("format", ["json", "huggingface"])
def test_an_earlier_export_is_replaced_and_stays_whole_when_that_fails(
    format: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    documents = [VariantDocument("x", preset(name).config) for name in ("T", "S", "B")]
    path = export_document(documents[0], format=format, out=tmp_path)
    assert export_document(documents[1], format=format, out=tmp_path) == path
    assert read_document(path) == documents[1]

    def full(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(NasError, match="No space left on device"):
        export_document(documents[2], format=format, out=tmp_path)
    assert read_document(path) == documents[1]
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_with_somebody_else_s_files_is_left_alone(tmp_path: Path) -> None:
    document = VariantDocument("x", preset("T").config)
    path = export_document(document, format="huggingface", out=tmp_path)
    (path / "notes").mkdir()
    (path / "notes" / "mine.txt").write_text("keep")
    with pytest.raises(NasError, match=r"it holds notes/mine\.txt, which this export does not write"):
        export_document(document, format="huggingface", out=tmp_path)
    assert (path / "notes" / "mine.txt").read_text() == "keep"
    assert read_document(path) == document


def test_a_file_that_is_no_variant_is_left_alone(cli: Cli, tmp_path: Path) -> None:
    mine = tmp_path / "internimage-t.yaml"
    mine.write_text("channels: mine\n")
    code, printed, err = cli("export", "--variant", "T", "--out", str(tmp_path))
    assert (code, printed) == (1, "")
    assert err == f"nas: cannot replace {mine}: it is no variant, so no export has left it; choose another folder\n"
    assert mine.read_text() == "channels: mine\n"


def test_further_files_come_with_a_folder_or_not_at_all(tmp_path: Path) -> None:
    document = VariantDocument("x", preset("T").config)
    texts = FORMATS["huggingface"].write(document)

    def broken(path: Path) -> None:
        path.write_bytes(b"half")
        raise RuntimeError("out of weights")

    with pytest.raises(RuntimeError, match="out of weights"):
        place(tmp_path, {**texts, "x/model.bin": broken})
    assert list(tmp_path.iterdir()) == []
    more = {"x/model.bin": b"\x00\x01", "x/notes/read.txt": "text", "x/written": lambda path: path.write_text("by itself")}
    path = place(tmp_path, {**texts, **more})
    assert (path / "model.bin").read_bytes() == b"\x00\x01"
    assert (path / "notes" / "read.txt").read_text() == "text"
    assert (path / "written").read_text() == "by itself"
    assert read_document(path) == document


@pytest.mark.parametrize("files", [{}, {"a": "", "b": ""}, {"../a": ""}, {"/a": ""}, {"a/../../b": ""}, {"a": "", "a/b": ""}])
def test_an_export_is_one_file_or_one_folder_below_its_place(files: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="an export is one file or the files of one folder"):
        place(tmp_path / "out", files)
    assert list(tmp_path.iterdir()) == []
