"""Building any variant: from text, files and configurations, with weights and without, in memory and out of it."""

import logging
from pathlib import Path
from typing import Any

import pytest
import torch

import nas
from searchspace.formats import VariantDocument
from searchspace.model_config import ModelConfig
from searchspace.presets import preset
from searchspace.stacking import stack
from searchspace.styles import styled
from trainer.internimage import InternImage
from trainer.stochastic_depth import StochasticDepth
from trainer.weights import save

SMALL = styled(channels=8, group_channels=4, depths=(1, 1, 1, 1), style="s")


def test_a_variant_is_built_from_whatever_names_it(tmp_path: Path) -> None:
    file = tmp_path / "variant.yaml"
    file.write_text(VariantDocument("small", SMALL).to_yaml())
    for variant in (SMALL, SMALL.to_dict(), str(file), file):
        model = nas.build(variant)
        assert isinstance(model, InternImage)
        assert model.config == SMALL
        assert model.head.out_features == 1000
    assert nas.build("8,4,1,2").config == stack(8, 4, 1, 2)
    assert nas.build("t", device="meta").config == preset("T").config


def test_options_reach_the_network() -> None:
    model = nas.build(SMALL, num_classes=7, drop_path_rate=0.3)
    rates = [module.rate for module in model.modules() if isinstance(module, StochasticDepth)]
    assert model.head.out_features == 7
    assert rates == pytest.approx([0.0, 0.1, 0.2, 0.3])
    assert {parameter.device.type for parameter in model.parameters()} == {"cpu"}


@pytest.mark.parametrize("name", ["H", "G"])
def test_the_largest_variants_are_built_without_memory_and_it_is_said(name: str, caplog: pytest.LogCaptureFixture) -> None:
    model = nas.build(name)
    assert all(tensor.is_meta for tensor in model.state_dict().values())
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "parameters: built on the meta device, without memory; name a device" in caplog.text


def test_other_variants_and_named_devices_are_built_in_silence(caplog: pytest.LogCaptureFixture) -> None:
    assert all(tensor.is_meta for tensor in nas.build("H", device="meta").state_dict().values())
    assert not any(tensor.is_meta for tensor in nas.build(SMALL).state_dict().values())
    assert not caplog.records


@pytest.mark.parametrize("size", [None, 1_000_000_000])
def test_a_file_says_weights_and_classes(size: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if size:
        monkeypatch.setattr("nas.network.LARGEST_AT_ONCE", 0)  # however large the network: its weights are there
    source = nas.build(SMALL, num_classes=12, device="cpu")
    save(source, tmp_path / "w.safetensors")
    torch.save({"model": source.state_dict()}, tmp_path / "w.pth")
    for name in ("w.safetensors", "w.pth"):
        model = nas.build(SMALL, weights=tmp_path / name, drop_path_rate=0.1)
        found = model.state_dict()
        assert all(torch.equal(found[key], tensor) for key, tensor in source.state_dict().items())
        assert model.levels[3].blocks[0].drop_path.rate == pytest.approx(0.1)
        images = torch.randn(1, 3, 32, 32)
        assert torch.equal(model.eval()(images), source.eval()(images))


def test_other_classes_than_the_file_s_get_a_new_head(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = nas.build(SMALL, num_classes=12)
    save(source, tmp_path / "w.safetensors")
    model = nas.build(SMALL, weights=str(tmp_path / "w.safetensors"), num_classes=5)
    assert model.head.weight.shape[0] == 5
    assert model.head.weight.any()
    assert torch.equal(model.patch_embed.conv1.weight, source.patch_embed.conv1.weight)
    assert "head (12 classes in the file, 5 in the network)" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"variant": "65,16,4,18"}, "channels must be"),
        ({"variant": "nothing"}, "not a variant: 'nothing'"),
        ({"variant": 3}, "variant must be a ModelConfig, text or a path, got int"),
        ({"num_classes": 0}, "num_classes must be whole and at least 1"),
        ({"drop_path_rate": 1.0}, "drop_path_rate must be at least 0 and below 1"),
        ({"device": "nowhere"}, "device 'nowhere' cannot be used: "),
        ({"device": "hpu"}, "device 'hpu' cannot be used: "),
        ({"device": object()}, "device <object object at .*> cannot be used: "),
        ({"weights": "nothing.pth"}, "nothing.pth: no such file"),
        ({"weights": "w.safetensors", "variant": "8,4,1,2"}, "another architecture"),
        ({"weights": "w.safetensors", "device": "meta"}, "weights cannot be held by the meta device"),
    ],
)
def test_what_cannot_be_built_is_one_line(arguments: dict[str, Any], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save(nas.build(SMALL), "w.safetensors")
    with pytest.raises(ValueError, match=said) as caught:
        nas.build(**{"variant": SMALL, **arguments})
    assert "\n" not in str(caught.value)


def test_the_function_is_not_hidden_by_its_module() -> None:
    from nas.network import build

    assert nas.build is build
    assert isinstance(nas.build(SMALL, device="meta").config, ModelConfig)
