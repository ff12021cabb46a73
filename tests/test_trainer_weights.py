"""Weights in every layout that is about: what comes back, what is said, what does not fit, and that a refusal changes nothing."""

import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from architectures import drawn_architecture
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor, nn
from weight_files import State, copied, network, other, refused, same, small

from searchspace.model_config import ModelConfig
from searchspace.presets import preset
from searchspace.styles import STYLES
from trainer.internimage import InternImage
from trainer.weights import huggingface_names, load, read, save

LIGHT = ("t", "s", "l")  # styles without the attention pool and its four million weights


def prefixed(prefix: str, state: Mapping[str, Tensor]) -> State:
    return {prefix + name: tensor for name, tensor in state.items()}


def backbone(state: Mapping[str, Tensor], *kept: str) -> State:
    return prefixed("backbone.", {name: value for name, value in state.items() if name.startswith(("patch_embed.", "levels.", *kept))})


def meta(config: ModelConfig, classes: int) -> InternImage:
    with torch.device("meta"):
        return InternImage(config, num_classes=classes)


def channels_last(tensor: Tensor) -> Tensor:
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor


LAYOUTS: dict[str, Callable[[State], Any]] = {
    "as released": lambda state: {"model": state},
    "with a state_dict": lambda state: {"state_dict": state, "meta": {"epoch": 12, "time": "now"}},
    "of DeepSpeed": lambda state: {"module": state, "dp_world_size": 8},
    "bare": lambda state: OrderedDict(state),
    "of parameters": lambda state: {"model": {name: nn.Parameter(t) if t.is_floating_point() else t for name, t in state.items()}},
    "of data parallelism": lambda state: {"model": prefixed("module.", state)},
    "compiled and parallel": lambda state: prefixed("module._orig_mod.", state),
    "of Hugging Face": lambda state: huggingface_names(state),
    "of a training": lambda state: {"model_ema": prefixed("x.", state), "model": state, "optimizer": {"state": {}}, "epoch": 3},
    "with two state dicts": lambda state: {"state_dict": {}, "model": state, "state_dict_ema": prefixed("x.", state)},
    "of a double precision": lambda state: {"model": {name: tensor.double() for name, tensor in state.items()}},
    "in another order": lambda state: {"model": {name: state[name] for name in reversed(state)}},
    "channels last": lambda state: {"model": {name: channels_last(tensor) for name, tensor in state.items()}},
}  # fmt: skip


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_of_torch_save_comes_back(layout: str, zipped: bool, tmp_path: Path) -> None:
    source = network(small())
    target, path = other(source), tmp_path / "weights.pth"
    torch.save(LAYOUTS[layout](copied(source)), path, _use_new_zipfile_serialization=zipped)
    report = load(target, path)
    assert same(target.state_dict(), source.state_dict())
    assert (report.path, report.tensors, report.reinitialised) == (path, len(source.state_dict()), ())


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("huggingface", [False, True])
def test_saved_weights_come_back_whole(style: str, huggingface: bool, tmp_path: Path) -> None:
    source = network(small(style))
    path = save(source, tmp_path / "deep" / "weights.safetensors", huggingface=huggingface)
    target = other(source)
    report = load(target, path)
    assert same(target.state_dict(), source.state_dict())
    assert (report.reinitialised, report.dropped) == ((), ())
    assert bool(report.converted) == huggingface


@settings(max_examples=20)
@given(random=st.randoms(use_true_random=False))
def test_any_architecture_comes_back_and_loses_its_centre(random: Random, tmp_path_factory: pytest.TempPathFactory) -> None:
    whole = network(replace(drawn_architecture(random, attention_heads=0), remove_center=False))
    path = save(whole, tmp_path_factory.getbasetemp() / "drawn.safetensors", huggingface=random.random() < 0.5)
    again = other(whole)
    load(again, path)
    assert same(again.state_dict(), whole.state_dict())
    if whole.config.kernel_size > 1:
        centerless = network(replace(whole.config, remove_center=True), seed=1)
        load(centerless, path)
        assert all(torch.isin(tensor, whole.state_dict()[name]).all() for name, tensor in centerless.state_dict().items())


@pytest.mark.parametrize("style", STYLES)
def test_hugging_face_names_are_read_back_as_they_were(style: str, tmp_path: Path) -> None:
    state = network(small(style)).state_dict()
    renamed = huggingface_names(state)
    assert all(name.startswith("model.") for name in renamed)
    assert not [name for name in renamed if "gamma" in name]
    assert sum("layer_scale" in name for name in renamed) == sum("gamma" in name for name in state)
    save_file({name: tensor.contiguous() for name, tensor in renamed.items()}, tmp_path / "model.safetensors", {"format": "pt"})
    assert same(read(tmp_path / "model.safetensors").tensors, state)


def test_the_released_layout_of_the_tiny_variant_gives_the_same_logits(tmp_path: Path) -> None:
    torch.manual_seed(0)
    source, target = (InternImage(preset("T").config).eval() for _ in range(2))
    images = torch.randn(1, 3, 64, 64)
    torch.save({"model": source.state_dict()}, tmp_path / "internimage_t_1k_224.pth")
    with torch.no_grad():
        expected = source(images)
        assert not torch.equal(target(images), expected)
        assert load(target, tmp_path / "internimage_t_1k_224.pth").tensors == 633
        assert torch.equal(target(images), expected)


def test_what_a_training_keeps_beside_its_weights_is_said(tmp_path: Path) -> None:
    source = network(small("t"))
    torch.save(LAYOUTS["of a training"](source.state_dict()), tmp_path / "w.pth")
    report = load(other(source), tmp_path / "w.pth")
    assert report.dropped == ("beside the state dict: model_ema, optimizer, epoch",)
    assert str(report) == f"{tmp_path / 'w.pth'}: {report.tensors} tensors; dropped: {report.dropped[0]}"


@pytest.mark.parametrize("style", ["t", "g"])
@pytest.mark.parametrize("wrapper", ["", "module."])
def test_a_detector_gives_its_backbone_and_the_head_stays(
    style: str, wrapper: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = network(small(style))
    rest = {"neck.0.weight": torch.ones(1), "roi_head.a": torch.ones(1), "roi_head.b": torch.ones(1), "rpn_head.a": torch.ones(1)}
    torch.save({"meta": {}, "state_dict": prefixed(wrapper, backbone(source.state_dict()) | rest)}, tmp_path / "mask_rcnn.pth")
    target = other(source)
    before = copied(target)
    report = load(target, tmp_path / "mask_rcnn.pth")
    for name, tensor in target.state_dict().items():
        kept = source.state_dict() if name.startswith(("patch_embed.", "levels.")) else before
        assert torch.equal(tensor, kept[name]), name
    parts = "dcnv3_head_x4 dcnv3_head_x3 clip_projector fc_norm head" if style == "g" else "conv_head head"
    assert sorted(report.reinitialised) == sorted(f"{part} (not in a detector's file)" for part in parts.split())
    assert report.dropped[1] == "outside the backbone: neck (1 tensors), roi_head (2 tensors), rpn_head (1 tensors)"
    assert "head (not in a detector's file)" in caplog.text


def test_a_detector_s_own_head_convolution_is_taken_where_there_is_one(tmp_path: Path) -> None:
    source = network(small("t"))
    state = backbone(source.state_dict(), "conv_head.") | {"decode_head.a": torch.ones(1), "auxiliary_head.a": torch.ones(1)}
    torch.save({"state_dict": state}, tmp_path / "upernet.pth")
    target = other(source)
    assert load(target, tmp_path / "upernet.pth").reinitialised == ("head (not in a detector's file)",)
    assert torch.equal(target.conv_head[0].weight, source.conv_head[0].weight)


def test_half_a_head_in_a_detector_s_file_is_refused(tmp_path: Path) -> None:
    source, path = network(small("t")), tmp_path / "w.pth"
    torch.save({"state_dict": backbone(source.state_dict(), "head.weight")}, path)
    target = other(source)
    with refused(path, r"1 missing \(head.bias\)", target):
        load(target, path)


@pytest.mark.parametrize("style", ["s", "h"])
def test_a_head_for_other_classes_stays_and_is_said(style: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = network(small(style))
    target = other(source, classes=7)
    before = copied(target)
    torch.save({"model": source.state_dict()}, tmp_path / "w.pth")
    report = load(target, tmp_path / "w.pth")
    assert report.reinitialised == ("head (10 classes in the file, 7 in the network)",)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "w.pth: stays as initialised: head (10 classes in the file, 7 in the network)" in caplog.text
    for name, tensor in target.state_dict().items():
        assert torch.equal(tensor, (before if name.startswith("head.") else source.state_dict())[name]), name


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_are_cast(dtype: torch.dtype, tmp_path: Path) -> None:
    source = network(small("t"))
    state = {name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in source.state_dict().items()}
    save_file(state, tmp_path / "w.safetensors")
    target = other(source)
    report = load(target, tmp_path / "w.safetensors")
    assert report.converted == (f"{dtype} to float32 ({len(state) - 1})".removeprefix("torch."),)
    for name, tensor in target.state_dict().items():
        assert tensor.dtype == source.state_dict()[name].dtype
        assert torch.equal(tensor, state[name].to(tensor.dtype)), name


def test_a_network_of_half_precision_takes_whole_ones(tmp_path: Path) -> None:
    source = network(small("t"))
    target = other(source).half()
    load(target, save(source, tmp_path / "w.safetensors"))
    assert same(target.state_dict(), copied(source.half()))


def test_missing_batch_counters_are_tolerated_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = network(small("t"))
    torch.save({"model": {n: t for n, t in source.state_dict().items() if not n.endswith("tracked")}}, tmp_path / "w.pth")
    target = other(source)
    report = load(target, tmp_path / "w.pth")
    assert report.reinitialised == ("conv_head.1.0.num_batches_tracked (not counted in the file)",)
    assert int(target.conv_head[1][0].num_batches_tracked) == 4
    assert not caplog.records
    on_meta = meta(small("t"), 10)
    load(on_meta, tmp_path / "w.pth")
    assert int(on_meta.conv_head[1][0].num_batches_tracked) == 0


ABLATIONS: dict[str, dict[str, Any]] = {
    "softmax": {},
    "sigmoid": {"mask_activation": "sigmoid"},
    "one group": {"one_group": True, "group_channels": 8},
    "5 x 5": {"kernel_size": 5},
    "unshared": {"unshared_weights": True},
}


@pytest.mark.parametrize("style", LIGHT)
@pytest.mark.parametrize("ablation", ABLATIONS)
def test_a_network_without_the_centre_takes_weights_whose_centre_counts_for_nothing(ablation: str, style: str, tmp_path: Path) -> None:
    whole = network(small(style, **ABLATIONS[ablation])).double()
    points = whole.config.points
    with torch.no_grad():
        for name, tensor in whole.named_parameters():
            if name.endswith("dcn.mask.bias"):
                tensor.view(-1, points)[:, points // 2] = -1e4
    target = network(replace(whole.config, remove_center=True), seed=1).double()
    images = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(2), dtype=torch.double)
    report = load(target, save(whole, tmp_path / "w.safetensors"))
    assert report.converted == ("offsets and masks without the centre point",)
    with torch.no_grad():
        torch.testing.assert_close(target(images), whole(images))


def test_the_rows_of_the_centre_point_are_dropped(tmp_path: Path) -> None:
    whole = network(small("t"))
    target = network(small("t", remove_center=True), seed=1)
    load(target, save(whole, tmp_path / "w.safetensors"))
    for stage, groups in enumerate(whole.config.groups):
        found, given = (model.levels[stage].blocks[0].dcn for model in (target, whole))
        masks = [g * 9 + q for g in range(groups) for q in range(9) if q != 4]
        offsets = [2 * row + axis for row in masks for axis in (0, 1)]
        assert torch.equal(found.mask.weight, given.mask.weight[masks])
        assert torch.equal(found.mask.bias, given.mask.bias[masks])
        assert torch.equal(found.offset.weight, given.offset.weight[offsets])
        assert torch.equal(found.offset.bias, given.offset.bias[offsets])


def test_weights_without_the_centre_fit_their_own_kind_only(tmp_path: Path) -> None:
    source = network(small("t", remove_center=True))
    path = save(source, tmp_path / "w.safetensors")
    target, whole = other(source), network(small("t"))
    assert load(target, path).converted == ()
    assert same(target.state_dict(), source.state_dict())
    with refused(path, "another architecture than the network: remove_center True instead of False", whole):
        load(whole, path)
    torch.save(source.state_dict(), bare := tmp_path / "bare.pth")
    with refused(bare, r"20 of another shape \(levels.0.blocks.0.dcn.offset.weight \(32, 8\) instead of \(36, 8\), ", whole):
        load(whole, bare)


@pytest.mark.parametrize("style", STYLES)
def test_a_network_without_memory_gets_its_own(style: str, tmp_path: Path) -> None:
    source, path = network(small(style)), tmp_path / "w.safetensors"
    save(source, path)
    model = meta(source.config, 10)
    load(model, path)
    path.write_bytes(b"")  # nothing of it is held any more
    assert same(model.state_dict(), source.state_dict())
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("style", ["t", "h"])
def test_a_network_without_memory_gets_a_new_head_where_the_file_has_none(style: str, tmp_path: Path) -> None:
    source, path = network(small(style)), tmp_path / "w.pth"
    torch.save({"state_dict": backbone(source.state_dict())}, path)
    model = meta(source.config, 6)
    load(model, path)
    assert not [name for name, tensor in model.state_dict().items() if tensor.is_meta]
    assert torch.equal(model.patch_embed.conv1.weight, source.patch_embed.conv1.weight)
    assert model.head.weight.shape[0] == 6
    assert 0.01 < model.head.weight.std() < 0.03
    assert model.eval()(torch.zeros(1, 3, 32, 32)).isfinite().all()


def test_weights_are_not_loaded_onto_the_meta_device(tmp_path: Path) -> None:
    path = save(network(small("t")), tmp_path / "w.safetensors")
    with pytest.raises(ValueError, match=r"w.safetensors: weights cannot be held by the meta device"):
        load(meta(small("t"), 10), path, device="meta")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"offset_scale": 2.0}, "offset_scale 1.0 instead of 2.0"),
        ({"post_norm": False, "layer_scale": None}, "layer_scale 1e-05 instead of None, post_norm True instead of False"),
        ({"mask_activation": "sigmoid"}, "mask_activation 'softmax' instead of 'sigmoid'"),
        ({"depths": (1, 1, 3, 1)}, r"depths \(1, 1, 2, 1\) instead of \(1, 1, 3, 1\)"),
        ({"offset_scale": 3.0, "remove_center": True}, "offset_scale 1.0 instead of 3.0$"),
    ],
)
def test_weights_trained_as_another_architecture_are_refused(changes: dict[str, Any], said: str, tmp_path: Path) -> None:
    path = save(network(small("s")), tmp_path / "w.safetensors")
    target = network(small("s", **changes), seed=1)
    with refused(path, said, target):
        load(target, path)


def test_where_layer_scales_began_does_not_matter(tmp_path: Path) -> None:
    source = network(small("s"))
    target = network(small("s", layer_scale=1.0), seed=1)
    load(target, save(source, tmp_path / "w.safetensors"))
    assert same(target.state_dict(), source.state_dict())


STEM = "patch_embed.conv1.weight"


def put(name: str, tensor: Tensor) -> Callable[[State], State]:
    return lambda state: {**state, name: tensor}


def spoilt(name: str, value: float) -> Callable[[State], State]:
    return lambda state: {**state, name: torch.where(torch.arange(state[name].numel()).view(state[name].shape) == 3, value, state[name])}


MISFITS: dict[str, tuple[Callable[[State], State], str]] = {
    "missing": (lambda state: {name: state[name] for name in state if name != STEM}, rf"do not fit the network: 1 missing \({STEM}\)$"),
    "unexpected": (put("extra.weight", torch.ones(1)), r"do not fit the network: 1 unexpected \(extra.weight\)$"),
    "reshaped": (put(STEM, torch.ones(4, 3, 1, 1)), rf"1 of another shape \({STEM} \(4, 3, 1, 1\) instead of \(4, 3, 3, 3\)\)$"),
    "all at once": (
        lambda state: prefixed("x.", state),
        r"do not fit the network: \d+ missing \(.*, .*, .* and \d+ more\); \d+ unexpected \(",
    ),
    "without a head": (lambda state: {name: state[name] for name in state if "head" not in name}, r"\d+ missing \(conv_head"),
    "with half a new head": (put("head.bias", torch.ones(4)), r"1 of another shape \(head.bias \(4,\) instead of \(10,\)\)$"),
    "with a head of no class": (
        lambda state: put("head.weight", torch.ones(0, 96))(put("head.bias", torch.ones(0))(state)),
        "2 of another shape",
    ),
    "not a number": (spoilt(STEM, float("nan")), rf"{STEM} holds values that are not finite numbers in torch.float32$"),
    "infinite": (spoilt("head.bias", -float("inf")), "head.bias holds values that are not finite"),
    "beyond float32": (put("head.bias", torch.full((10,), 1e300, dtype=torch.double)), "head.bias holds values that are not finite"),
    "of whole numbers": (put("head.bias", torch.ones(10, dtype=torch.int8)), "head.bias must hold floating-point numbers, got torch.int8"),
    "complex": (put("head.bias", torch.ones(10, dtype=torch.complex64)), "head.bias must be a dense tensor of real numbers"),
}


@pytest.mark.parametrize("misfit", MISFITS)
@pytest.mark.parametrize("safe", [True, False])
def test_whatever_does_not_fit_is_named_and_changes_nothing(misfit: str, safe: bool, tmp_path: Path) -> None:
    change, said = MISFITS[misfit]
    source = network(small("t"))
    target, path = other(source), tmp_path / ("w.safetensors" if safe else "w.pth")
    state = change(copied(source))
    save_file(state, path) if safe else torch.save({"model": state}, path)
    with refused(path, said, target):
        load(target, path)


def test_reading_runs_no_network_and_knows_the_classes(tmp_path: Path) -> None:
    source = network(small("t"), classes=21)
    assert read(save(source, tmp_path / "w.safetensors")).num_classes == 21
    torch.save(backbone(source.state_dict()), tmp_path / "b.pth")
    assert read(tmp_path / "b.pth").num_classes is None
