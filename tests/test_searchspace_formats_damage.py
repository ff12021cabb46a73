"""Damaged and hostile files: each is read or gives one clean line, in bounded time and memory."""

import json
import random
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from searchspace.formats import FORMATS, VariantDocument, load_document, read_mapping
from searchspace.presets import PRESETS

FILES = 1000
ODD = (
    "null",
    "true",
    "-1",
    "0",
    "1e400",
    "[]",
    "{}",
    '"x"',
    "1" + "0" * 30,
    "NaN",
    ".inf",
    "'4'",
    "[[4]]",
    "None",
    "1:30",
    "&a",
    "*a",
    "!!int x",
)
Damage = Callable[[random.Random, bytes], bytes]


def edit_bytes(rng: random.Random, data: bytes) -> bytes:
    text = bytearray(data)
    for _ in range(rng.randint(1, 8)):
        text[rng.randrange(len(text))] = rng.randrange(256)
    return bytes(text)


def truncate(rng: random.Random, data: bytes) -> bytes:
    return data[: rng.randrange(len(data))]


def duplicate(rng: random.Random, data: bytes) -> bytes:
    start, length, to = rng.randrange(len(data)), rng.randint(1, 400), rng.randrange(len(data))
    return data[:to] + data[start : start + length] + data[to:]


def swap_a_value(rng: random.Random, data: bytes) -> bytes:
    """Another kind of value in the place of a number, switch or text."""
    values = list(re.finditer(rb"(?<=[:=\[ ] )?[\w.'\"-]+(?=[,\n\]}])", data))
    place = rng.choice(values)
    return data[: place.start()] + rng.choice(ODD).encode() + data[place.end() :]


DAMAGES: tuple[Damage, ...] = (edit_bytes, truncate, duplicate, swap_a_value, swap_a_value)


def complaint_about(file: Path) -> str:
    """The one line that a file gets; nothing for a file with a variant."""
    try:
        assert max(load_document(str(file)).config.depths) >= 1
    except ValueError as error:
        return str(error)
    return ""


@pytest.mark.timeout(60)
@pytest.mark.parametrize("format", sorted(FORMATS))
def test_a_damaged_file_gives_a_variant_or_one_clean_line(format: str, tmp_path: Path) -> None:
    rng = random.Random(format)
    outcomes = {"read": 0, "refused": 0}
    for number in range(FILES // len(FORMATS) + 1):
        preset = rng.choice(list(PRESETS.values()))
        files = FORMATS[format].write(VariantDocument("v", preset.config, {"study": "s", "trial": number}))
        path, text = next(iter(files.items()))
        file = tmp_path / Path(path).name
        file.write_bytes(rng.choice(DAMAGES)(rng, text.encode()))
        complaint = complaint_about(file)
        assert not complaint or complaint.startswith(f"{file}: ")
        assert "\n" not in complaint
        assert len(complaint) < 500
        outcomes["refused" if complaint else "read"] += 1
    assert outcomes["read"] > 0, outcomes
    assert outcomes["refused"] > 50, outcomes


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)
HOSTILE = {
    "bomb.yaml": BOMB,
    "merge.yaml": "a: 1\n<<: {b: 2}\n",
    "cycle.yaml": "a: &a [*a]\n",
    "deep.yaml": "a: " + "[" * 5000,
    "nested.yaml": "- " * 5000,
    "long.yaml": "- 1\n" * 240_000,
    "scalar.yaml": "a: '" + "x" * 900_000 + "'",
    "comment.yaml": "#" * 900_000,
    "sexagesimal.yaml": "a: 1" + ":59" * 300_000,
    "digits.yaml": "a: " + "9" * 900_000,
    "tag.yaml": "a: !!python/object/apply:os.system [exit]\n",
    "bool.yaml": "a: !!bool x\n",
    "stamp.yaml": "a: !!timestamp x\n",
    "several.yaml": "--- 1\n--- 2\n",
    "huge.yaml": "a: 1\n" * 400_000,
    "list.yaml": "- 1\n",
    "empty.yaml": "",
    "control.yaml": "a: \x01\n",
    "deep.json": "[" * 500_000,
    "digits.json": '{"a": ' + "9" * 900_000 + "}",
    "twice.json": '{"a": 1, "a": 2}',
    "key.json": '{"format": "nas-variant", "version": 1, "model": {"' + "k" * 900_000 + '": 1}}',
    "number.json": "3",
    "surrogate.json": '{"format": "nas-variant", "version": 1, "model": {"channels": "\\ud800"}}',
    "brackets.py": "model = " + "(" * 90_000,
    "minus.py": "model = " + "-" * 90_000 + "1",
    "sum.py": "model = " + "1+" * 45_000 + "1",
    "calls.py": "model = dict" + "()" * 45_000,
    "fstring.py": "model = f'" + "{a}" * 30_000 + "'",
    "hex.py": "model = dict(backbone=dict(type='InternImage', channels=0x" + "f" * 90_000 + "))",
    "nested.py": "model = dict(backbone=" + "dict(a=" * 90 + "1" + ")" * 90 + ")",
    "null.py": "model = 1\0",
    "escape.py": "model = dict(backbone='\\d')",
    "large.py": "# " + "x" * 200_000,
    "twice.py": "model = {}\nmodel = {}\n",
    "star.py": "model = dict(backbone=dict(**a))\n",
    "bytes.py": b"model = '\xff'",
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", sorted(HOSTILE))
def test_a_hostile_file_is_refused_at_once(name: str, tmp_path: Path) -> None:
    text = HOSTILE[name]
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=re.escape(f"{path}: ")) as caught:
        load_document(str(path))
    assert len(str(caught.value)) < 500
    assert "\n" not in str(caught.value)


def test_a_million_bytes_are_read_and_one_more_is_not(tmp_path: Path) -> None:
    path = tmp_path / "study.json"
    path.write_text(json.dumps({"a": "x" * (1_000_000 - 9)}))
    assert path.stat().st_size == 1_000_000
    assert len(read_mapping(path)["a"]) == 1_000_000 - 9
    path.write_text(json.dumps({"a": "x" * (1_000_000 - 8)}))
    with pytest.raises(ValueError, match="larger than 1,000,000 bytes"):
        read_mapping(path)
