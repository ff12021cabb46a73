"""The YAML of InternImage's classification repository: the architecture, and the ImageNet recipe scaled to the variant.

Scaled are stochastic depth (with the logarithm of the parameters, between T, S and B) and, by whoever trains, the learning rate with the
batch (`BASE_LR` for every 512 images: 4e-3 at the published 4096). Everything else is as published for T, S and B; L to G were published
with pre-training on more data, which is not part of this file.
"""

from collections.abc import Mapping
from typing import Any

from searchspace.formats.document import VariantDocument
from searchspace.formats.foreign import ARCHITECTURE, Section, from_keys, to_keys
from searchspace.formats.plain import parse_json
from searchspace.formats.plain_yaml import dump_yaml
from searchspace.formats.scaled import classifier_drop_path_rate, published_name
from searchspace.formats.source import Source
from searchspace.model_config import ModelConfig
from searchspace.recipes import IMAGENET

NAME = "opengvlab"
TYPE = "intern_image"
IMAGES_A_DEVICE = 128
_DOCUMENT = "# nas-variant: "  # the whole document as a comment: the repository refuses keys that it does not know
_WORDS: Mapping[str, Any] = {"None": None, "True": True, "False": False}


def write(document: VariantDocument) -> str:
    """The variant as YAML text; ValueError for switches that the repository does not have."""
    keys = to_keys(document.config, NAME)
    model = {
        "TYPE": TYPE,
        "NUM_CLASSES": IMAGENET.num_classes,
        "DROP_PATH_RATE": classifier_drop_path_rate(document.config),
        "LABEL_SMOOTHING": IMAGENET.optimizer.label_smoothing,
        "INTERN_IMAGE": {key.upper(): value for key, value in keys.items()},
    }
    parts = [
        _DOCUMENT + document.to_json(lines=False) + "\n",
        dump_yaml({"DATA": _data()}, flow=None),
        _stochastic_depth(document),
        dump_yaml({"MODEL": model}, flow=None),
        f"# Scaled: {IMAGES_A_DEVICE} images on each of {IMAGENET.batch_size // IMAGES_A_DEVICE} devices make the published batch of "
        f"{IMAGENET.batch_size};\n# BASE_LR, WARMUP_LR and MIN_LR hold for {IMAGENET.lr_batch_size} images and grow with the batch "
        f"(BASE_LR to {IMAGENET.lr:g} there).\n",
        dump_yaml({"TRAIN": _train(), "AUG": _augmentation()}, flow=None),
    ]
    return "".join(parts)


def recognises(source: Source) -> bool:
    """Whether this looks like a configuration of the classification repository."""
    return "MODEL" in source.values


def read(source: Source) -> VariantDocument:
    """The variant in `MODEL.INTERN_IMAGE`; ValueError names the key and the rule. Other sections are training and are passed over."""
    model = source.values["MODEL"]
    values = model.get("INTERN_IMAGE") if isinstance(model, Mapping) else None
    if not isinstance(values, Mapping):
        raise ValueError("MODEL.INTERN_IMAGE must be a mapping with the architecture")
    if model.get("TYPE", TYPE) != TYPE:
        raise ValueError(f"MODEL.TYPE must be {TYPE!r}, got {model['TYPE']!r}")
    decoded = {key.lower() if key.isupper() else key: _decoded(value) for key, value in values.items()}
    section = Section(decoded, lambda key: f"MODEL.INTERN_IMAGE.{key.upper()}" if key.islower() else f"MODEL.INTERN_IMAGE.{key}")
    section.check_keys(("core_op", *ARCHITECTURE))
    config = from_keys(section)
    return _written(source, config) or VariantDocument(source.path.stem, config)


def _data() -> dict[str, Any]:
    return {
        "BATCH_SIZE": IMAGES_A_DEVICE,
        "DATASET": "imagenet",
        "IMG_SIZE": IMAGENET.image_size,
        "INTERPOLATION": IMAGENET.augmentation.interpolation,
    }


def _train() -> dict[str, Any]:
    optimizer = IMAGENET.optimizer
    return {
        "EPOCHS": IMAGENET.epochs,
        "WARMUP_EPOCHS": IMAGENET.warmup_epochs,
        "WEIGHT_DECAY": optimizer.weight_decay,
        "BASE_LR": optimizer.lr,
        "WARMUP_LR": IMAGENET.warmup_lr,
        "MIN_LR": IMAGENET.min_lr,
        "CLIP_GRAD": optimizer.clip_norm,
        "LR_SCHEDULER": {"NAME": "cosine"},
        "OPTIMIZER": {"NAME": "adamw", "EPS": optimizer.eps, "BETAS": list(optimizer.betas)},
        "EMA": {"ENABLE": True, "DECAY": IMAGENET.ema_decay},
    }


def _augmentation() -> dict[str, Any]:
    recipe = IMAGENET.augmentation
    return {
        "AUTO_AUGMENT": recipe.rand_augment,
        "REPROB": recipe.erasing_probability,
        "REMODE": recipe.erasing_mode,
        "RECOUNT": recipe.erasing_count,
        "MIXUP": recipe.mixup,
        "CUTMIX": recipe.cutmix,
        "MIXUP_PROB": recipe.mix_probability,
        "MIXUP_SWITCH_PROB": recipe.cutmix_share,
    }


def _stochastic_depth(document: VariantDocument) -> str:
    name = published_name(document.config)
    if name is not None:
        return f"# DROP_PATH_RATE as published for InternImage-{name}.\n"
    return "# DROP_PATH_RATE scaled: linear in the logarithm of the parameters between InternImage-T, S and B, constant beyond them.\n"


def _written(source: Source, config: ModelConfig) -> VariantDocument | None:
    """The document in the comment, with name and provenance; None where there is none, or the file has been edited since."""
    comment = next((line for line in source.text.splitlines() if line.startswith(_DOCUMENT)), "")
    try:
        written = VariantDocument.from_dict(parse_json(comment.removeprefix(_DOCUMENT)))
    except ValueError:
        return None
    return written if written.config == config else None


def _decoded(value: Any) -> Any:
    """A value as the repository's own reader takes it: `None` and numbers in quotation marks stand for what they say."""
    if not isinstance(value, str):
        return value
    try:
        return _WORDS[value] if value in _WORDS else float(value)
    except ValueError:
        return value
