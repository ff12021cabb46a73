"""`nas data`: image files packed from the command line, and what is said of them."""

import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import typer
from image_files import write_cifar10, write_classes

from nas.cli.data import data_app
from trainer.data import load_dataset
from trainer.packing.packed import open_packed


def run(*arguments: str) -> None:
    """Run `nas data` in this process; bad input is a ValueError, which `nas` prints as one line."""
    app = typer.Typer()
    app.add_typer(data_app, name="data")
    assert app(["data", *arguments], standalone_mode=False) in (None, 0)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = write_classes(tmp_path / "photos", each=6)
    (folder / "lamp" / "001.png").write_bytes(b"nothing")
    return folder


def test_packed_images_are_described_and_trained_on(tmp_path: Path, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "packed"
    run("pack", f"imagefolder:{photos}", str(out), "--size", "48", "--workers", "2")
    printed = capsys.readouterr()
    fingerprint = load_dataset(f"packed:{out}", seed=0).fingerprint
    assert fingerprint is not None
    for text in (
        "17 of 48 × 48 pixels, 0 of them enlarged",
        "3: china, flower, lamp",
        "17 images, 5 to 6 of a class",
        "cut 60/20/20 from every class by seed",
        f"imagefolder:{photos}",
        "1 left out: lamp/001.png (no image in a known format)",
        fingerprint,
        "all images",
    ):
        assert re.sub(r"\s", "", text) in re.sub(r"\s", "", printed.out)
    assert printed.err.splitlines()[0] == "decoded 0 of 18 images"
    assert printed.err.splitlines()[-1] == "decoded 18 of 18 images"


def test_programs_get_the_same_from_json_and_csv(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "packed"
    run("pack", f"cifar10:{write_cifar10(tmp_path / 'cifar')}", str(out), "--size", "32", "--workers", "1", "--format", "json")
    packed = json.loads(capsys.readouterr().out)
    assert packed["classes"]["thing 3"] == {"train": 10, "validation": 0, "test": 2}
    assert (packed["images"], packed["size"], packed["damaged"], packed["checked"]) == (120, 32, [], "all images")
    assert packed["fingerprint"] == open_packed(out).meta.fingerprint
    run("info", str(out), "--verify", "--format", "json")
    assert json.loads(capsys.readouterr().out) == packed
    run("info", str(out), "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert {row["class"]: {split: int(row[split]) for split in ("train", "validation", "test")} for row in rows} == packed["classes"]


def test_what_a_sample_misses_verify_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("trainer.packing.pack.CHUNK_IMAGES", 10)
    out = tmp_path / "packed"
    run("pack", f"cifar10:{write_cifar10(tmp_path / 'cifar')}", str(out), "--size", "32", "--workers", "1")
    for module in ("trainer.packing.packed", "nas.commands.data"):
        monkeypatch.setattr(f"{module}.CHECKED_BYTES", 20 * 3072)
    images = np.load(out / "images.npy", mmap_mode="r+")
    images[25] ^= 255
    images.flush()
    run("info", str(out))
    assert "a sample of the images; --verify reads them all" in capsys.readouterr().out
    with pytest.raises(ValueError, match="images 20 to 29 are not what was packed"):
        run("info", str(out), "--verify")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pack", "imagefolder:nowhere", "out"], "no folder at nowhere"),
        (["pack", "digits", "out"], "digits is no source of image files"),
        (["pack", "imagefolder", "out"], "its path is missing; write imagefolder:PATH"),
        (["pack", "imagefolder:photos", "photos"], "photos exists"),
        (["pack", "imagefolder:photos", "out", "--size", "16"], "size must lie from 32 to 4096 pixels, got 16"),
        (["info", "photos"], "no packed images at photos"),
    ],
)
def test_bad_input_is_refused_and_writes_nothing(
    photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(photos.parent)
    with pytest.raises(ValueError, match=message) as refused:
        run(*arguments)
    assert "\n" not in str(refused.value)
    assert capsys.readouterr().out == ""
    assert [path.name for path in photos.parent.iterdir()] == ["photos"]


def test_every_command_has_help_with_an_example_and_takes_a_store() -> None:
    commands = typer.main.get_command(data_app).commands  # type: ignore[attr-defined]
    assert set(commands) == {"pack", "info"}
    for name, command in commands.items():
        assert f"Example: nas data {name}" in command.help
        assert {"--store", "--format"} <= {flag for parameter in command.params for flag in parameter.opts}


def test_neither_help_nor_packing_loads_torch(tmp_path: Path, photos: Path) -> None:
    command = "import sys; from nas.cli.data import data_app; data_app(sys.argv[1:], standalone_mode=False)"
    code = f"{command}; print({{'torch', 'ray'}} & {{*sys.modules}})"
    for arguments in (["pack", f"imagefolder:{photos}", str(tmp_path / "out"), "--workers", "1"], ["info", str(tmp_path / "out")]):
        done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[-1] == "set()"
    light = "import sys, nas.cli.data; print({'torch', 'PIL', 'rich', 'pyarrow'} & {*sys.modules})"
    assert subprocess.run([sys.executable, "-c", light], capture_output=True, text=True, check=True).stdout == "set()\n"


def test_ctrl_c_ends_in_one_line_and_the_same_command_goes_on(tmp_path: Path) -> None:
    photos = write_classes(tmp_path / "photos", each=120)
    code = (
        "import sys, trainer.packing.pack; trainer.packing.pack.CHUNK_IMAGES = 8; from nas.cli.data import data_app; data_app(sys.argv[1:])"
    )
    command = [sys.executable, "-c", code, "pack", f"imagefolder:{photos}", str(tmp_path / "out"), "--size", "256", "--workers", "2"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stderr is not None
    try:
        next(line for line in process.stderr if "decoded 40" in line)
        os.killpg(process.pid, signal.SIGINT)  # reaches the whole group, as from a terminal
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, out) == (130, "")
    assert err.splitlines()[-1] == "nas: stopped; the same command goes on from here"
    assert "Traceback" not in err
    assert not (tmp_path / "out").exists()
    again = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert int(re.findall(r"decoded (\d+) of", again.stderr)[0]) >= 40
    assert len(open_packed(tmp_path / "out", verify=True).labels) == 360


def test_ctrl_c_while_processes_start_ends_in_the_same_line_alone(tmp_path: Path) -> None:
    photos, started = write_classes(tmp_path / "photos", each=6), tmp_path / "started"
    script = tmp_path / "pack.py"
    script.write_text(f"""
import contextlib, os, signal, sys
if __name__ == "__main__":
    import trainer.packing.pack
    from nas.cli.data import data_app
    trainer.packing.pack.CHUNK_IMAGES = 2
    data_app(sys.argv[1:])
else:  # a decoding process, which imports what began it before anything of its own runs
    with contextlib.suppress(FileExistsError):  # the first of them
        os.mkdir({str(started)!r})
        os.killpg(0, signal.SIGINT)
""")
    command = [sys.executable, str(script), "pack", f"imagefolder:{photos}", str(tmp_path / "out"), "--workers", "2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, start_new_session=True)
    assert (done.returncode, done.stdout, started.exists()) == (130, "", True)
    assert done.stderr.splitlines() == ["decoded 0 of 18 images", "nas: stopped; the same command goes on from here"]
