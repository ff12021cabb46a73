"""Sources of image files that are used directly: packed once for each image size, in a folder of the user's."""

import json
import logging
import os
from pathlib import Path

from filelock import FileLock

from trainer.dataset_spec import DatasetSpec
from trainer.packing.pack import listing_hash, pack
from trainer.packing.packed import VERSION, Packed, open_packed, sha256
from trainer.packing.sources import list_images

log = logging.getLogger(__name__)
FOLDER_VARIABLE, DEFAULT_FOLDER = "NAS_DATA_CACHE", "~/.cache/nas/data"


def opened(spec: DatasetSpec, image_size: int) -> Packed:
    """The packed images of a data set in files: its own, or those of the cache; ValueError when they cannot be made or are damaged."""
    assert spec.path is not None, "only data sets in files are packed"
    return open_packed(Path(spec.path).expanduser() if spec.name == "packed" else cached(spec, image_size))


def cached(spec: DatasetSpec, image_size: int) -> Path:
    """The folder with the packed images of a source, which is packed first where its files, or the size, are new."""
    listing = list_images(spec)
    assert spec.path is not None
    where = os.path.realpath(Path(spec.path).expanduser())
    key = sha256(json.dumps([VERSION, spec.name, where, image_size, listing_hash(listing)]).encode())[:24]
    folder = Path(os.environ.get(FOLDER_VARIABLE) or DEFAULT_FOLDER).expanduser() / f"{spec.name}-{image_size}-{key}"
    if folder.exists():
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_suffix(".lock")):
            if not folder.exists():  # another process may have made it meanwhile
                log.warning(
                    "decoding %d images of %s into %s, once for %d px; `nas data pack` does it in several processes",
                    *(len(listing), spec, folder, image_size),
                )
                damaged = pack(listing, folder, size=image_size).damaged
                if damaged:
                    log.warning("damaged and left out: %d, such as %s: %s", len(damaged), damaged[0].name, damaged[0].reason)
    except OSError as error:
        raise ValueError(f"cannot write {folder}: {error.strerror or error}; set {FOLDER_VARIABLE} to another folder") from None
    return folder
