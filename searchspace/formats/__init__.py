"""Variants as text: a `ModelConfig` with its provenance to and from files, and the names that commands take for one."""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from searchspace.formats.document import VariantDocument
from searchspace.model_config import ModelConfig
from searchspace.presets import PRESETS, preset
from searchspace.stacking import stack
from searchspace.styles import style_of, switches

MAX_BYTES = 1_000_000
_STACK = re.compile(r"^\s*\d+(\s*,\s*\d+)*\s*$")

WRITERS: Mapping[str, Callable[[VariantDocument], str]] = {
    "yaml": lambda document: yaml.safe_dump(document.to_dict(), sort_keys=False, allow_unicode=True),
    "json": lambda document: json.dumps(document.to_dict(), indent=2, ensure_ascii=False) + "\n",
}


def load_variant(text: str, *, style: str | None = None) -> ModelConfig:
    """The architecture that `64,16,4,18` (C1, C', L1, L3), a preset's name (T S B L XL H G) or an exported file stands for.

    `style` replaces the switches that it would have otherwise (t for four numbers). ValueError names the file, the key and the rule.
    """
    if _STACK.match(text):
        return _stacked(text, style or "t")
    if text.upper() in PRESETS:
        config = preset(text).config
    elif is_file(text):
        config = read_document(Path(text)).config
    else:
        raise ValueError(
            f"not a variant: {text!r}; give C1,C',L1,L3 such as 64,16,4,18, a preset ({', '.join(PRESETS)}) or an exported file"
        )
    return config if style is None else _restyled(config, style)


def read_document(path: Path) -> VariantDocument:
    """The variant in a file that `nas export` wrote; ValueError names the file and what is wrong in it."""
    values = read_mapping(path)
    try:
        return VariantDocument.from_dict(values)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: {error}") from None


def read_mapping(path: Path) -> Any:
    """The plain values in a YAML or JSON file of at most 1 MB; ValueError names the file and what is wrong in it."""
    parse = json.loads if path.suffix == ".json" else yaml.safe_load  # YAML 1.1 would read JSON's 1e-05 as a string
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(f"{path}: larger than {MAX_BYTES:,} bytes")
        return parse(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from None
    except (yaml.YAMLError, json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{path}: not readable as {path.suffix.lstrip('.') or 'YAML'}: {str(error).splitlines()[0]}") from None


def is_file(text: str) -> bool:
    """Whether a text names a file; a text that cannot even be a name does not."""
    try:
        return Path(text).is_file()
    except (OSError, ValueError):
        return False


def _stacked(text: str, style: str) -> ModelConfig:
    numbers = [int(number) for number in text.split(",")]
    if len(numbers) != 4:
        raise ValueError(f"a variant is four numbers C1,C',L1,L3 such as 64,16,4,18, got {text!r}")
    return stack(*numbers, style=style)


def _restyled(config: ModelConfig, style: str) -> ModelConfig:
    if style == style_of(config):
        return config
    shape = {"channels": config.channels, "group_channels": config.group_channels, "depths": config.depths}
    return ModelConfig(**shape, **switches(style, config.depths[2]))  # type: ignore[arg-type]


def document_text(document: VariantDocument, format: str) -> str:
    """A variant with its provenance as text; ValueError for an unknown format."""
    if format not in WRITERS:
        raise ValueError(f"unknown format {format!r}; known: {', '.join(WRITERS)}")
    return WRITERS[format](document)


__all__ = ["WRITERS", "VariantDocument", "document_text", "is_file", "load_variant", "read_document", "read_mapping"]
