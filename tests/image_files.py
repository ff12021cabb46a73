"""Collections of real images in the layouts that can be packed: crops of photographs, written file by file."""

import io
import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image
from pyarrow import parquet
from sklearn.datasets import load_sample_images

from trainer.dataset_spec import parse_dataset
from trainer.packing.pack import pack
from trainer.packing.packed import Packed, open_packed
from trainer.packing.sources import list_images

CLASSES = ("china", "flower", "lamp")  # the last one is the first, darkened


@cache
def photographs() -> tuple[NDArray[np.uint8], ...]:
    china, flower = load_sample_images().images
    return china, flower, china // 2


def crop(label: int, number: int, side: int = 60) -> Image.Image:
    """A square of a class's photograph; each number another one."""
    photograph = photographs()[label]
    top, left = (37 * number) % (photograph.shape[0] - side), (61 * number) % (photograph.shape[1] - side)
    return Image.fromarray(photograph[top : top + side, left : left + side])


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def write_classes(folder: Path, *, each: int, first: int = 0, classes: Sequence[str] = CLASSES) -> Path:
    """A folder for every class with `each` images, JPEG and PNG in turn, and a file that is none."""
    for label, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        (folder / name / "notes.txt").write_text("no image")
        for number in range(first, first + each):
            kind, suffix = (("JPEG", "jpg"), ("PNG", "png"))[number % 2]
            (folder / name / f"{number:03}.{suffix}").write_bytes(encoded(crop(label, number), kind))
    return folder


def write_cifar10(folder: Path, *, each: int = 20) -> Path:
    """The six files of the binary version, each with `each` images, labels in turn."""
    folder.mkdir(parents=True)
    for file, name in enumerate([*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin"]):
        records = [bytes([number % 10]) + cifar_pixels(file * each + number).tobytes() for number in range(each)]
        (folder / name).write_bytes(b"".join(records))
    (folder / "batches.meta.txt").write_text("".join(f"thing {label}\n" for label in range(10)) + "\n")
    return folder


def write_cifar100(folder: Path) -> Path:
    """Five images of every class for training, one for the test; the coarse label is the fine one's twentieth part."""
    folder.mkdir(parents=True)
    for name, numbers in (("train.bin", range(500)), ("test.bin", range(500, 600))):
        records = [bytes([number % 100 // 5, number % 100]) + cifar_pixels(number).tobytes() for number in numbers]
        (folder / name).write_bytes(b"".join(records))
    return folder


def cifar_pixels(number: int) -> NDArray[np.uint8]:
    return np.asarray(crop(number % 3, number, 32)).transpose(2, 0, 1)


def write_table(path: Path, images: Sequence[bytes | None], labels: Sequence[Any], **choices: Any) -> Path:
    """A Parquet file as Hugging Face writes it; choices: names, columns (image, label), plain (bytes alone), rows (of a row group)."""
    image, label = choices.get("columns", ("image", "label"))
    names: Sequence[str] | None = choices.get("names")
    values = list(images) if choices.get("plain") else [{"bytes": data, "path": f"{number}.png"} for number, data in enumerate(images)]
    table = pa.table({image: values, label: list(labels)})
    if names is not None:
        features: Mapping[str, Any] = {image: {"_type": "Image"}, label: {"names": list(names), "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(table, path, row_group_size=choices.get("rows", 7))
    return path


def packed(spec: str, out: Path, *, size: int = 32, workers: int = 1) -> Packed:
    """The packed images of a source, all of them checked."""
    pack(list_images(parse_dataset(spec)), out, size=size, workers=workers)
    return open_packed(out, verify=True)
