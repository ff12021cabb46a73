"""Files of weights as files: what they say of themselves, how they appear, and that no damaged or hostile one does anything."""

import argparse
import os
import subprocess
import sys
import zipfile
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file
from weight_files import copied, network, other, refused, same, small

from searchspace.model_config import ModelConfig
from trainer.checkpoint_file import METADATA_KEY
from trainer.internimage import InternImage
from trainer.weights import CONVERSION, describe, load, read, save


def test_a_file_says_what_its_weights_are(tmp_path: Path) -> None:
    config = small("g", remove_center=True)
    provenance = {"study": "s", "trial": 3, "fidelity": {"epochs": 2.0, "divisor": None}}
    model = network(config, classes=12)
    path = save(model, tmp_path / "w.safetensors", config=config, provenance=provenance)
    described = describe(path)
    assert described == {"model": config.to_dict(), "num_classes": 12, "provenance": provenance}
    assert ModelConfig.from_dict(described["model"]) == config
    assert describe(save(model, tmp_path / "h.safetensors", huggingface=True)) == {**described, "provenance": {}}
    with safe_open(path, framework="pt") as file:
        assert file.metadata()["format"] == "pt"
    assert path.stat().st_mode & 0o777 == 0o644


def test_the_header_alone_is_read_for_a_description(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(network(small("t")), tmp_path / "w.safetensors")
    for name in ("torch.load", "trainer.checkpoint_file.load_file"):
        monkeypatch.setattr(name, lambda *_, **__: pytest.fail("tensors were read"))
    assert describe(path) is not None


def test_files_of_others_are_not_described(tmp_path: Path) -> None:
    save_file({"a": torch.ones(1)}, tmp_path / "a.safetensors", {"format": "pt", "model": "resnet"})
    torch.save({"model": {"a": torch.ones(1)}}, tmp_path / "a.pth")
    assert describe(tmp_path / "a.safetensors") is None
    assert describe(tmp_path / "a.pth") is None
    with pytest.raises(ValueError, match=r"b.safetensors: no such file"):
        describe(tmp_path / "b.safetensors")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "not readable as JSON"),
        ("[]", "must hold model, num_classes and provenance"),
        ('{"model": {}, "num_classes": 1}', "must hold model, num_classes and provenance"),
        ('{"model": {}, "num_classes": 1, "provenance": {}}', "not a model configuration: .* missing keys"),
        ('{"model": [], "num_classes": 1, "provenance": {}}', "must hold a model configuration"),
        ('{"model": {}, "num_classes": "1", "provenance": {}}', "must hold a model configuration and a whole number of classes"),
        ('{"model": {"channels": 1e999}, "num_classes": 1, "provenance": {}}', "channels must be a finite number"),
    ],
)
def test_metadata_that_makes_no_sense_is_refused(text: str, said: str, tmp_path: Path) -> None:
    model, path = network(small("t")), tmp_path / "w.safetensors"
    save_file(model.state_dict(), path, {METADATA_KEY: text})
    for look in (describe, read, lambda path: load(model, path)):
        with refused(path, said, model):
            look(path)


def test_saving_replaces_a_file_whole_or_leaves_it(tmp_path: Path) -> None:
    model = network(small("t"))
    path = save(model, tmp_path / "w.safetensors")
    first = path.read_bytes()
    with torch.no_grad():
        model.head.bias[0] = float("nan")
    with pytest.raises(ValueError, match=r"head.bias holds values that are not finite"):
        save(model, path)
    with pytest.raises(ValueError, match="more must be plain"):
        save(network(small("t")), path, provenance={"more": object()})
    assert path.read_bytes() == first
    save(other(model), path)
    assert path.read_bytes() != first
    assert [file.name for file in tmp_path.iterdir()] == ["w.safetensors"]


def test_what_cannot_be_saved_is_refused(tmp_path: Path) -> None:
    model = network(small("t"))
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.safetensors").mkdir()
    with pytest.raises(ValueError, match=r"weights are saved in a file named \*.safetensors, got .*w.pth"):
        save(model, tmp_path / "w.pth")
    for path in (tmp_path / "file" / "w.safetensors", tmp_path / "folder.safetensors"):
        with pytest.raises(ValueError, match=f"cannot write {path}: "):
            save(model, path)
    with pytest.raises(ValueError, match=r"a network on the meta device has no weights to save, got patch_embed.conv1.weight"):
        save(network(small("t")).to("meta"), tmp_path / "w.safetensors")
    with pytest.raises(ValueError, match=r"config must be the network's own, got another offset_scale 2.0 instead of 1.0"):
        save(model, tmp_path / "w.safetensors", config=small("t", offset_scale=2.0))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder.safetensors"]


ODD_VALUES: dict[str, tuple[Any, str]] = {
    "a list": ([torch.ones(1)], "holds a list, not a state dict"),
    "a tensor": (torch.ones(1), "holds a Tensor, not a state dict"),
    "no tensors": ({"epoch": 3, "lr": 0.1}, r"none under model, state_dict, module, and no tensors beside \['epoch', 'lr'\]"),
    "an empty state": ({"model": {}}, "missing"),
    "numbered names": ({"model": {0: torch.ones(1)}}, "names in a state dict must be text, got 0"),
    "a number": ({"model": {"a": 3}}, "a must be a tensor, got int"),
    "a sparse tensor": ({"model": {"a": torch.eye(3).to_sparse()}}, "a must be a dense tensor of real numbers"),
    "no memory": ({"model": {"a": torch.ones(3, device="meta")}}, "a must be a dense tensor of real numbers"),
    "two names for one": ({"model": {"a.gamma1": torch.ones(1), "a.layer_scale1": torch.ones(1)}}, "layer_scale1|2"),
}  # fmt: skip


@pytest.mark.parametrize("odd", ODD_VALUES)
@pytest.mark.parametrize("zipped", [True, False])
def test_files_without_a_plain_state_dict_are_refused(odd: str, zipped: bool, tmp_path: Path) -> None:
    value, said = ODD_VALUES[odd]
    model, path = network(small("t")), tmp_path / "w.pth"
    torch.save(value, path, _use_new_zipfile_serialization=zipped)
    with refused(path, said, model):
        load(model, path)


class Payload:
    """What runs a command when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_that_would_run_something_is_refused_and_does_not(zipped: bool, tmp_path: Path) -> None:
    model, path = network(small("t")), tmp_path / "w.pth"
    torch.save({"model": model.state_dict(), "more": Payload(tmp_path / "ran")}, path, _use_new_zipfile_serialization=zipped)
    with refused(path, r"holds more than tensors \(posix.mkdir\) and is not loaded; .* convert it once: python -c ", model):
        load(model, path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("whole", [True, False])
def test_the_named_conversion_makes_a_file_that_is_read(whole: bool, tmp_path: Path) -> None:
    source, path = network(small("s")), tmp_path / "w.pth"
    torch.save({"model": source if whole else source.state_dict(), "config": argparse.Namespace(lr=1)}, path)
    target = other(source)
    with refused(path, r"holds more than tensors", target):
        load(target, path)
    converted = path.with_suffix(".safetensors")
    done = subprocess.run([sys.executable, "-c", CONVERSION, path, converted], check=True, capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.stderr) == ("", "")
    load(target, converted)
    assert same(target.state_dict(), source.state_dict())


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("protocol", [3, 4])
def test_newer_pickles_are_read_or_named(protocol: int, zipped: bool, tmp_path: Path) -> None:
    source, path = network(small("s")), tmp_path / "w.pth"
    torch.save({"model": source.state_dict()}, path, pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)
    target = other(source)
    if protocol == 3:
        load(target, path)
        assert same(target.state_dict(), source.state_dict())
    else:
        with refused(path, "is a pickle of protocol 4 or later and is not loaded; if you trust its origin, convert it once", target):
            load(target, path)


def archive(path: Path, compression: int, **members: bytes) -> None:
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, data in members.items():
            file.writestr(f"archive/{name}.pkl", data)


def test_archives_that_are_not_torch_s_are_refused(tmp_path: Path) -> None:
    model, path = network(small("t")), tmp_path / "w.pth"
    archive(path, zipfile.ZIP_DEFLATED, data=bytes(10_000_000))
    with refused(path, "an archive that grows when it is unpacked", model):
        load(model, path)
    archive(path, zipfile.ZIP_STORED, other=b"x")
    with refused(path, "an archive of another kind", model):
        load(model, path)
    archive(path, zipfile.ZIP_STORED, data=b"\x80\x02}.", constants=b"\x80\x02}.")
    with refused(path, "an archive of another kind, or a saved program", model):
        load(model, path)


def test_members_that_share_their_bytes_are_refused(tmp_path: Path) -> None:
    model, path = network(small("t")), tmp_path / "w.pth"
    archive(path, zipfile.ZIP_STORED, data=bytes(10_000))
    data = path.read_bytes()
    with zipfile.ZipFile(path) as file:
        start = file.start_dir
    entry = data[start : start + 46 + len("archive/data.pkl")]
    end = bytearray(data[start + len(entry) :])
    end[8:10] = end[10:12] = (50).to_bytes(2, "little")
    end[12:16] = (50 * len(entry)).to_bytes(4, "little")
    path.write_bytes(data[:start] + entry * 50 + end)
    with refused(path, "an archive that grows when it is unpacked", model):
        load(model, path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty"),
        (b"x", "holds neither safetensors nor what torch.save writes"),
        (b"version https://git-lfs.github.com/spec/v1\n", "holds neither"),
        (b"\x80", "holds neither"),
        (b"\x80\x02", "damaged: "),
        (b"\x80\x04K\x01.", "damaged: "),
        (b"PK\x03\x04", "damaged: "),
        (b"\x02\0\0\0\0\0\0\0{}", "missing"),
        (b"\xff\xff\xff\xff\xff\xff\xff\x7f{}", "damaged: "),
        (b"\x09\0\0\0\0\0\0\0{" + b"[" * 8, "damaged: "),
    ],
)
def test_files_of_nothing_useful_are_refused(content: bytes, said: str, tmp_path: Path) -> None:
    model, path = network(small("t")), tmp_path / "w.pth"
    path.write_bytes(content)
    with refused(path, said, model):
        load(model, path)


def test_paths_that_are_no_files_are_refused(tmp_path: Path) -> None:
    model = network(small("t"))
    os.mkfifo(tmp_path / "pipe.pth")
    for path, said in ((tmp_path / "none.pth", "no such file"), (tmp_path, "not a file"), (tmp_path / "pipe.pth", "not a file")):
        with refused(path, said, model):
            load(model, path)
    with pytest.raises(ValueError, match="no such file"):
        load(model, "a\0b")


def test_a_pickle_cannot_pass_for_safetensors(tmp_path: Path) -> None:
    model, path = network(small("t")), tmp_path / "w.safetensors"
    torch.save(model.state_dict(), path)
    with refused(path, r"is named .safetensors but holds a pickle of torch.save", model):
        load(model, path)
    save(model, path).rename(tmp_path / "w.pth")
    load(model, tmp_path / "w.pth")


@cache
def whole_file(kind: str, folder: Path) -> bytes:
    model, path = network(small("t", mlp_ratio=1)), folder / kind
    save(model, path) if kind == "w.safetensors" else torch.save(
        {"model": model.state_dict()}, path, _use_new_zipfile_serialization=kind == "zip.pth"
    )
    return path.read_bytes()


KINDS = ("w.safetensors", "zip.pth", "legacy.pth")


@pytest.mark.parametrize("kind", KINDS)
def test_a_truncated_file_is_refused_wherever_it_ends(kind: str, tmp_path: Path) -> None:
    model, path = network(small("t", mlp_ratio=1), seed=1), tmp_path / kind
    data = whole_file(kind, tmp_path)
    for length in (*range(0, 64, 7), 1000, len(data) // 2, len(data) - 1000, len(data) - 1):
        path.unlink(missing_ok=True)
        path.write_bytes(data[:length])
        with refused(path, r".", model):
            load(model, path)


@st.composite
def edits(draw: st.DrawFn) -> tuple[str, list[tuple[str, float, bytes]]]:
    """A kind of file, and changes at relative places, half of them near its ends, where the structure is."""
    place = st.floats(0, 1, exclude_max=True)
    near = place.map(lambda x: x**6) | place.map(lambda x: 1 - x**6)
    piece = st.tuples(st.sampled_from(["replace", "insert", "delete"]), place | near, st.binary(min_size=1, max_size=9))
    return draw(st.sampled_from(KINDS)), draw(st.lists(piece, min_size=1, max_size=4))


def damaged(data: bytes, pieces: list[tuple[str, float, bytes]]) -> bytes:
    for action, place, piece in pieces:
        start = int(place * len(data))
        end = start if action == "insert" else start + len(piece)
        data = data[:start] + (b"" if action == "delete" else piece) + data[end:]
    return data


@cache
def victim() -> InternImage:
    return network(small("t", mlp_ratio=1), seed=1)


def refusal(path: Path) -> str | None:
    try:
        load(victim(), path)
    except ValueError as error:
        return str(error)
    return None


@settings(max_examples=250)
@given(edit=edits())
def test_a_damaged_file_loads_or_is_refused_in_one_line(edit: tuple[str, Any], tmp_path_factory: pytest.TempPathFactory) -> None:
    kind, pieces = edit
    path = tmp_path_factory.getbasetemp() / kind
    data = damaged(whole_file(kind, path.parent), pieces)
    path.unlink(missing_ok=True)
    path.write_bytes(data)
    before = copied(victim())
    said = refusal(path)
    if said is None:
        assert all(tensor.isfinite().all() for tensor in victim().state_dict().values())
    else:
        assert said.startswith(f"{path}: ")
        assert "\n" not in said
        assert same(victim().state_dict(), before)
