"""The table of formats: how each writes a variant, recognises its own files and reads them back."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from searchspace.formats import document as own
from searchspace.formats import huggingface, opengvlab, openmmlab
from searchspace.formats.document import VariantDocument
from searchspace.formats.source import CONFIG_FILE, PROVENANCE_FILE, Source

Part = Callable[[VariantDocument], str]
LONGEST_STEM = 150  # bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """One kind of file, or of folder with several: its `parts` by their name in the folder, "" for a file by itself."""

    suffix: str
    parts: Mapping[str, Part]
    recognises: Callable[[Source], bool]
    read: Callable[[Source], VariantDocument]

    def entry(self, name: str) -> str:
        """What a variant of this name is called in the folder that it is exported to."""
        return file_stem(name) + self.suffix

    def write(self, document: VariantDocument) -> Mapping[str, str]:
        """The texts by their path in that folder; ValueError names a switch that the format cannot express."""
        entry = self.entry(document.name)
        return {f"{entry}/{part}" if part else entry: text(document) for part, text in self.parts.items()}


def _own(source: Source) -> VariantDocument:
    return VariantDocument.from_dict(source.values)


def _is_own(source: Source) -> bool:
    return source.values.get("format") == own.FORMAT


OWN = ("yaml", "json")
FORMATS: Mapping[str, Format] = {
    "yaml": Format(suffix=".yaml", parts={"": VariantDocument.to_yaml}, recognises=_is_own, read=_own),
    "json": Format(suffix=".json", parts={"": VariantDocument.to_json}, recognises=_is_own, read=_own),
    opengvlab.NAME: Format(
        suffix="_opengvlab.yaml",
        parts={"": opengvlab.write},
        recognises=opengvlab.recognises,
        read=opengvlab.read,
    ),
    huggingface.NAME: Format(
        suffix="",
        parts={CONFIG_FILE: huggingface.write, PROVENANCE_FILE: VariantDocument.to_json},
        recognises=huggingface.recognises,
        read=huggingface.read,
    ),
    "mmdet": Format(
        suffix="_mask_rcnn_fpn_1x_coco.py",
        parts={"": openmmlab.write_detection},
        recognises=openmmlab.recognises,
        read=openmmlab.read,
    ),
    "mmseg": Format(
        suffix="_upernet_160k_ade20k.py",
        parts={"": openmmlab.write_segmentation},
        recognises=openmmlab.recognises,
        read=openmmlab.read,
    ),
}


def format_named(name: str) -> Format:
    """The format of this name; ValueError lists the known ones."""
    if name not in FORMATS:
        raise ValueError(f"unknown format {name!r}; known: {', '.join(FORMATS)}")
    return FORMATS[name]


def document_of(source: Source) -> VariantDocument:
    """The variant in a file of any format, told apart by content; ValueError for a file of none."""
    for known in FORMATS.values():
        if known.recognises(source):
            return known.read(source)
    raise ValueError(
        f"not an exported variant: the key format must be {own.FORMAT!r}, or the file one of "
        f"{', '.join(name for name in FORMATS if name not in OWN)}, which have MODEL, model_type or a model with a backbone"
    )


def file_stem(name: str) -> str:
    """A variant's name as the beginning of a file name, another one for every name.

    Other signs than letters, digits, - _ . become -, it is never hidden and at most 150 bytes long; a name that had to be changed for that
    gets a few signs more that tell it from others.
    """
    letters = "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in name).lstrip(".")
    if letters == name and 0 < len(name.encode()) <= LONGEST_STEM:
        return name
    digest = hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()[:8]
    kept = letters.encode(errors="replace")[: LONGEST_STEM - len(digest) - 1].decode(errors="ignore")
    return f"{kept or 'variant'}-{digest}"
