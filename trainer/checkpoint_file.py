"""Files of named tensors, read without running anything in them: safetensors, and what `torch.save` writes of a state dict."""

import json
import re
import shlex
import warnings
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from searchspace.formats.plain import check_plain, one_line, parse_json
from searchspace.model_config import ModelConfig
from trainer.whole_file import replacing

_Read = TypeVar("_Read")

SUFFIX = ".safetensors"
METADATA_KEY = "nas-weights"
TRAINING_KEY = "nas-training"  # in the files of trainer.checkpoints, which hold an optimizer's state too
STATE_DICTS = ("model", "state_dict", "module")  # where a training's file keeps the network; the first that is there wins
CONVERSION = (
    "import sys, torch, safetensors.torch as st; plain = lambda x: getattr(x, \"state_dict\", lambda: x)(); "
    "x = plain(torch.load(sys.argv[1], \"cpu\", weights_only=False)); "
    "x = plain(next((x[key] for key in (\"model\", \"state_dict\", \"module\") if key in x), x)); "
    "st.save_file({name: value.clone().contiguous() for name, value in x.items() if hasattr(value, \"clone\")}, sys.argv[2])"
)  # fmt: skip
_REFUSALS = {r"GLOBAL (\S{1,100})": "holds more than tensors ({})", "Unsupported operand 149": "is a pickle of protocol 4 or later"}


@dataclass(frozen=True, slots=True)
class CheckpointFile:
    """The state dict of a file by the names in it, the keys beside it, and our own metadata where there is any."""

    values: Mapping[str, Any]
    beside: tuple[str, ...] = ()
    metadata: Mapping[str, Any] | None = field(default=None, kw_only=True)


def read_file(path: Path) -> CheckpointFile:
    """The tensors of a file, told apart by its first bytes and mapped into memory where its format allows.

    ValueError in one line names the file and what is wrong; for a pickle that holds more than tensors, also the `CONVERSION` to run once.
    """
    return _guarded(path, _READERS[_kind(path)])


def describe(path: str | PathLike[str]) -> Mapping[str, Any] | None:
    """What `trainer.weights.save` wrote about the weights (`model`, `num_classes`, `provenance`), from the file's header alone.

    None for files of others; ValueError for damaged ones.
    """
    file = Path(path)
    return _guarded(file, _metadata) if _kind(file) == "safetensors" else None


def check_name(path: Path) -> None:
    """ValueError for a file that would not be known for what it is."""
    if path.suffix != SUFFIX:
        raise ValueError(f"weights are saved in a file named *{SUFFIX}, got {path}")


def write_file(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> None:
    """A safetensors file that appears whole or not at all; ValueError for metadata that is not plain and a path that cannot be written."""
    check_name(path)
    check_plain(metadata, "metadata")
    header = {"format": "pt", METADATA_KEY: json.dumps(metadata, allow_nan=False)}
    try:
        with replacing(path) as temporary:
            save_file({name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, temporary, header)
            temporary.chmod(0o644)  # the library leaves it to its owner alone
    except SafetensorError as error:
        raise ValueError(f"cannot write {path}: {one_line(error)}") from None


def _kind(path: Path) -> str:
    try:
        if not path.is_file():
            raise ValueError(f"{path}: {'not a file' if path.exists() else 'no such file'}")
        with path.open("rb") as file:
            start = file.read(9)
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror or error}") from None
    kind = _kind_of(start)
    if kind is None:
        raise ValueError(f"{path}: {'holds neither safetensors nor what torch.save writes' if start else 'empty'}")
    if path.suffix == SUFFIX and kind != "safetensors":
        raise ValueError(f"{path}: is named {SUFFIX} but holds a pickle of torch.save; name it .pth if you mean to load it")
    return kind


def _kind_of(start: bytes) -> str | None:
    if start.startswith(b"PK\x03\x04"):
        return "zip"
    if len(start) > 1 and start[0] == 0x80 and 2 <= start[1] <= 5 and start[8:9] != b"{":
        return "pickle"
    return "safetensors" if start[8:9] == b"{" else None


def _guarded(path: Path, read: Callable[[Path], _Read]) -> _Read:
    try:
        return read(path)
    except Exception as error:  # a damaged pickle can raise anything
        raise ValueError(f"{path}: {_reason(path, error)}") from None


def _reason(path: Path, error: Exception) -> str:
    for pattern, refusal in _REFUSALS.items():
        if found := re.search(pattern, str(error)):
            command = shlex.join(["python", "-c", CONVERSION, str(path), str(path.with_suffix(SUFFIX))])
            return f"{refusal.format(*found.groups())} and is not loaded; if you trust its origin, convert it once: {command}"
    if isinstance(error, UnpicklingError):  # its text recommends to load the file without any protection
        return "damaged: not a pickle of tensors"
    return one_line(error) if type(error) is ValueError else f"damaged: {one_line(error)}"


def _metadata(path: Path) -> Mapping[str, Any] | None:
    with safe_open(path, framework="pt") as file:
        said = file.metadata() or {}
        if TRAINING_KEY in said:
            raise ValueError("it is the state of a training under way; the weights are written beside its folder when the training ends")
        text = said.get(METADATA_KEY)
    if text is None:
        return None
    metadata = parse_json(text)
    check_plain(metadata, "metadata")
    if not isinstance(metadata, Mapping) or set(metadata) != {"model", "num_classes", "provenance"}:
        raise ValueError("its metadata must hold model, num_classes and provenance, and nothing else")
    if not isinstance(metadata["provenance"], Mapping):
        raise ValueError("its metadata must hold a mapping as provenance")
    if not isinstance(metadata["model"], Mapping) or type(metadata["num_classes"]) is not int:
        raise ValueError("its metadata must hold a model configuration and a whole number of classes")
    ModelConfig.from_dict(metadata["model"])
    return metadata


def _read_safetensors(path: Path) -> CheckpointFile:
    return CheckpointFile(load_file(path), metadata=_metadata(path))


def _read_zip(path: Path) -> CheckpointFile:
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
    # torch.save never compresses: whatever grows while it is read is none of its files.
    if any(member.compress_type != zipfile.ZIP_STORED for member in members) or sum(m.file_size for m in members) > path.stat().st_size:
        raise ValueError("not a file of torch.save: an archive that grows when it is unpacked")
    if not any(member.filename.endswith("/data.pkl") for member in members) or any(
        member.filename.endswith("/constants.pkl") for member in members
    ):
        raise ValueError("not a state dict of torch.save: an archive of another kind, or a saved program")
    return _load_pickle(path, mmap=True)


def _load_pickle(path: Path, *, mmap: bool = False) -> CheckpointFile:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Detected pickle protocol")  # what cannot be read of it is an error all the same
        return _state_dict(torch.load(path, map_location="cpu", weights_only=True, mmap=mmap))


def _state_dict(loaded: Any) -> CheckpointFile:
    if not isinstance(loaded, Mapping):
        raise ValueError(f"holds a {type(loaded).__name__}, not a state dict")
    for key in STATE_DICTS:
        if isinstance(loaded.get(key), Mapping):
            return CheckpointFile(_named(loaded[key]), tuple(str(other) for other in loaded if other != key))
    if not any(isinstance(value, Tensor) for value in loaded.values()):
        raise ValueError(f"holds no state dict: none under {', '.join(STATE_DICTS)}, and no tensors beside {[str(key) for key in loaded]}")
    return CheckpointFile(_named(loaded))


def _named(values: Mapping[Any, Any]) -> Mapping[str, Any]:
    for name in values:
        if not isinstance(name, str):
            raise ValueError(f"names in a state dict must be text, got {name!r}")
    return values


_READERS: Mapping[str, Callable[[Path], CheckpointFile]] = {"safetensors": _read_safetensors, "zip": _read_zip, "pickle": _load_pickle}
