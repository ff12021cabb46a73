"""The state of a training on disk after each epoch, from which an interrupted one goes on to the same numbers."""

import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from searchspace.formats.plain import one_line, parse_json
from trainer.checkpoint_file import TRAINING_KEY
from trainer.proxy_config import ProxyResult
from trainer.storage import open_folder

log = logging.getLogger(__name__)
KEPT = 2  # the newest may be damaged by what the machine went down of
VERSION = 1
NAMES = "epoch-*.safetensors"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A training after `results[-1].epoch` epochs: its tensors by name, the steps taken and all results so far."""

    tensors: Mapping[str, Tensor]
    steps: int
    results: tuple[ProxyResult, ...]


class Checkpoints:
    """The newest states of one training in a folder or below a URL, each a safetensors file that appears whole or not at all.

    `training` says in plain values what is trained: a folder of another training is refused.
    """

    def __init__(self, folder: Path | str, training: Mapping[str, Any]) -> None:
        self._folder = open_folder(folder, NAMES)
        self._training = json.loads(json.dumps({"version": VERSION, **training}))

    def newest(self) -> Checkpoint | None:
        """The newest state that can be read, damaged ones being said; ValueError names what another training differs in."""
        for name in self._names():
            try:
                with self._folder.reading(name) as path:
                    metadata, tensors = _metadata(path), load_file(path)
                results = tuple(ProxyResult(**result) for result in metadata["results"])
            except (SafetensorError, OSError, ValueError, TypeError) as error:
                log.warning("a damaged checkpoint is passed over: %s/%s: %s", self._folder, name, one_line(error))
                continue
            self._check(metadata["training"])
            return Checkpoint(tensors, metadata["steps"], results)
        return None

    def write(self, state: Checkpoint) -> None:
        """Keep `state` and the one before it; ValueError where the folder cannot be written."""
        facts = {"steps": state.steps, "results": [asdict(result) for result in state.results]}
        header = {TRAINING_KEY: json.dumps({"training": self._training, **facts}, allow_nan=False)}
        name = NAMES.replace("*", f"{state.results[-1].epoch:04}")
        try:
            with self._folder.writing(name) as temporary:
                save_file({key: tensor.detach().cpu().contiguous() for key, tensor in state.tensors.items()}, temporary, header)
        except SafetensorError as error:
            raise ValueError(f"cannot write {self._folder}/{name}: {one_line(error)}") from None
        self._prune(name)

    def _prune(self, newest: str) -> None:
        names = self._names()
        place = names.index(newest) if newest in names else 0  # a store that cannot be listed lists nothing
        try:
            for old in (*names[:place], *names[place + KEPT :]):  # later ones are damaged, or this training would have gone on from there
                self._folder.delete(old)
        except OSError as error:
            log.warning("older checkpoints stay in %s: %s", self._folder, one_line(error))

    def _names(self) -> list[str]:
        """The newest first; none where they cannot be listed, which is said."""
        try:
            return sorted(self._folder.names(), key=lambda name: (len(name), name), reverse=True)
        except OSError as error:
            log.warning("checkpoints cannot be listed: %s: %s", self._folder, one_line(error))
            return []

    def _check(self, stored: Mapping[str, Any]) -> None:
        if found := list(_differences(stored, self._training)):
            raise ValueError(
                f"{self._folder} holds the checkpoints of another training: {'; '.join(found)}; name another folder, or delete it"
            )


def _metadata(path: Path) -> dict[str, Any]:
    with safe_open(path, framework="pt") as file:
        metadata = parse_json((file.metadata() or {}).get(TRAINING_KEY, "null"))
    if not isinstance(metadata, dict) or set(metadata) != {"training", "steps", "results"}:
        raise ValueError("not a checkpoint of a training")
    return metadata


def _differences(stored: Any, wanted: Any, path: str = "") -> Iterator[str]:
    if isinstance(stored, Mapping) and isinstance(wanted, Mapping):
        for key in sorted({*stored, *wanted}):
            yield from _differences(stored.get(key), wanted.get(key), f"{path}.{key}" if path else key)
    elif stored != wanted:
        yield f"{path} is {stored!r} there, {wanted!r} here"
