"""Packing image files: what is left out, what stops it, and what it survives."""

import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from image_files import crop, encoded, packed, write_classes, write_table

import trainer.packing.pack
import trainer.packing.packed
from trainer.dataset_spec import parse_dataset
from trainer.packing.pack import pack
from trainer.packing.sources import list_images


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return write_classes(tmp_path / "photos", each=8)


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer.packing.pack, "CHUNK_IMAGES", 5)


def test_damaged_images_are_left_out_and_named(tmp_path: Path, photos: Path, small_chunks: None) -> None:
    whole = packed(f"imagefolder:{photos}", tmp_path / "whole")
    cut = photos / "china" / "003.png"
    cut.write_bytes(cut.read_bytes()[:2000])
    (photos / "flower" / "002.jpg").write_bytes(b"not an image")
    jpeg = photos / "lamp" / "004.jpg"
    jpeg.write_bytes(jpeg.read_bytes()[:-300])
    data = packed(f"imagefolder:{photos}", tmp_path / "out", workers=2)
    assert [damage.name for damage in data.meta.damaged] == ["china/003.png", "flower/002.jpg", "lamp/004.jpg"]
    assert data.meta.damaged[1].reason == "no image in a known format"
    assert "truncated" in data.meta.damaged[2].reason
    kept = [number for number in range(24) if number not in (3, 10, 20)]
    np.testing.assert_array_equal(data.images, whole.images[kept])
    np.testing.assert_array_equal(data.labels, whole.labels[kept])


def test_links_that_lead_nowhere_and_names_that_are_no_text_are_damage_too(tmp_path: Path, photos: Path) -> None:
    (photos / "lamp" / "link.png").symlink_to(tmp_path / "nowhere.png")
    (photos / "lamp" / os.fsdecode(b"\xff.png")).write_bytes(b"nothing")
    data = packed(f"imagefolder:{photos}", tmp_path / "out")
    assert [(one.name, one.reason) for one in data.meta.damaged] == [
        ("lamp/link.png", "No such file or directory"),
        ("lamp/\\udcff.png", "no image in a known format"),
    ]


def test_a_file_that_goes_away_meanwhile_stops_the_packing_which_goes_on_when_it_is_back(tmp_path: Path, photos: Path) -> None:
    listing = list_images(parse_dataset(f"imagefolder:{photos}"))
    photos.rename(tmp_path / "away")
    with pytest.raises(ValueError, match=r"china/000.jpg has gone from .*photos while it was packed"):
        pack(listing, tmp_path / "out", size=32)
    (tmp_path / "away").rename(photos)
    assert len(packed(f"imagefolder:{photos}", tmp_path / "out").labels) == 24


def test_want_of_memory_stops_the_packing_and_is_no_damage(tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def starved(*_: object) -> None:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr("trainer.packing.decoding._rgb", starved)
        with pytest.raises(ValueError, match=r"too little memory to decode imagefolder:.*; what is done stays in .*out\.partial"):
            packed(f"imagefolder:{photos}", tmp_path / "out")
    assert len(packed(f"imagefolder:{photos}", tmp_path / "out").labels) == 24


def test_a_table_s_missing_image_is_named_by_its_row(tmp_path: Path) -> None:
    images = [None if number == 9 else encoded(crop(number % 2, number)) for number in range(20)]
    data = packed(f"parquet:{write_table(tmp_path / 'one.parquet', images, [0, 1] * 10)}", tmp_path / "out")
    assert [damage.name for damage in data.meta.damaged] == ["one.parquet:9"]


KILLED = """
import os, signal, sys
from pathlib import Path
import trainer.packing.pack
from trainer.dataset_spec import parse_dataset
from trainer.packing.sources import list_images

trainer.packing.pack.CHUNK_IMAGES = 5

def show(seen, total):
    if seen >= 15:
        os.kill(os.getpid(), signal.SIGKILL)

trainer.packing.pack.pack(list_images(parse_dataset(sys.argv[1])), Path(sys.argv[2]), size=32, workers=int(sys.argv[3]), on_progress=show)
"""


@pytest.mark.parametrize("workers", [1, 2])
def test_a_killed_packing_goes_on_and_ends_in_the_same_bytes(tmp_path: Path, photos: Path, small_chunks: None, workers: int) -> None:
    spec, out = f"imagefolder:{photos}", tmp_path / "out"
    pack(list_images(parse_dataset(spec)), tmp_path / "at once", size=32)
    process = subprocess.Popen([sys.executable, "-c", KILLED, spec, str(out), str(workers)], start_new_session=True)
    assert process.wait(60) == -signal.SIGKILL
    wait_for_the_end_of_group(process.pid)
    assert not out.exists()
    with (tmp_path / "out.partial" / "journal").open("ab") as journal:
        journal.write(b'{"chunk": {"ima')  # as if it had been killed in the middle of a line, and of the pixels before it
    with (tmp_path / "out.partial" / "whole" / "images.npy").open("ab") as images:
        images.write(b"half a chunk")
    seen: list[int] = []
    pack(list_images(parse_dataset(spec)), out, size=32, on_progress=lambda done, _: seen.append(done))
    assert seen == [15, 20, 24]
    assert contents(out) == contents(tmp_path / "at once")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["at once", "out", "photos"]


def wait_for_the_end_of_group(group: int) -> None:
    for _ in range(300):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    raise AssertionError("the killed process has left others behind")


@pytest.mark.parametrize("change", ["file", "size", "lost pixels", "spoilt journal"])
def test_what_was_begun_is_begun_again_where_something_changed(tmp_path: Path, photos: Path, small_chunks: None, change: str) -> None:
    class Stopped(Exception):
        pass

    def stop(seen: int, _total: int) -> None:
        if seen >= 10:
            raise Stopped

    spec, out = f"imagefolder:{photos}", tmp_path / "out"
    with pytest.raises(Stopped):
        pack(list_images(parse_dataset(spec)), out, size=64 if change == "size" else 32, on_progress=stop)
    if change == "file":
        (photos / "china" / "000.jpg").write_bytes(encoded(crop(0, 99), "JPEG"))
    if change == "lost pixels":
        images = tmp_path / "out.partial" / "whole" / "images.npy"
        os.truncate(images, images.stat().st_size - 1)
    if change == "spoilt journal":
        journal = tmp_path / "out.partial" / "journal"
        first, second, _ = journal.read_bytes().splitlines(keepends=True)
        journal.write_bytes(first + second + bytes(40) + b"\n")
    seen: list[int] = []
    pack(list_images(parse_dataset(spec)), out, size=32, on_progress=lambda done, _: seen.append(done))
    assert seen[0] == (0 if change in ("file", "size") else 5)
    assert contents(out) == contents_of_fresh(spec, tmp_path / "fresh")


def contents_of_fresh(spec: str, out: Path) -> dict[str, bytes]:
    pack(list_images(parse_dataset(spec)), out, size=32)
    return contents(out)


def test_processes_and_the_source_s_place_change_no_byte_of_the_data(tmp_path: Path, photos: Path, small_chunks: None) -> None:
    first = packed(f"imagefolder:{photos}", tmp_path / "one")
    photos.rename(tmp_path / "moved, a=b")
    second = packed(f"imagefolder:{tmp_path / 'moved, a=b'}", tmp_path / "two", workers=3)
    assert first.meta.fingerprint == second.meta.fingerprint
    assert (tmp_path / "one" / "images.npy").read_bytes() == (tmp_path / "two" / "images.npy").read_bytes()


def test_every_part_of_the_content_changes_the_fingerprint(tmp_path: Path, photos: Path) -> None:
    def fingerprint(name: str, size: int = 32) -> str:
        return packed(f"imagefolder:{photos}", tmp_path / name, size=size).meta.fingerprint

    seen = [fingerprint("first"), fingerprint("size", 48)]
    (photos / "china" / "000.jpg").write_bytes(encoded(crop(0, 99), "JPEG"))
    seen.append(fingerprint("pixels"))
    (photos / "lamp").rename(photos / "light")
    seen.append(fingerprint("names"))
    (photos / "light" / "007.png").rename(photos / "flower" / "008.png")
    seen.append(fingerprint("labels"))
    shutil.copytree(photos, tmp_path / "split" / "train")
    write_classes(tmp_path / "split" / "val", each=1, classes=("china", "flower", "light"))
    photos = tmp_path / "split"
    seen.append(fingerprint("splits"))
    assert len(set(seen)) == len(seen)


def test_two_processes_cannot_pack_into_one_folder(tmp_path: Path, photos: Path) -> None:
    from filelock import FileLock

    (tmp_path / "out.partial").mkdir()
    with FileLock(tmp_path / "out.partial" / "lock"), pytest.raises(ValueError, match="another process is packing into"):
        packed(f"imagefolder:{photos}", tmp_path / "out")


def test_a_decoding_process_that_dies_ends_the_packing_in_one_line() -> None:
    from trainer.packing.processes import in_order

    with pytest.raises(ValueError, match="a process that decodes images was ended"):
        list(in_order([partial(os._exit, 9)], 2))
    assert list(in_order([int, float, str], 2)) == [0, 0.0, ""]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": 31}, "size must lie from 32 to 4096 pixels, got 31"),
        ({"size": 5000}, "size must lie from 32 to 4096 pixels, got 5000"),
        ({"workers": 0}, "workers must be at least 1, got 0"),
    ],
)
def test_unsuitable_numbers_are_refused(tmp_path: Path, photos: Path, arguments: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        packed(f"imagefolder:{photos}", tmp_path / "out", **arguments)
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


def test_what_exists_is_never_overwritten(tmp_path: Path, photos: Path) -> None:
    (tmp_path / "out").write_text("precious")
    with pytest.raises(ValueError, match="out exists; name a folder that does not"):
        packed(f"imagefolder:{photos}", tmp_path / "out")
    assert (tmp_path / "out").read_text() == "precious"


def test_room_on_the_disk_is_checked_before_anything_is_written(tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=10**6))
    with pytest.raises(ValueError, match=r"too little room in .*: 24 images at 32 px need 0.00112 GB more, 0.001 GB are free"):
        packed(f"imagefolder:{photos}", tmp_path / "deep" / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


@pytest.mark.parametrize("spec", ["digits", "shapes:100", "packed:x"])
def test_only_image_files_can_be_packed(tmp_path: Path, spec: str) -> None:
    with pytest.raises(ValueError, match="is no source of image files; those are imagefolder, cifar10, cifar100, parquet"):
        packed(spec, tmp_path / "out")
