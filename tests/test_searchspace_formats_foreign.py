"""Variants in the formats of other projects: what is written is read back, scaled recipes, and files that others wrote."""

import ast
import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from searchspace.cost import cost
from searchspace.formats import FORMATS, VariantDocument, file_stem, load_document, load_variant, read_document
from searchspace.formats.scaled import classifier_drop_path_rate, dense_drop_path_rate, segmentation_recipe
from searchspace.model_config import ModelConfig
from searchspace.presets import PRESETS
from searchspace.recipes import IMAGENET
from searchspace.scaling import compound_scale
from searchspace.stacking import stack
from tests.drawn_variants import documents, stacked
from trainer.internimage import InternImage

T = PRESETS["T"].config
FOREIGN = ("opengvlab", "huggingface", "mmdet", "mmseg")


def put(folder: Path, format: str, document: VariantDocument) -> Path:
    """Write a document's files below `folder`; the file or folder that they form."""
    for path, text in FORMATS[format].write(document).items():
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_bytes(text.encode())
    return folder / FORMATS[format].entry(document.name)


def assignments(text: str) -> dict[str, Any]:
    """The values of a Python configuration, every one of which must be a literal."""
    found = {}
    for statement in ast.parse(text).body:
        assert isinstance(statement, ast.Assign)
        (target,) = statement.targets
        assert isinstance(target, ast.Name)
        found[target.id] = ast.literal_eval(statement.value)
    return found


@pytest.mark.parametrize("format", sorted(FORMATS))
@given(data=st.data())
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_a_format_writes_it_reads_back_exactly(format: str, data: st.DataObject, tmp_path: Path) -> None:
    document = data.draw(documents(format))
    path = put(tmp_path, format, document)
    assert read_document(path) == document
    assert load_variant(str(path)) == document.config


@pytest.mark.parametrize("format", sorted(FORMATS))
@pytest.mark.parametrize("name", ["T", "B", "H"])
def test_a_file_builds_the_network_that_was_exported(format: str, name: str, tmp_path: Path) -> None:
    config = PRESETS[name].config
    path = put(tmp_path, format, VariantDocument("x", config))
    with torch.device("meta"):
        written, read = (InternImage(each).state_dict() for each in (config, load_variant(str(path))))
    assert {key: value.shape for key, value in read.items()} == {key: value.shape for key, value in written.items()}


@pytest.mark.parametrize("format", FOREIGN)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kernel_size": 5}, "kernel_size=5, only kernel_size=3"),
        ({"mask_activation": "sigmoid"}, "mask_activation='sigmoid', only mask_activation='softmax'"),
        ({"unshared_weights": True}, "unshared_weights=True, only unshared_weights=False"),
        ({"remove_center": True}, "remove_center=True, only remove_center=False"),
    ],
)
def test_a_switch_that_a_format_lacks_is_refused_by_name_and_value(format: str, change: dict[str, Any], message: str) -> None:
    document = VariantDocument("x", replace(T, **change))
    if "remove_center" in change and format in ("opengvlab", "huggingface"):
        assert any('"remove_center": true' in text or "REMOVE_CENTER: true" in text for text in FORMATS[format].write(document).values())
        return
    with pytest.raises(ValueError, match=f"the format {format} cannot express {message}"):
        FORMATS[format].write(document)


@pytest.mark.parametrize("format", FOREIGN)
def test_one_group_is_one_in_every_stage(format: str, tmp_path: Path) -> None:
    config = ModelConfig(channels=64, group_channels=64, depths=(4, 4, 18, 4), one_group=True)
    path = put(tmp_path, format, VariantDocument("x", config))
    text = (path / "config.json" if path.is_dir() else path).read_text()
    assert "".join(text.split()).lower().replace("'", '"').replace('"', "").count("groups:[1,1,1,1]") == 1
    assert load_variant(str(path)).groups == (1, 1, 1, 1)


def numbers_as_text(values: Any) -> list[str]:
    """All texts in plain values that read like numbers."""
    if isinstance(values, dict):
        return [text for value in values.values() for text in numbers_as_text(value)]
    if isinstance(values, list):
        return [text for value in values for text in numbers_as_text(value)]
    return [values] if isinstance(values, str) and values[:1].isdigit() else []


@given(config=stacked())
def test_every_number_of_the_repository_s_yaml_is_one_to_a_yaml_1_1_reader(config: ModelConfig) -> None:
    (text,) = FORMATS["opengvlab"].write(VariantDocument("x", config)).values()
    values = yaml.safe_load(text)
    assert numbers_as_text(values) == []
    assert values["MODEL"]["INTERN_IMAGE"]["LAYER_SCALE"] == config.layer_scale
    assert [values["MODEL"]["INTERN_IMAGE"][key] for key in ("GROUPS", "DEPTHS")] == [list(config.groups), list(config.depths)]


def test_the_repository_s_yaml_has_the_published_recipe() -> None:
    (text,) = FORMATS["opengvlab"].write(VariantDocument("x", PRESETS["S"].config)).values()
    values = yaml.safe_load(text)
    assert "LAYER_SCALE: 1.0e-05" in text
    assert "Scaled" in text
    assert values["MODEL"]["DROP_PATH_RATE"] == 0.4
    assert [values["TRAIN"][key] for key in ("BASE_LR", "WARMUP_LR", "MIN_LR", "EPOCHS", "CLIP_GRAD")] == [5e-4, 5e-7, 5e-6, 300, 5.0]
    assert values["TRAIN"]["EMA"] == {"ENABLE": True, "DECAY": 0.9999}
    assert [values["AUG"][key] for key in ("MIXUP", "CUTMIX", "REPROB", "AUTO_AUGMENT")] == [0.8, 1.0, 0.25, "rand-m9-mstd0.5-inc1"]
    assert math.isclose(IMAGENET.lr, 4e-3)


PUBLISHED_KEYS = (
    "act_layer center_feature_scale channels cls_scale core_op depths drop_path_rate drop_path_type drop_rate dw_kernel_size groups "
    "layer_scale level2_post_norm level2_post_norm_block_ids mlp_ratio model_type norm_layer num_classes offset_scale post_norm "
    "remove_center res_post_norm use_clip_projector with_cp"
)


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_a_config_json_has_exactly_the_published_keys(name: str) -> None:
    files = FORMATS["huggingface"].write(VariantDocument("my variant", PRESETS[name].config, {"trial": 3}))
    folder = file_stem("my variant")
    assert list(files) == [f"{folder}/config.json", f"{folder}/provenance.json"]
    values = json.loads(files[f"{folder}/config.json"])
    assert " ".join(sorted(values)) == PUBLISHED_KEYS
    assert values["drop_path_rate"] == PRESETS[name].drop_path_rate
    assert json.loads(files[f"{folder}/provenance.json"])["provenance"] == {"trial": 3}


@pytest.mark.parametrize("name", sorted(PRESETS))
@pytest.mark.parametrize("format", ["mmdet", "mmseg"])
def test_a_dense_configuration_is_literals_with_the_published_recipe(format: str, name: str) -> None:
    config = PRESETS[name].config
    (text,) = FORMATS[format].write(VariantDocument("x", config)).values()
    values = assignments(text)
    backbone = values["model"]["backbone"]
    assert backbone["layer_scale"] == (None if name in "HG" else 1.0)
    assert backbone["drop_path_rate"] == {"T": 0.2, "S": 0.3}.get(name, 0.4)
    assert values["data"]["samples_per_gpu"] * 8 == 16
    assert values["optimizer"]["paramwise_cfg"]["num_layers"] == sum(config.depths)
    assert values["variant"]["model"]["layer_scale"] == config.layer_scale
    if format == "mmdet":
        assert (values["optimizer"]["lr"], values["model"]["neck"]["in_channels"]) == (1e-4, list(config.widths))
        assert values["data"]["train"]["pipeline"][2]["img_scale"] == (1333, 800)
    else:
        large = name not in "TSB"
        rate, crop = values["optimizer"]["lr"], values["data"]["train"]["pipeline"][3]["crop_size"]
        assert (rate, crop) == ((2e-5, (640, 640)) if large else (6e-5, (512, 512)))
        assert values["optimizer"]["paramwise_cfg"]["layer_decay_rate"] == (0.94 if large else 1.0)
        assert values["runner"]["max_iters"] == 160_000


def test_stochastic_depth_is_the_published_one_and_scaled_between() -> None:
    assert [classifier_drop_path_rate(preset.config) for preset in PRESETS.values()] == [0.1, 0.4, 0.5, 0.1, 0.2, 0.2, 0.4]
    assert [dense_drop_path_rate(PRESETS[name].config) for name in "TSB"] == [0.2, 0.3, 0.4]
    sizes = [compound_scale(T, phi / 4) for phi in range(-8, 16)]
    for rate, low, high in ((classifier_drop_path_rate, 0.1, 0.5), (dense_drop_path_rate, 0.2, 0.4)):
        rates = [rate(config) for config in sizes]
        assert rates == sorted(rates)
        assert (rates[0], rates[-1]) == (low, high)
        assert len(set(rates)) > 5
    between = stack(64, 16, 4, 27)
    way = math.log(cost(between).params / 29_918_424) / math.log(50_079_880 / 29_918_424)
    assert classifier_drop_path_rate(between) == pytest.approx(0.1 + 0.3 * way, abs=5e-4)
    assert dense_drop_path_rate(between) == pytest.approx(0.2 + 0.1 * way, abs=5e-4)
    assert segmentation_recipe(PRESETS["B"].config) != segmentation_recipe(PRESETS["L"].config)


RELEASED_YAML = """\
BASE: ['']
DATA:
  IMG_ON_MEMORY: True
MODEL:
  TYPE: intern_image
  DROP_PATH_RATE: 0.4
  INTERN_IMAGE:
    CORE_OP: 'DCNv3'
    DEPTHS: {depths}
    GROUPS: {groups}
    CHANNELS: {channels}
    LAYER_SCALE: {scale}
    OFFSET_SCALE: {offset}
    MLP_RATIO: 4.0
    {switches}
TRAIN:
  EMA:
    ENABLE: True
  BASE_LR: 2e-05 # 512
  WARMUP_LR: .0
AMP_OPT_LEVEL: O0
"""
H_SWITCHES = """RES_POST_NORM: True
    DW_KERNEL_SIZE: 5
    LEVEL2_POST_NORM: True
    LEVEL2_POST_NORM_BLOCK_IDS: [5, 11, 17, 23, 29]
    CENTER_FEATURE_SCALE: True
    USE_CLIP_PROJECTOR: True"""


@pytest.mark.parametrize(
    ("name", "scale", "switches"),
    [
        ("T", "None", "POST_NORM: False"),
        ("S", "1e-5", "POST_NORM: True"),
        ("B", "'1e-5'", "POST_NORM: True"),
        ("XL", "1.0E-5", "POST_NORM: True"),
        ("H", "null", H_SWITCHES),
    ],
)
def test_a_released_yaml_is_read_as_its_author_meant_it(name: str, scale: str, switches: str, tmp_path: Path) -> None:
    config = PRESETS[name].config
    path = tmp_path / "internimage_1k_224.yaml"
    text = RELEASED_YAML.format(
        depths=list(config.depths),
        groups=list(config.groups),
        channels=config.channels,
        scale=scale,
        offset=config.offset_scale,
        switches=switches,
    )
    path.write_text(text)
    assert load_document(str(path)) == VariantDocument("internimage_1k_224", config)


RELEASED_PY = """\
_base_ = ['../_base_/models/mask_rcnn_r50_fpn.py']
pretrained = 'https://example.org/weights.pth'
norm = dict(mean=[1.0], to_rgb=True)
model = dict(
    backbone=dict(
        _delete_=True, type='InternImage', core_op='DCNv3', channels=80, depths=[4, 4, 21, 4], groups=(5, 10, 20, 40),
        mlp_ratio=4., drop_path_rate=0.1 * 3, norm_layer='LN', layer_scale=1.0, offset_scale=1.0, post_norm=True, with_cp=False,
        out_indices=(0, 1, 2, 3), init_cfg=dict(type='Pretrained', checkpoint=pretrained)),
    neck=dict(type='FPN', **norm))
pipeline = [dict(type='Normalize', **norm), print('run')]
open('/nonexistent/run')
"""


def test_a_released_python_configuration_is_read_and_never_run(tmp_path: Path) -> None:
    path = tmp_path / "mask_rcnn_internimage_s.py"
    path.write_text(RELEASED_PY)
    assert load_variant(str(path)) == replace(PRESETS["S"].config, layer_scale=1.0)


def test_a_library_s_own_keys_in_a_config_json_are_passed_over(tmp_path: Path) -> None:
    path = put(tmp_path, "huggingface", VariantDocument("b", PRESETS["B"].config))
    values = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps({**values, "architectures": ["X"], "auto_map": {"a": "b"}, "torch_dtype": "float32"}))
    (path / "provenance.json").write_text("no JSON")
    assert load_document(str(path)) == VariantDocument("b", PRESETS["B"].config)
    assert load_variant(str(path / "config.json")) == PRESETS["B"].config


def edited(format: str, old: str, new: str, folder: Path) -> Path:
    """A file of T with one text replaced, which must be there."""
    path = put(folder, format, VariantDocument("x", T))
    file = path / "config.json" if path.is_dir() else path
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))
    return path


@pytest.mark.parametrize(
    ("format", "old", "new", "message"),
    [
        ("opengvlab", "    CHANNELS: 64", "    CHANNELS: 64\n    COLOUR: red", "unknown keys MODEL.INTERN_IMAGE.COLOUR; known: "),
        ("opengvlab", "    CHANNELS: 64", "    CHANNELS: 64.5", "MODEL.INTERN_IMAGE.CHANNELS must be whole and at least 1, got 64.5"),
        ("opengvlab", "    CHANNELS: 64", "    CHANNELS: 64\n    CHANNELS: 64", "the key 'CHANNELS' appears twice"),
        ("opengvlab", "[4, 8, 16, 32]", "[4, 8, 16, 33]", "MODEL.INTERN_IMAGE.GROUPS must double from stage to stage"),
        ("opengvlab", "[4, 8, 16, 32]", "[3, 6, 12, 24]", "CHANNELS must be a multiple of MODEL.INTERN_IMAGE.GROUPS"),
        ("opengvlab", "    CORE_OP: DCNv3", "    CORE_OP: DCNv4", "MODEL.INTERN_IMAGE.CORE_OP must be 'DCNv3', got 'DCNv4'"),
        ("opengvlab", "TYPE: intern_image", "TYPE: swin", "MODEL.TYPE must be 'intern_image', got 'swin'"),
        ("opengvlab", "LAYER_SCALE: null", "LAYER_SCALE: nan", "layer_scale must be a positive number"),
        ("opengvlab", "POST_NORM: false", "POST_NORM: 1", "POST_NORM must be true or false, got 1"),
        ("opengvlab", "  INTERN_IMAGE:", "  SWIN:", "MODEL.INTERN_IMAGE must be a mapping"),
        ("huggingface", '"num_classes"', '"num_labels"', "unknown keys num_labels"),
        ("huggingface", "internimage", "vit", "model_type must be 'internimage', got 'vit'"),
        ("huggingface", '"cls_scale": 1.5', '"cls_scale": 2', "cls_scale must be 1.5, got 2"),
        ("huggingface", '"level2_post_norm": false', '"level2_post_norm": true', "level2_post_norm_block_ids must be a list"),
        ("huggingface", '"layer_scale": null', '"layer_scale": "x"', "layer_scale must be a number, got 'x'"),
        ("huggingface", '"layer_scale": null', '"layer_scale": Infinity', "layer_scale must be a finite number"),
        ("mmdet", "'post_norm': False", "'remove_center': False", "unknown keys model.backbone.remove_center"),
        ("mmdet", "'channels': 64", "'channels': 8 * 8", "model.backbone must be plain|channels must be plain"),
        ("mmdet", "'channels': 64", "'channels': 128", r"model.backbone.channels=128 disagrees with 64, .* variant"),
        ("mmseg", "'layer_scale': 1.0", "'layer_scale': 0.5", "model.backbone.layer_scale=0.5 disagrees with 1.0"),
        ("mmseg", "'InternImage'", "'CBInternImage'", "must be a mapping of type 'InternImage'"),
        ("mmseg", "'version': 1", "'version': 2", "version 2 is not known"),
        ("yaml", "channels: 64", f"channels: {10**30}", "must be below 2\\^63"),
        ("yaml", "channels: 64", f"channels: {2**40}", "channels must be at most 1,048,576"),
        ("json", "      18", "      1000000000", "depths must be at most 10,000"),
    ],
)
def test_a_broken_file_is_named_with_key_and_rule(format: str, old: str, new: str, message: str, tmp_path: Path) -> None:
    path = edited(format, old, new, tmp_path)
    with pytest.raises(ValueError, match=message) as caught:
        load_variant(str(path))
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_names_never_leave_the_folder_or_hide() -> None:
    assert re.fullmatch("variant-[0-9a-f]{8}", FORMATS["huggingface"].entry(".."))
    assert re.fullmatch(r"-\.\.-etc-x-[0-9a-f]{8}\.yaml", FORMATS["yaml"].entry("../../etc/x"))
    assert re.fullmatch(r"variant-[0-9a-f]{8}\.json", FORMATS["json"].entry(""))
    assert len(FORMATS["yaml"].entry("x" * 1000)) < 200
    assert FORMATS["yaml"].entry("stacking-trial-3") == "stacking-trial-3.yaml"


@given(st.lists(st.text(), min_size=2, max_size=2, unique=True), st.sampled_from(["", "層" * 75, "a/b " * 60]))
def test_every_name_has_a_file_of_its_own_that_a_file_system_takes(names: list[str], begin: str) -> None:
    first, second = (file_stem(begin + name) for name in names)
    assert first != second
    for stem in (first, second):
        assert 0 < len(stem.encode()) <= 150
        assert "/" not in stem
        assert not stem.startswith(".")


@pytest.mark.parametrize("text", ["64,16,4,1000000000000", "64,16,4," + "9" * 60, f"{2**30},16,4,18"])
def test_sizes_beyond_reason_are_refused_in_every_style(text: str) -> None:
    with pytest.raises(ValueError, match="must be at most"):
        load_variant(text, style="h")


@pytest.mark.parametrize("scale", [10**400, float("inf"), float("nan"), 0, -1.0, True])
def test_a_scale_is_a_positive_number_that_a_float_can_hold(scale: float) -> None:
    with pytest.raises(ValueError, match="layer_scale must be a positive number"):
        ModelConfig(channels=64, group_channels=16, depths=(4, 4, 18, 4), layer_scale=scale)


EDITS = {
    "opengvlab": (("CHANNELS: 64", "CHANNELS: 128"), ("[4, 8, 16, 32]", "[8, 16, 32, 64]")),
    "huggingface": (('"channels": 64', '"channels": 128'), ("    4,\n    8,\n    16,\n    32\n", "    8,\n    16,\n    32,\n    64\n")),
}


@pytest.mark.parametrize("format", EDITS)
def test_a_file_that_was_edited_is_no_longer_what_was_measured(format: str, tmp_path: Path) -> None:
    document = VariantDocument("measured", stack(64, 16, 4, 18), {"trial": 3, "metrics": {"top1": 0.9}})
    for path, text in FORMATS[format].write(document).items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(text)
    edited = tmp_path / next(iter(FORMATS[format].write(document)))
    assert load_document(str(edited)) == document
    text = edited.read_text()
    for found, instead in EDITS[format]:
        assert text.count(found) == 1
        text = text.replace(found, instead)
    edited.write_text(text)
    assert load_document(str(edited)).provenance == {}
    assert load_variant(edited) == stack(128, 16, 4, 18)
