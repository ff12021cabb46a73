"""The state of a training on disk after each epoch, from which an interrupted one goes on to the same numbers."""

import json
import logging
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from searchspace.formats.plain import one_line, parse_json
from trainer.proxy_config import ProxyResult
from trainer.whole_file import replacing

log = logging.getLogger(__name__)
KEPT = 2  # the newest may be damaged by what the machine went down of
VERSION = 1
METADATA_KEY = "nas-training"
NAMES = "epoch-*.safetensors"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A training after `results[-1].epoch` epochs: its tensors by name, the steps taken and all results so far."""

    tensors: Mapping[str, Tensor]
    steps: int
    results: tuple[ProxyResult, ...]


class Checkpoints:
    """The newest states of one training in a folder, each a safetensors file that appears whole or not at all.

    `training` says in plain values what is trained: a folder of another training is refused.
    """

    def __init__(self, folder: Path, training: Mapping[str, Any]) -> None:
        self._folder = folder
        self._training = json.loads(json.dumps({"version": VERSION, **training}))

    def newest(self) -> Checkpoint | None:
        """The newest state that can be read, damaged ones being said; ValueError names what another training differs in."""
        for path in self._files():
            try:
                metadata, tensors = _metadata(path), load_file(path)
                results = tuple(ProxyResult(**result) for result in metadata["results"])
            except (SafetensorError, OSError, ValueError, TypeError) as error:
                log.warning("a damaged checkpoint is passed over: %s: %s", path, one_line(error))
                continue
            self._check(metadata["training"])
            return Checkpoint(tensors, metadata["steps"], results)
        return None

    def write(self, state: Checkpoint) -> None:
        """Keep `state` and the one before it; ValueError where the folder cannot be written."""
        facts = {"steps": state.steps, "results": [asdict(result) for result in state.results]}
        header = {METADATA_KEY: json.dumps({"training": self._training, **facts}, allow_nan=False)}
        path = self._folder / NAMES.replace("*", f"{state.results[-1].epoch:04}")
        try:
            with replacing(path) as temporary:
                save_file({name: tensor.detach().cpu().contiguous() for name, tensor in state.tensors.items()}, temporary, header)
        except SafetensorError as error:
            raise ValueError(f"cannot write {path}: {one_line(error)}") from None
        files = self._files()
        place = files.index(path)
        for old in (*files[:place], *files[place + KEPT :]):  # later ones are damaged, or this training would have gone on from there
            old.unlink(missing_ok=True)
        for unfinished in self._folder.glob(f".{NAMES}.*"):  # of a process that was killed while it wrote
            shutil.rmtree(unfinished, ignore_errors=True)

    def _files(self) -> list[Path]:
        return sorted(self._folder.glob(NAMES), key=lambda path: (len(path.name), path.name), reverse=True)

    def _check(self, stored: Mapping[str, Any]) -> None:
        if found := list(_differences(stored, self._training)):
            raise ValueError(
                f"{self._folder} holds the checkpoints of another training: {'; '.join(found)}; name another folder, or delete it"
            )


def _metadata(path: Path) -> dict[str, Any]:
    with safe_open(path, framework="pt") as file:
        metadata = parse_json((file.metadata() or {}).get(METADATA_KEY, "null"))
    if not isinstance(metadata, dict) or set(metadata) != {"training", "steps", "results"}:
        raise ValueError("not a checkpoint of a training")
    return metadata


def _differences(stored: Any, wanted: Any, path: str = "") -> Iterator[str]:
    if isinstance(stored, Mapping) and isinstance(wanted, Mapping):
        for key in sorted({*stored, *wanted}):
            yield from _differences(stored.get(key), wanted.get(key), f"{path}.{key}" if path else key)
    elif stored != wanted:
        yield f"{path} is {stored!r} there, {wanted!r} here"
