"""How MMDetection and MMSegmentation load and augment the images of a recipe, as their configurations write it."""

from typing import Any

from searchspace.recipes import DetectionRecipe, SegmentationRecipe

Step = dict[str, Any]
_NORMALIZE: Step = {"type": "Normalize", "mean": [123.675, 116.28, 103.53], "std": [58.395, 57.12, 57.375], "to_rgb": True}
_LOAD: Step = {"type": "LoadImageFromFile"}
_BUNDLE: Step = {"type": "DefaultFormatBundle"}
_SHOWN: list[Step] = [{"type": "ImageToTensor", "keys": ["img"]}, {"type": "Collect", "keys": ["img"]}]
DIVISOR = 32  # the backbone's last stride
IGNORED_CLASS = 255


def detection_data(recipe: DetectionRecipe, images_a_device: int) -> dict[str, Any]:
    """COCO with boxes and masks: the short side to 800 px, the long one to at most 1333, mirrored half of the time."""
    scale = (recipe.long_side, recipe.short_side)
    pad: Step = {"type": "Pad", "size_divisor": DIVISOR}
    train: list[Step] = [
        _LOAD,
        {"type": "LoadAnnotations", "with_bbox": True, "with_mask": True},
        {"type": "Resize", "img_scale": scale, "keep_ratio": True},
        {"type": "RandomFlip", "flip_ratio": 0.5},
        _NORMALIZE,
        pad,
        _BUNDLE,
        {"type": "Collect", "keys": ["img", "gt_bboxes", "gt_labels", "gt_masks"]},
    ]
    resize: Step = {"type": "Resize", "keep_ratio": True}
    return _data(images_a_device, train, _test(scale, [resize, {"type": "RandomFlip"}, _NORMALIZE, pad]))


def segmentation_data(recipe: SegmentationRecipe, images_a_device: int) -> dict[str, Any]:
    """ADE20K: half to twice the size, a square crop, mirrored half of the time, colours shifted; tested on whole images."""
    scale, crop = (4 * recipe.crop, recipe.crop), (recipe.crop, recipe.crop)
    train: list[Step] = [
        _LOAD,
        {"type": "LoadAnnotations", "reduce_zero_label": True},
        {"type": "Resize", "img_scale": scale, "ratio_range": (0.5, 2.0)},
        {"type": "RandomCrop", "crop_size": crop, "cat_max_ratio": 0.75},
        {"type": "RandomFlip", "prob": 0.5},
        {"type": "PhotoMetricDistortion"},
        _NORMALIZE,
        {"type": "Pad", "size": crop, "pad_val": 0, "seg_pad_val": IGNORED_CLASS},
        _BUNDLE,
        {"type": "Collect", "keys": ["img", "gt_semantic_seg"]},
    ]
    resize: list[Step] = [{"type": "Resize", "keep_ratio": True}, {"type": "ResizeToMultiple", "size_divisor": DIVISOR}]
    return _data(images_a_device, train, _test(scale, [*resize, {"type": "RandomFlip"}, _NORMALIZE]))


def _test(scale: tuple[int, int], transforms: list[Step]) -> list[Step]:
    return [_LOAD, {"type": "MultiScaleFlipAug", "img_scale": scale, "flip": False, "transforms": [*transforms, *_SHOWN]}]


def _data(images_a_device: int, train: list[Step], test: list[Step]) -> dict[str, Any]:
    parts = {"train": train, "val": test, "test": test}
    return {"samples_per_gpu": images_a_device, **{part: {"pipeline": steps} for part, steps in parts.items()}}
