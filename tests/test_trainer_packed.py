"""Packed images on disk: what is noticed when they are opened."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from image_files import write_classes

import trainer.packing.pack
import trainer.packing.packed
from trainer.dataset_spec import parse_dataset
from trainer.packing.pack import pack
from trainer.packing.packed import Meta, open_packed
from trainer.packing.sources import list_images


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("finished")
    write_classes(root / "photos", each=8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer.packing.pack, "CHUNK_IMAGES", 2)
        pack(list_images(parse_dataset(f"imagefolder:{root / 'photos'}")), root / "out", size=32)
    return root / "out"


@given(data=st.data(), name=st.sampled_from(["images.npy", "labels.npy", "splits.npy"]))
def test_a_changed_byte_of_an_array_is_noticed(finished: Path, data: st.DataObject, name: str) -> None:
    path = finished / name
    whole = path.read_bytes()
    at = data.draw(st.integers(128, len(whole) - 1))
    try:
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(ValueError, match=f"{name} is damaged: .*; delete the folder and pack the images again"):
            open_packed(finished)
    finally:
        path.write_bytes(whole)


@pytest.mark.parametrize("name", ["images.npy", "labels.npy", "splits.npy"])
@pytest.mark.parametrize("change", ["shorter", "longer", "gone", "exchanged"])
def test_a_file_of_another_size_is_noticed(finished: Path, tmp_path: Path, name: str, change: str) -> None:
    copy = shutil.copytree(finished, tmp_path / "copy")
    path = copy / name
    match change:
        case "shorter":
            path.write_bytes(path.read_bytes()[:-5])
        case "longer":
            path.write_bytes(path.read_bytes() + b"more")
        case "gone":
            path.unlink()
        case "exchanged":
            np.save(path, np.zeros((24, 3), np.float32))
    with pytest.raises(ValueError, match=f"{name} is damaged: it "):
        open_packed(copy)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda meta: {**meta, "version": 2}, "it has version 2 of the format, this program reads 1; pack the images again"),
        (lambda meta: {**meta, "class_names": ["a", "b", "c"]}, "its fingerprint is not that of its content"),
        (lambda meta: {**meta, "fingerprint": "0" * 64}, "its fingerprint is not that of its content"),
        (lambda meta: {**meta, "size": 16}, "its fingerprint is not that of its content"),
        (lambda meta: {name: value for name, value in meta.items() if name != "chunks"}, "incomplete or edited"),
        (lambda meta: {"chunks": []}, "not the description of packed images"),
        (lambda meta: [], "not the description of packed images"),
    ],
)
def test_an_edited_description_is_noticed(
    finished: Path, tmp_path: Path, edit: Callable[[dict[str, object]], object], message: str
) -> None:
    copy = shutil.copytree(finished, tmp_path / "copy")
    (copy / "meta.json").write_text(json.dumps(edit(json.loads((copy / "meta.json").read_text()))))
    with pytest.raises(ValueError, match=message):
        open_packed(copy)
    (copy / "meta.json").write_text("{")
    with pytest.raises(ValueError, match=r"meta.json: it is not JSON"):
        open_packed(copy)
    (copy / "meta.json").unlink()
    with pytest.raises(ValueError, match=r"no packed images at .*`nas data pack` makes them"):
        open_packed(copy)


def test_a_large_folder_is_checked_in_part_and_wholly_on_demand(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer.packing.packed, "CHECKED_BYTES", 4 * 2 * 3 * 32 * 32)  # four chunks of twelve
    copy = shutil.copytree(finished, tmp_path / "copy")
    whole = (copy / "images.npy").read_bytes()
    noticed = []
    for chunk in range(12):
        at = 128 + chunk * 2 * 3 * 32 * 32
        (copy / "images.npy").write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        try:
            open_packed(copy)
        except ValueError:
            noticed.append(chunk)
        with pytest.raises(ValueError, match=f"images {2 * chunk} to {2 * chunk + 1} are not what was packed"):
            open_packed(copy, verify=True)
    assert noticed == [0, 4, 7, 11]


def test_images_are_mapped_not_read(finished: Path) -> None:
    images = open_packed(finished).images
    assert isinstance(images, np.memmap)
    assert not images.flags.writeable


def test_a_description_reads_back(finished: Path) -> None:
    text = (finished / "meta.json").read_text()
    assert Meta.from_json(text).to_json() == text
