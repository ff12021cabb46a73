"""Trained networks out: which weights may fill which variant, and what each file gives where it is read."""

import hashlib
import logging
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import nas
from nas.errors import NasError
from nas.export import Choice, export
from nas.export_weights import CARRIERS, WeightsSource
from nas.job import weights_file
from searchspace.formats import file_stem, read_document
from searchspace.stacking import stack
from trainer.proxy import run_proxy
from trainer.weights import describe, load, save

SIZE = 32


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of weights that a search of two trials kept, and its store."""
    folder = tmp_path_factory.mktemp("searched")
    config = nas.StudyConfig(
        space=nas.stacking_space(channels=[16], group_channels=[8], l1=[1], l3=[1, 2], target=None),
        proxy=nas.ProxyConfig(epochs=1, train_fraction=0.1),
    )
    store = f"sqlite:///{folder}/nas.db"
    nas.search(config, name="two / small", store=store, engine="local", keep_weights="all", weights_folder=folder / "weights")
    return folder / "weights", store


def images(n: int = 2) -> torch.Tensor:
    return torch.randn(n, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))


def logits(model: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(images())


def read_back(format: str, folder: Path) -> torch.Tensor:
    if format == "huggingface":
        return logits(nas.build(folder, weights=folder / "model.safetensors"))
    if format == "torch":
        return torch.export.load(folder / "model.pt2").module()(images()).detach()
    import onnxruntime

    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {"images": images().numpy()})[0])


def test_a_search_keeps_the_weights_of_every_trial_with_what_they_are(searched: tuple[Path, str]) -> None:
    folder, store = searched
    trials = nas.open_study("two / small", store=store).trials()
    assert sorted(path.name for path in folder.glob("*.safetensors")) == sorted(
        weights_file("two / small", trial.number) for trial in trials
    )
    for trial in trials:
        kept = describe(folder / weights_file("two / small", trial.number))
        assert kept is not None
        assert kept["provenance"]["proxy_of"] == trial.model
        assert kept["provenance"]["metrics"] == trial.metrics
        assert kept["provenance"]["fidelity"] == trial.fidelity
        assert kept["model"]["channels"] == 4
        assert kept["num_classes"] == 10


@pytest.mark.parametrize("format", CARRIERS)
def test_a_proxy_s_weights_are_refused_for_the_variant_and_exported_as_the_proxy(
    format: str, searched: tuple[Path, str], tmp_path: Path
) -> None:
    folder, store = searched
    choice = Choice(study="two / small", trials=[0])
    with pytest.raises(ValueError, match=r"weights of a proxy \(channels / 4: 4,2,1,1\), not of 16,8,1,1 itself; --as-proxy"):
        export(choice, format=format, out=tmp_path, store=store, weights=WeightsSource(path=folder))
    assert not any(tmp_path.iterdir())
    source = WeightsSource(path=None if format == "torch" else folder, as_proxy=True)  # None: what the search has recorded
    (written,) = export(choice, format=format, out=tmp_path, store=store, weights=source)
    file = folder / weights_file("two / small", 0)
    document = read_document(written)
    assert document.provenance["weights"]["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert document.name == "two / small-trial-0-proxy"
    assert document.provenance["proxy"]["channel_divisor"] == 4
    assert document.config == nas.load_variant(str(written)) == stack(4, 2, 1, 1)
    expected = logits(nas.build(stack(4, 2, 1, 1), weights=file))
    assert expected.shape == (2, 10)
    torch.testing.assert_close(read_back(format, written), expected, rtol=0, atol=1e-3 * float(expected.abs().max()))


def test_a_front_is_exported_from_the_folder_of_its_weights(searched: tuple[Path, str], tmp_path: Path) -> None:
    folder, store = searched
    front = nas.open_study("two / small", store=store).front()
    choice, weights = Choice(study="two / small", front=True), WeightsSource(path=folder, as_proxy=True)
    written = export(choice, format="huggingface", out=tmp_path, store=store, weights=weights)
    assert [path.name for path in written] == [file_stem(f"two / small-trial-{trial.number}-proxy") for trial in front]


def moved(searched: tuple[Path, str], tmp_path: Path) -> tuple[Path, str]:
    """A copy of the store with its weights in another folder."""
    folder = shutil.copytree(searched[0].parent, tmp_path / "moved")
    return folder / "weights", f"sqlite:///{folder}/nas.db"


def test_trials_are_exported_with_the_weights_that_their_search_recorded(searched: tuple[Path, str], tmp_path: Path) -> None:
    folder, store = moved(searched, tmp_path)
    choice, weights = Choice(study="two / small", trials=[0, 1]), WeightsSource(as_proxy=True)
    for number, written in enumerate(export(choice, format="huggingface", out=tmp_path / "out", store=store, weights=weights)):
        file = folder / weights_file("two / small", number)
        assert read_document(written).provenance["weights"]["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
        expected = logits(nas.build(stack(4, 2, 1, 1 + number), weights=file))
        torch.testing.assert_close(read_back("huggingface", written), expected, rtol=0, atol=1e-3 * float(expected.abs().max()))


def test_a_program_of_a_trial_takes_the_recorded_weights_without_being_told_and_never_a_proxy_s(
    searched: tuple[Path, str], tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=r"two---small-trial-0-\w+\.safetensors: weights of a proxy .*; --as-proxy exports"):
        export(Choice(study="two / small", trials=[0]), format="torch", out=tmp_path / "out", store=searched[1])
    (written,) = export(Choice(study="two / small", trials=[0]), format="huggingface", out=tmp_path / "out", store=searched[1])
    assert not list(written.glob("*.safetensors"))  # a format that may go without carries none unasked


def test_recorded_weights_that_are_gone_or_changed_or_never_were_are_one_clear_line(searched: tuple[Path, str], tmp_path: Path) -> None:
    folder, store = moved(searched, tmp_path)
    choice, source = Choice(study="two / small", front=True), WeightsSource(as_proxy=True)
    study = nas.open_study("two / small", store=store)
    (first, *_), files = study.front(), {artifact.trial: artifact for artifact in study.artifacts()}
    path = folder / weights_file("two / small", first.number)
    content = path.read_bytes()
    path.write_bytes(content[:-1] + b"x")
    with pytest.raises(
        NasError, match=rf"the weights of trial {first.number} have changed since they were recorded: .* instead of \w+; --weights"
    ):
        export(choice, format="torch", out=tmp_path / "out", store=store, weights=source)
    path.unlink()
    with pytest.raises(NasError, match=f"the weights of trial {first.number} are not where they were recorded: .*No such file"):
        export(choice, format="torch", out=tmp_path / "out", store=store, weights=source)
    study.store.artifacts.forget([files[first.number]])
    with pytest.raises(NasError, match=f"no weights are recorded of trial {first.number} of 'two / small': .*--keep-weights all"):
        export(choice, format="torch", out=tmp_path / "out", store=store, weights=source)
    assert not (tmp_path / "out").exists()


def small(tmp_path: Path, **options: Any) -> tuple[Path, torch.Tensor]:
    """A file of a network's weights trained as it is, and its logits."""
    torch.manual_seed(0)
    model = nas.build("16,4,1,2", num_classes=7, **options)
    return save(model, tmp_path / "whole.safetensors", provenance={"fidelity": {"image_size": SIZE}}), logits(model)


@pytest.mark.parametrize("format", CARRIERS)
def test_weights_of_the_variant_itself_fill_it(format: str, tmp_path: Path) -> None:
    file, expected = small(tmp_path)
    choice = Choice(variant="16,4,1,2")
    (written,) = export(choice, format=format, out=tmp_path / "out", store="", weights=WeightsSource(path=file))
    torch.testing.assert_close(read_back(format, written), expected, rtol=0, atol=1e-3 * float(expected.abs().max()))


def test_released_weights_carry_no_description_and_fill_what_they_fit(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file, expected = small(tmp_path)
    torch.save({"model": load_file(file)}, tmp_path / "released.pth")
    weights = WeightsSource(path=tmp_path / "released.pth")
    with caplog.at_level(logging.WARNING):
        (written,) = export(Choice(variant="16,4,1,2"), format="huggingface", out=tmp_path, store="", weights=weights)
    assert not caplog.messages
    torch.testing.assert_close(read_back("huggingface", written), expected, rtol=0, atol=1e-3)


def test_an_exported_network_s_weights_load_into_a_network_of_the_variant(tmp_path: Path) -> None:
    file, expected = small(tmp_path)
    (written,) = export(Choice(variant="16,4,1,2"), format="huggingface", out=tmp_path, store="", weights=WeightsSource(path=file))
    model = nas.build("16,4,1,2", num_classes=7)
    assert load(model, written / "model.safetensors").reinitialised == ()
    torch.testing.assert_close(logits(model), expected)


@pytest.mark.parametrize(
    ("variant", "format", "message"),
    [
        (
            "16,4,1,3",
            "onnx",
            r"whole\.safetensors: its weights .*: depths \(1, 1, 2, 1\) instead of \(1, 1, 3, 1\)",
        ),
        ("16,4,1,2", "yaml", "the format 'yaml' carries no weights; huggingface, torch, onnx do"),
        ("16,4,1,2", "png", "the format 'png' carries no weights"),
    ],
)
def test_weights_that_do_not_belong_together_with_the_rest_are_refused(variant: str, format: str, message: str, tmp_path: Path) -> None:
    file, _ = small(tmp_path)
    with pytest.raises(ValueError, match=message):
        export(Choice(variant=variant), format=format, out=tmp_path / "out", store="", weights=WeightsSource(path=file))
    assert not (tmp_path / "out").exists()


def test_a_trial_is_not_exported_with_the_weights_of_another_training(searched: tuple[Path, str], tmp_path: Path) -> None:
    folder, store = searched
    (tmp_path / "weights").mkdir()
    kept = folder / weights_file("two / small", 1)
    (tmp_path / "weights" / weights_file("two / small", 0)).write_bytes(kept.read_bytes())
    source = WeightsSource(path=tmp_path / "weights", as_proxy=True)
    with pytest.raises(ValueError, match="weights of another training than trial 0: "):
        export(Choice(study="two / small", trials=[0]), format="torch", out=tmp_path / "out", store=store, weights=source)


def test_all_weights_are_looked_at_before_the_first_network_is_written(searched: tuple[Path, str], tmp_path: Path) -> None:
    folder, store = searched
    (tmp_path / "weights").mkdir()
    name = weights_file("two / small", 0)
    (tmp_path / "weights" / name).write_bytes((folder / name).read_bytes())
    source = WeightsSource(path=tmp_path / "weights", as_proxy=True)
    with pytest.raises(ValueError, match="no such file"):
        export(Choice(study="two / small", trials=[0, 1]), format="huggingface", out=tmp_path / "out", store=store, weights=source)
    assert not (tmp_path / "out").exists()


def test_what_filled_a_network_stands_in_its_provenance(tmp_path: Path) -> None:
    file, _ = small(tmp_path)
    (written,) = export(Choice(variant="16,4,1,2"), format="huggingface", out=tmp_path, store="", weights=WeightsSource(path=file))
    weights = read_document(written).provenance["weights"]
    assert weights == {
        "file": "whole.safetensors",
        "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        "num_classes": 7,
        "converted": [],
        "dropped": [],
    }


def test_a_backbone_alone_is_no_network_to_export(tmp_path: Path) -> None:
    file, _ = small(tmp_path)
    backbone = {f"backbone.{name}": tensor for name, tensor in load_file(file).items() if name.startswith(("patch_embed", "levels"))}
    torch.save({"state_dict": backbone}, tmp_path / "detector.pth")
    source = WeightsSource(path=tmp_path / "detector.pth", image_size=SIZE)
    with pytest.raises(ValueError, match=r"detector\.pth: would leave a part of the exported network untrained: conv_head"):
        export(Choice(variant="16,4,1,2"), format="torch", out=tmp_path / "out", store="", weights=source)
    assert not (tmp_path / "out").exists()


def test_weights_lose_their_centre_on_the_way_out_as_on_the_way_in(tmp_path: Path) -> None:
    file, _ = small(tmp_path)
    choice = Choice(variant="16,4,1,2", settings=["remove_center=true"])
    (written,) = export(choice, format="huggingface", out=tmp_path, store="", weights=WeightsSource(path=file))
    assert read_document(written).provenance["weights"]["converted"] == ["offsets and masks without the centre point"]
    expected = logits(nas.build(nas.load_variant(written), weights=file))
    torch.testing.assert_close(read_back("huggingface", written), expected)


BROKEN_ORIGINS = [
    {"fidelity": [1]},
    {"fidelity": {"image_size": None}},
    {"fidelity": {"image_size": -5}},
    {"fidelity": {"image_size": "abc"}},
    {"proxy_of": 5},
    {"metrics": "none"},
]


@pytest.mark.parametrize("origin", BROKEN_ORIGINS)
def test_a_description_that_makes_no_sense_is_one_line_with_the_file(origin: dict[str, Any], tmp_path: Path) -> None:
    file = save(nas.build("16,4,1,2", num_classes=7), tmp_path / "odd.safetensors", provenance=origin)
    with pytest.raises(ValueError, match=r"odd\.safetensors: (image_size must be|\w+ of its provenance must be)") as error:
        export(Choice(variant="16,4,1,2"), format="torch", out=tmp_path / "out", store="", weights=WeightsSource(path=file))
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("format", "flags", "message"),
    [
        ("torch", {"as_proxy": True}, "no weights of a proxy of 16,4,1,2"),
        ("huggingface", {"image_size": 64}, "--image-size is for programs"),
        ("onnx", {"image_size": 10**6}, "image_size must be whole, from 32 to 8192, got 1000000"),
    ],
)
def test_flags_that_mean_nothing_are_refused(format: str, flags: dict[str, Any], message: str, tmp_path: Path) -> None:
    file, _ = small(tmp_path)
    with pytest.raises(ValueError, match=message):
        export(Choice(variant="16,4,1,2"), format=format, out=tmp_path / "out", store="", weights=WeightsSource(path=file, **flags))


def test_a_disk_that_is_full_costs_the_weights_and_not_the_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise ValueError("cannot write x: No space left on device")

    monkeypatch.setattr("trainer.proxy.save", full)
    proxy = nas.ProxyConfig(epochs=1, train_fraction=0.1)
    (result,) = run_proxy(stack(16, 8, 1, 1), proxy, seed=0, weights=tmp_path / "x.safetensors")
    assert result.metrics["top1"] > 0
    assert caplog.messages == ["weights are not kept: cannot write x: No space left on device"]


def test_a_program_without_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the format 'onnx' needs a trained network: --weights FILE"):
        export(Choice(variant="T"), format="onnx", out=tmp_path / "out", store="")
    with pytest.raises(ValueError, match="--as-proxy needs a trained network: --weights FILE"):
        export(Choice(variant="T"), format="huggingface", out=tmp_path / "out", store="", weights=WeightsSource(as_proxy=True))


def test_one_file_does_not_fill_two_variants(searched: tuple[Path, str], tmp_path: Path) -> None:
    folder, store = searched
    weights = WeightsSource(path=folder / weights_file("two / small", 0), as_proxy=True)
    with pytest.raises(ValueError, match="one file of weights fills one variant, not 2"):
        export(Choice(study="two / small", trials=[0, 1]), format="torch", out=tmp_path, store=store, weights=weights)


def test_a_switch_that_hugging_face_lacks_is_refused_with_weights_too_and_a_program_has_it(tmp_path: Path) -> None:
    model = nas.build(replace(stack(16, 4, 1, 2), kernel_size=5), num_classes=7)
    file = tmp_path / "five.pth"
    torch.save({"model": model.state_dict()}, file)
    choice = Choice(variant="16,4,1,2", settings=["kernel_size=5"])
    with pytest.raises(ValueError, match="kernel_size"):
        export(choice, format="huggingface", out=tmp_path / "out", store="", weights=WeightsSource(path=file))
    (written,) = export(choice, format="torch", out=tmp_path / "out", store="", weights=WeightsSource(path=file, image_size=SIZE))
    assert nas.load_variant(str(written)).kernel_size == 5
    torch.testing.assert_close(read_back("torch", written), logits(model), rtol=0, atol=1e-3)


def test_a_folder_of_weights_that_cannot_be_made_is_said_before_anything_is_trained(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(NasError, match="cannot write to the folder"):
        nas.search(store=f"sqlite:///{tmp_path}/nas.db", weights_folder=tmp_path / "file" / "weights")
    assert not (tmp_path / "nas.db").exists()
