"""Configurations for MMDetection (Mask R-CNN 1×) and MMSegmentation (UperNet, 160k steps) with InternImage as the backbone.

A backbone in dense tasks starts from a layer scale of 1.0 and has no classification head, so the file holds the variant a second time, as
the assignment `variant`: what is read back is exactly the variant that was written, after a check that `model.backbone` still agrees with
it. A file without `variant`, such as a released one, is read as its backbone says, layer scale included.
"""

from collections.abc import Mapping
from typing import Any

from searchspace.formats.document import VariantDocument
from searchspace.formats.foreign import ARCHITECTURE, INEXPRESSIBLE, Section, from_keys, to_keys
from searchspace.formats.literals import assignment
from searchspace.formats.pipelines import detection_data, segmentation_data
from searchspace.formats.plain import check_plain
from searchspace.formats.scaled import dense_drop_path_rate, segmentation_recipe
from searchspace.formats.source import Source
from searchspace.model_config import ModelConfig
from searchspace.recipes import DETECTION, DenseRecipe

BACKBONE = "InternImage"
ADE20K_CLASSES = 150
_HEAD_ONLY = ("use_clip_projector",)
_DROPPED = ("remove_center",)  # the released backbones swallow keys that they do not know
_TRAINING = (
    "type",
    "_delete_",
    "act_layer",
    "norm_layer",
    "drop_rate",
    "drop_path_rate",
    "drop_path_type",
    "with_cp",
    "out_indices",
    "frozen_stages",
    "init_cfg",
    "use_dcn_v4_op",
)
_STRUCTURE = tuple(key for key in ARCHITECTURE if key not in (*_HEAD_ONLY, *_DROPPED))
_HEADER = """\
# {task} with the backbone {name}; to be put beside the released configurations, whose _base_ files it needs.
# Stochastic depth is scaled: linear in the logarithm of the parameters between InternImage-T, S and B, constant beyond them.
# The learning rate holds for a batch of {batch}: {devices} devices with {each} images each. Weights go into init_cfg.
"""
IMAGES_A_DEVICE = 2


def write_detection(document: VariantDocument) -> str:
    """The variant as a Mask R-CNN 1× configuration; ValueError for switches that the backbone does not have."""
    widths = list(document.config.widths)
    backbone = _backbone(document.config, "mmdet", DETECTION)
    neck = {"type": "FPN", "in_channels": widths, "out_channels": 256, "num_outs": 5}
    assignments = {
        "_base_": _bases("models/mask_rcnn_r50_fpn", "datasets/coco_instance", "schedules/schedule_1x", "default_runtime"),
        "model": {"backbone": backbone, "neck": neck},
        "data": detection_data(DETECTION, IMAGES_A_DEVICE),
        "optimizer": _optimizer(document.config, DETECTION),
        "optimizer_config": {"grad_clip": None},
    }
    return _text(document, f"Mask R-CNN, {DETECTION.epochs} epochs of COCO,", DETECTION, assignments)


def write_segmentation(document: VariantDocument) -> str:
    """The variant as an UperNet configuration; ValueError for switches that the backbone does not have."""
    config, recipe = document.config, segmentation_recipe(document.config)
    model = {
        "backbone": _backbone(config, "mmseg", recipe),
        "decode_head": {"num_classes": ADE20K_CLASSES, "in_channels": list(config.widths)},
        "auxiliary_head": {"num_classes": ADE20K_CLASSES, "in_channels": config.widths[2]},
        "test_cfg": {"mode": "whole"},
    }
    schedule = {"policy": "poly", "power": recipe.power, "min_lr": 0.0, "by_epoch": False}
    warmup = {"warmup": "linear", "warmup_iters": recipe.warmup_steps, "warmup_ratio": recipe.warmup_ratio}
    clip = {"grad_clip": {"max_norm": recipe.clip_norm, "norm_type": 2}}
    assignments = {
        "_base_": _bases("models/upernet_r50", "datasets/ade20k", "default_runtime", "schedules/schedule_160k"),
        "model": model,
        "data": segmentation_data(recipe, IMAGES_A_DEVICE),
        "optimizer": _optimizer(config, recipe),
        "lr_config": {"_delete_": True, **schedule, **warmup},
        "runner": {"type": "IterBasedRunner", "max_iters": recipe.steps},
        **({} if recipe.clip_norm is None else {"optimizer_config": {"_delete_": True, **clip}}),
    }
    return _text(document, f"UperNet, {recipe.steps // 1000}k steps of ADE20K at {recipe.crop} px,", recipe, assignments)


def recognises(source: Source) -> bool:
    """Whether this is a Python configuration with a model that has a backbone."""
    model = source.values.get("model")
    return source.path.suffix == ".py" and isinstance(model, Mapping) and "backbone" in model


def read(source: Source) -> VariantDocument:
    """The variant of a configuration; ValueError names the key and the rule."""
    backbone = source.values["model"]["backbone"]
    if not isinstance(backbone, Mapping) or backbone.get("type") != BACKBONE:
        raise ValueError(f"model.backbone must be a mapping of type {BACKBONE!r}, written out")
    section = Section(backbone, lambda key: f"model.backbone.{key}")
    section.check_keys(("core_op", *_STRUCTURE, *_TRAINING))
    check_plain({key: backbone[key] for key in _STRUCTURE if key in backbone}, "model.backbone")
    if "variant" not in source.values:
        return VariantDocument(source.path.stem, from_keys(section))
    check_plain(source.values["variant"], "variant")
    document = VariantDocument.from_dict(source.values["variant"])
    _check_agreement(from_keys(section), document.config)
    return document


def _check_agreement(backbone: ModelConfig, variant: ModelConfig) -> None:
    keys = to_keys(backbone, "backbone")
    for key, value in _dense_keys(variant, "backbone").items():
        if keys[key] != value:
            raise ValueError(f"model.backbone.{key}={keys[key]!r} disagrees with {value!r}, which follows from variant; change both")


def _dense_keys(config: ModelConfig, format: str) -> dict[str, Any]:
    keys = to_keys(config, format, inexpressible=(*INEXPRESSIBLE, *_DROPPED))
    has_none = config.res_post_norm or config.center_feature_scale  # H and G
    scale = config.layer_scale if has_none else DETECTION.layer_scale
    return {**{key: keys[key] for key in ("core_op", *_STRUCTURE)}, "layer_scale": scale}


def _backbone(config: ModelConfig, format: str, recipe: DenseRecipe) -> dict[str, Any]:
    assert recipe.layer_scale == DETECTION.layer_scale, "one layer scale for all dense tasks"
    return {
        "_delete_": True,
        "type": BACKBONE,
        **_dense_keys(config, format),
        "drop_path_rate": dense_drop_path_rate(config),
        "norm_layer": "LN",
        "with_cp": False,
        "out_indices": (0, 1, 2, 3),
        "init_cfg": None,
    }


def _optimizer(config: ModelConfig, recipe: DenseRecipe) -> dict[str, Any]:
    layers = {"num_layers": sum(config.depths), "layer_decay_rate": recipe.layer_decay, "depths": list(config.depths)}
    rates = {"lr": recipe.lr, "betas": recipe.betas, "weight_decay": recipe.weight_decay}
    constructor = {"constructor": "CustomLayerDecayOptimizerConstructor", "paramwise_cfg": layers}
    return {"_delete_": True, "type": "AdamW", **rates, **constructor}


def _bases(*names: str) -> list[str]:
    return [f"../_base_/{name}.py" for name in names]


def _text(document: VariantDocument, task: str, recipe: DenseRecipe, assignments: Mapping[str, Any]) -> str:
    devices = recipe.batch_size // IMAGES_A_DEVICE
    name = document.config.short_name
    header = _HEADER.format(task=task, name=name, batch=recipe.batch_size, devices=devices, each=IMAGES_A_DEVICE)
    values = {**assignments, "variant": document.to_dict()}
    return header + "".join(assignment(key, value) for key, value in values.items())
