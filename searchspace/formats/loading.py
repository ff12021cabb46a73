"""What commands take for a variant: four numbers, a preset's name, or a file or folder of any format."""

import os
import re
from pathlib import Path

from searchspace.formats.document import VariantDocument
from searchspace.formats.plain import one_line
from searchspace.formats.source import FOLDER_FILES, file_of, is_file, read_source
from searchspace.formats.table import document_of
from searchspace.model_config import ModelConfig
from searchspace.presets import PRESETS, preset
from searchspace.stacking import stack
from searchspace.styles import restyled

_STACK = re.compile(r"^\s*\d{1,100}(\s*,\s*\d{1,100})*\s*$")


def load_variant(text: str | os.PathLike[str], *, style: str | None = None) -> ModelConfig:
    """The architecture that `64,16,4,18` (C1, C', L1, L3), a preset's name (T S B L XL H G) or an exported file stands for.

    A file may also be a released configuration of InternImage's repositories. `style` replaces the switches that it would have otherwise
    (t for four numbers). ValueError names the file, the key and the rule.
    """
    return load_document(text, style=style).config


def load_document(text: str | os.PathLike[str], *, style: str | None = None) -> VariantDocument:
    """What `load_variant` finds, under a name and with where it comes from."""
    if not isinstance(text, str | os.PathLike):
        raise ValueError(f"a variant must be text or a path, got {text!r}; such as 64,16,4,18, a preset's name or an exported file")
    text = os.fspath(text)
    if _STACK.match(text):
        document = _stacked(text)
    elif text.upper() in PRESETS:
        name = text.upper()
        document = VariantDocument(f"internimage-{name.lower()}", preset(name).config, {"preset": name})
    elif _is_exported(text):
        document = read_document(Path(text))
    else:
        raise ValueError(
            f"not a variant: {text!r}; give C1,C',L1,L3 such as 64,16,4,18, a preset ({', '.join(PRESETS)}) or an exported file"
        )
    return document if style is None else _restyled(document, style)


def read_document(path: Path) -> VariantDocument:
    """The variant in a file or folder of any format, told apart by content; ValueError names the file and what is wrong in it."""
    file = file_of(path)
    try:
        return document_of(read_source(file))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{file}: {one_line(error)}") from None


def _is_exported(text: str) -> bool:
    return is_file(text) or any(is_file(f"{text}/{name}") for name in FOLDER_FILES)


def _stacked(text: str) -> VariantDocument:
    numbers = [int(number) for number in text.split(",")]
    if len(numbers) != 4:
        raise ValueError(f"a variant is four numbers C1,C',L1,L3 such as 64,16,4,18, got {text!r}")
    return VariantDocument("internimage-" + "-".join(map(str, numbers)), stack(*numbers), {"stack": numbers})


def _restyled(document: VariantDocument, style: str) -> VariantDocument:
    config = restyled(document.config, style)
    return document if config == document.config else VariantDocument(f"{document.name}-{style}", config, document.provenance)
