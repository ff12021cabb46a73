"""The `config.json` of InternImage's Hugging Face repositories, with the keys that the published files have."""

import json
from collections.abc import Mapping
from typing import Any

from searchspace.formats.document import VariantDocument
from searchspace.formats.foreign import ARCHITECTURE, Section, from_keys, to_keys
from searchspace.formats.scaled import classifier_drop_path_rate
from searchspace.formats.source import PROVENANCE_FILE, Source, read_source
from searchspace.model_config import ModelConfig
from searchspace.recipes import IMAGENET

NAME = "huggingface"
MODEL_TYPE = "internimage"
CLS_SCALE = 1.5  # the head's width over the last stage's
TRAINING = ("num_classes", "drop_rate", "drop_path_rate", "drop_path_type", "act_layer", "norm_layer", "cls_scale", "with_cp")
# What the library itself adds when it saves a configuration.
LIBRARY = ("_name_or_path", "architectures", "auto_map", "dtype", "id2label", "label2id", "torch_dtype", "transformers_version")


def write(document: VariantDocument) -> str:
    """The variant as the text of `config.json`; ValueError for switches that the published networks do not have."""
    values: Mapping[str, Any] = {
        **to_keys(document.config, NAME),
        "model_type": MODEL_TYPE,
        "act_layer": "GELU",
        "norm_layer": "LN",
        "cls_scale": CLS_SCALE,
        "num_classes": IMAGENET.num_classes,
        "drop_rate": 0.0,
        "drop_path_rate": classifier_drop_path_rate(document.config),
        "drop_path_type": "linear",
        "with_cp": False,
    }
    return json.dumps(dict(sorted(values.items())), indent=2) + "\n"


def recognises(source: Source) -> bool:
    """Whether this looks like a model's `config.json`."""
    return "model_type" in source.values


def read(source: Source) -> VariantDocument:
    """The variant of a `config.json`, with name and provenance where they lie beside it; ValueError names the key and the rule."""
    if source.values["model_type"] != MODEL_TYPE:
        raise ValueError(f"model_type must be {MODEL_TYPE!r}, got {source.values['model_type']!r}")
    section = Section(source.values, str)
    section.check_keys(("model_type", "core_op", *ARCHITECTURE, *TRAINING, *LIBRARY))
    config = from_keys(section)
    return _written(source, config) or VariantDocument(source.path.parent.name, config)


def _written(source: Source, config: ModelConfig) -> VariantDocument | None:
    """The document beside the configuration, with name and provenance; None where there is none of ours, or of another architecture."""
    try:
        beside = VariantDocument.from_dict(read_source(source.path.parent / PROVENANCE_FILE).values)
    except ValueError:
        return None
    return beside if beside.config == config else None
