"""`nas inspect`: what it records of a trained network, what its numbers mean, and what it refuses."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import nas
from nas.cli import app
from nas.errors import NasError
from nas.inspection import Look, inspect
from nas.job import weights_file
from searchspace.recipes import RECIPES
from studies.inspections import InspectionError, open_inspection
from studies.records import NewTrial
from studies.store import Store
from tests.image_files import crop
from trainer.data import load_dataset
from trainer.evaluation import evaluation_view
from trainer.inspect import receptive_fields, sampling_points
from trainer.weights import describe

NAME = "two / <b>small</b>"


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a search of two trials on shapes, with their weights."""
    folder = tmp_path_factory.mktemp("searched")
    config = nas.StudyConfig(
        space=nas.stacking_space(channels=[32], group_channels=[8], l1=[1], l3=[1, 2], target=None),
        proxy=nas.ProxyConfig(dataset="shapes:60", epochs=1),
        seed=3,
    )
    nas.search(config, name=NAME, store=f"sqlite:///{folder}/nas.db", engine="local", keep_weights="all")
    return folder


@pytest.fixture
def study(kept: Path, tmp_path: Path) -> nas.Study:
    """A copy of that search's folder, moved as a whole."""
    shutil.copytree(kept, tmp_path / "copy")
    return nas.open_study(NAME, store=f"sqlite:///{tmp_path}/copy/nas.db")


def weights(study: nas.Study, number: int) -> Path:
    (found,) = [file.path for file in study.artifacts() if file.trial == number and file.kind == "weights"]
    return found


def test_what_is_recorded_is_what_the_trained_network_samples_and_sees(study: nas.Study) -> None:
    found = inspect(study, 1, Look(images=["validation:2", "test:0"], at=(8, 19)))
    (recorded,) = [file for file in study.artifacts() if file.kind == "inspection"]
    assert recorded == found.artifact
    assert recorded.path.parent == weights(study, 1).parent
    assert recorded.sha256 == hashlib.sha256(recorded.path.read_bytes()).hexdigest()

    read = open_inspection(recorded)
    dataset = load_dataset("shapes:60", seed=0)
    pixels = torch.cat([dataset.validation.images[2:3], dataset.test.images[:1]])
    images = evaluation_view(RECIPES["proxy"], 32)(pixels)
    model = nas.build(describe(weights(study, 1))["model"], weights=weights(study, 1))
    samplings = sampling_points(model, images)
    assert [(layer.stage - 1, layer.block - 1) for layer in read.layers] == [(each.stage, each.block) for each in samplings]
    for layer, sampling in zip(read.layers, samplings, strict=True):
        for number in (0, 1):
            expected = torch.stack([sampling.x, sampling.y, sampling.modulation], -1)[number]
            assert np.array_equal(read.points(number, layer), expected.numpy())
    assert np.array_equal(read.receptive_fields("after"), receptive_fields(model, images, at=(8, 19)).numpy())
    assert np.array_equal(read.image(0), pixels[0].permute(1, 2, 0).numpy())
    assert read.facts["centres"] == [[8, 20], [8, 16], [16, 16], [0, 0]]
    assert read.facts["images"] == ["validation:2", "test:0"]
    assert (read.facts["network"], read.facts["variant"]) == ("8,2,1,2", "32,8,1,2")


def test_before_training_points_are_the_regular_grid_and_the_network_that_of_the_trial_s_seed(study: nas.Study) -> None:
    found = inspect(study, 0, Look(images=["validation:0"]))
    mean = (4 + 4 * 2**0.5) / 9
    for row in found.facts["stages"]:
        assert row["reach_before"] == pytest.approx(mean * row["stride"], rel=1e-6)
        assert row["farthest_before"] == pytest.approx(2**0.5 * row["stride"], rel=1e-6)
        assert row["radius_50_before"] <= row["radius_90_before"]
    torch.manual_seed(3)
    fresh = nas.build(describe(weights(study, 0))["model"], num_classes=10)
    images = evaluation_view(RECIPES["proxy"], 32)(load_dataset("shapes:60", seed=0).validation.images[:1])
    expected = receptive_fields(fresh, images).numpy()
    assert np.array_equal(open_inspection(found.artifact).receptive_fields("before"), expected)


def test_a_file_is_cut_to_its_centre_and_named_without_its_folder(study: nas.Study, tmp_path: Path) -> None:
    wide = Image.new("L", (96, 32), 0)
    wide.paste(200, (32, 0, 64, 32))
    (tmp_path / "private").mkdir()
    wide.save(tmp_path / "private" / "wide.png")
    read = open_inspection(inspect(study, 0, Look(images=[str(tmp_path / "private" / "wide.png")], stages=[3])).artifact)
    assert (read.image(0) == 200).all()
    assert read.facts["images"] == ["wide.png"]
    assert {layer.stage for layer in read.layers} == {3}
    assert str(tmp_path) not in json.dumps(dict(read.facts))


def test_a_second_inspection_replaces_the_first_and_the_same_one_is_the_same_file(study: nas.Study) -> None:
    first = inspect(study, 0, Look(images=["validation:0"])).artifact
    second = inspect(study, 0, Look(images=["validation:1"])).artifact
    third = inspect(study, 0, Look(images=["validation:0"])).artifact
    assert first.path == second.path == third.path
    assert first.sha256 == third.sha256 != second.sha256
    assert [file.id for file in study.artifacts() if file.kind == "inspection"] == [third.id]
    with pytest.raises(InspectionError, match=r"trial 0 has changed since it was recorded"):
        open_inspection(second)


def test_the_command_prints_every_stage_and_where_the_file_is(study: nas.Study, tmp_path: Path) -> None:
    crop(0, 0).save(tmp_path / "china.jpg")
    words = ["inspect", NAME, "--trial", "1", "--image", str(tmp_path / "china.jpg"), "--store", study.store.url]
    shown = CliRunner().invoke(app, words)
    assert shown.exit_code == 0, shown.output
    assert ".inspection.npz" in shown.output.replace("\n", "")
    assert "china.jpg, 32 × 32 px" in shown.output
    assert "in place of" not in shown.output
    assert "in place of its record before" in " ".join(CliRunner().invoke(app, words).output.split())
    rows = json.loads(CliRunner().invoke(app, [*words, "--at", "0,31", "--format", "json"]).output)
    assert [(row["stage"], row["stride"]) for row in rows] == [(1, 4), (2, 8), (3, 16), (4, 32)]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--image", "nowhere.png"], r"cannot read the image nowhere.png: No such file"),
        (["--image", __file__], r"is not an image that can be used: no image in a known format"),
        (["--image", "validation:9999"], r"shapes:60.* has 10 validation images, counted from 0, got validation:9999"),
        (["--image", "validation:0", "--stage", "5"], r"stages are numbered from 1 to 4, got 5"),
        (["--image", "validation:0", "--at", "middle"], r"--at reads X,Y in pixels"),
        (["--image", "validation:0", "--at", "32,0"], r"at must lie in the image of 32 × 32 pixels, counted from 0, got 32,0"),
    ],
)
def test_bad_input_is_one_line_and_records_nothing(words: list[str], message: str, study: nas.Study) -> None:
    done = CliRunner().invoke(app, ["inspect", NAME, "--trial", "0", *words, "--store", study.store.url])
    assert isinstance(done.exception, ValueError)
    assert "\n" not in str(done.exception)
    with pytest.raises(ValueError, match=message):
        raise done.exception
    assert not list(weights(study, 0).parent.glob("*.npz"))
    assert {file.kind for file in study.artifacts()} == {"weights"}


def test_weights_that_are_gone_changed_or_another_training_s_are_refused(study: nas.Study) -> None:
    look = Look(images=["validation:0"])
    with pytest.raises(ValueError, match="weights of another training than trial 0"):
        inspect(study, 0, Look(images=["validation:0"], weights=weights(study, 1)))
    file = weights(study, 0)
    file.write_bytes(file.read_bytes() + b" ")
    with pytest.raises(NasError, match="weights of trial 0 have changed since they were recorded"):
        inspect(study, 0, look)
    file.unlink()
    with pytest.raises(NasError, match="weights of trial 0 are not where they were recorded"):
        inspect(study, 0, look)
    study.store.artifacts.forget(study.artifacts())
    with pytest.raises(NasError, match=r"no weights are recorded of trial 0 .*--keep-weights all"):
        inspect(study, 0, look)
    assert inspect(study, 1, Look(images=["validation:0"], weights=file.with_name(weights_file(NAME, 1)))).artifact.trial == 1


def test_a_trial_that_was_never_trained_is_refused(study: nas.Study) -> None:
    model = study.trial(0).model
    Store(study.store.url).add(study.record, [NewTrial(params={"l3": 7}, seed=0, model=model)])
    with pytest.raises(NasError, match=r"trial 2 of .* is QUEUED and has not been trained"):
        inspect(study, 2, Look(images=["validation:0"]))


def test_points_that_would_fill_a_disk_are_refused_before_anything_is_computed(study: nas.Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nas.inspection.LARGEST", 1000)
    with pytest.raises(
        ValueError, match=r"the points of all layers would take 0.0 GB; at most 0.0 GB are kept: name fewer images or stages"
    ):
        inspect(study, 0, Look(images=["validation:0"]))
    assert {file.kind for file in study.artifacts()} == {"weights"}
