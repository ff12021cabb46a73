"""Variants as text: a `ModelConfig` with its provenance to and from files, and the names that commands take for one."""

from searchspace.formats.document import VariantDocument
from searchspace.formats.loading import load_document, load_variant, read_document
from searchspace.formats.source import is_file, read_mapping
from searchspace.formats.table import FORMATS, Format, file_stem, format_named

__all__ = [
    "FORMATS",
    "Format",
    "VariantDocument",
    "file_stem",
    "format_named",
    "is_file",
    "load_document",
    "load_variant",
    "read_document",
    "read_mapping",
]
