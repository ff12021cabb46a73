"""A variant as files to take home: the text formats as bytes, and the commands that write what needs PyTorch."""

import io
import json
import shlex
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from searchspace.formats import FORMATS, VariantDocument, format_named

CARRIERS: Mapping[str, str] = {
    "huggingface": "configuration and weights (safetensors) as the published models have them",
    "torch": "a program for PyTorch alone, without this project",
    "onnx": "a program for ONNX runtimes",
}
MIME: Mapping[str, str] = {".yaml": "application/yaml", ".json": "application/json", ".py": "text/x-python", ".zip": "application/zip"}
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the same bytes for the same variant: the first moment that a zip file can tell


@dataclass(frozen=True, slots=True)
class Download:
    """A file by its name and bytes."""

    name: str
    data: bytes

    @property
    def mime(self) -> str:
        """Its media type."""
        return next(mime for suffix, mime in MIME.items() if self.name.endswith(suffix))


def download(document: VariantDocument, format: str) -> Download:
    """The variant in a text format, a folder of several files as a zip; ValueError names a switch that the format cannot express."""
    known = format_named(format)
    texts, entry = known.write(document), known.entry(document.name)
    if entry in texts:
        return Download(entry, texts[entry].encode())
    return Download(f"{entry}.zip", _zipped(texts))


@lru_cache(maxsize=32)
def every_download(document_json: str) -> Mapping[str, Download | str]:
    """Each text format's file of a document given as its JSON, or why the format has none; kept, as a live page asks again and again."""
    document = VariantDocument.from_dict(json.loads(document_json))
    return {name: _download_or_reason(document, name) for name in FORMATS}


def export_command(study: str, number: int, format: str, *, recorded: bool = True) -> str:
    """The command that writes a trial's trained network; without recorded weights it leaves room for the file of them."""
    weights = "" if recorded else " --weights FILE"
    given = f"--trial {number} --format {format}{weights} --out export"
    name = shlex.quote(study)
    return f"nas export {given} -- {name}" if study.startswith("-") else f"nas export {name} {given}"


def _download_or_reason(document: VariantDocument, format: str) -> Download | str:
    try:
        return download(document, format)
    except ValueError as error:
        return str(error)


def _zipped(texts: Mapping[str, str]) -> bytes:
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, text in texts.items():
            archive.writestr(zipfile.ZipInfo(path, _EPOCH), text)
    return whole.getvalue()
