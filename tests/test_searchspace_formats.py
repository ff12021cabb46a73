"""Variants by name, by numbers and from files, damaged ones included."""

import json
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from searchspace.formats import FORMATS, VariantDocument, load_variant, read_document
from searchspace.presets import PRESETS, preset
from searchspace.stacking import stack
from searchspace.styles import STYLES, style_of


@pytest.mark.parametrize("format", sorted(FORMATS))
@pytest.mark.parametrize("name", sorted(PRESETS))
def test_every_preset_survives_every_format(format: str, name: str, tmp_path: Path) -> None:
    document = VariantDocument(f"variant-{name}", PRESETS[name].config, {"study": "μ & <b>", "trial": 3, "metrics": {"top1": 0.5}})
    path = tmp_path / FORMATS[format].entry(document.name)
    for part, text in FORMATS[format].write(document).items():
        (tmp_path / part).parent.mkdir(exist_ok=True)
        (tmp_path / part).write_text(text, encoding="utf-8")
    assert read_document(path) == document
    assert load_variant(str(path)) == PRESETS[name].config


@pytest.mark.parametrize("style", sorted(STYLES))
def test_four_numbers_and_a_style_are_a_variant(style: str) -> None:
    assert load_variant("64,16,4,18", style=style) == stack(64, 16, 4, 18, style=style)
    assert style_of(load_variant("b", style=style)) == style
    assert load_variant("t") == preset("T").config


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("64,16,4", "four numbers"),
        ("72,16,4,18", "nearest: 64, 80"),
        ("Q", "not a variant: 'Q'"),
        ("nowhere.yaml", "not a variant"),
        ("64,16,5,4", "rule 4"),
    ],
)
def test_what_is_no_variant_is_refused_with_the_way_out(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_variant(text)


def test_a_file_with_a_broken_rule_is_named_with_key_and_rule(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    good = VariantDocument("x", preset("T").config).to_dict()
    for change, message in (
        ({"model": {**good["model"], "channels": 65}}, "multiple of group_channels"),
        ({"version": 9}, "version 9"),
        ({"colour": "red"}, "unknown keys"),
        ({"model": [1]}, "must be mappings"),
    ):
        path.write_text(yaml.safe_dump({**good, **change}))
        with pytest.raises(ValueError, match=rf"bad\.yaml: .*{message}"):
            load_variant(str(path))


edits = st.lists(st.tuples(st.integers(0, 500), st.integers(0, 255)), min_size=1, max_size=8)


@given(edits)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_file_is_read_or_gives_one_clean_error(tmp_path: Path, edits: list[tuple[int, int]]) -> None:
    text = bytearray(json.dumps(VariantDocument("x", preset("T").config).to_dict()).encode())
    for position, byte in edits:
        text[position % len(text)] = byte
    path = tmp_path / "damaged.json"
    path.write_bytes(bytes(text))
    try:
        config = load_variant(str(path))
    except ValueError as error:
        complaint = str(error)
    else:
        complaint = f"damaged.json: read as {config}"
    assert "damaged.json: " in complaint
