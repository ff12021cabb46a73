"""`nas cost`: what a variant costs, what more would cost, and the memory of training it."""

import csv
import json
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas import cli as command
from nas.cost_table import marginal_rows
from searchspace.cost import COST_METRICS, Cost, cost
from searchspace.memory import Training, memory_bytes
from searchspace.model_config import ModelConfig
from searchspace.presets import PRESETS
from searchspace.stacking import stack
from searchspace.styles import STYLES

Out = Callable[..., str]


@pytest.fixture
def out(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Out:
    def run(*arguments: str) -> str:
        monkeypatch.setattr("sys.argv", ["nas", "cost", *arguments])
        with pytest.raises(SystemExit) as ended:
            command.main()
        printed = capsys.readouterr()
        return printed.out if ended.value.code == 0 else printed.err

    return run


def size_of(row: dict[str, int]) -> Cost:
    return Cost(*(row[metric] for metric in COST_METRICS))


@given(st.sampled_from(sorted(STYLES)), st.integers(1, 3), st.sampled_from([4, 5, 8]), st.integers(1, 3), st.integers(0, 12))
def test_what_is_one_more_is_the_difference_of_two_costs(style: str, groups: int, group: int, l1: int, more: int) -> None:
    config = stack(2 * groups * group, group, l1, l1 + more, style=style)
    rows = [size_of(row) for row in marginal_rows(config, 64, 10)]
    before = cost(config, 64, 10)
    *blocks, shallow, wide = rows
    assert len(blocks) == 4
    assert blocks[2] == cost(stack(2 * groups * group, group, l1, l1 + more + 1, style=style), 64, 10) - before
    assert shallow == blocks[0] + blocks[1] + blocks[3]
    wider = 2 * groups * group + group * (1 + group % 2)
    assert wide == cost(stack(wider, group, l1, l1 + more, style=style), 64, 10) - before


def test_a_block_that_brings_a_norm_is_dearer_by_it() -> None:
    sixth = {row["more"]: row["params"] for row in marginal_rows(stack(16, 8, 1, 5, style="h"), 32, 10)}
    seventh = {row["more"]: row["params"] for row in marginal_rows(stack(16, 8, 1, 6, style="h"), 32, 10)}
    assert sixth["block in stage 3 (L3)"] - seventh["block in stage 3 (L3)"] == 2 * 64


def test_the_json_has_parts_margins_and_memory_that_add_up(out: Out) -> None:
    document = json.loads(out("T", "--format", "json", "--batch", "8", "--precision", "bfloat16", "--device", "cpu"))
    assert (document["params"], document["style"]) == (29_918_424, "t")
    for metric in COST_METRICS:
        assert sum(part[metric] for part in document["parts"]) == document[metric]
    assert document["marginal"] == marginal_rows(PRESETS["T"].config, 224, 1000)
    memory = document["memory"]
    predicted = memory_bytes(PRESETS["T"].config, Training(batch_size=8, precision="bfloat16", device="cpu"))
    assert (memory["saved"], memory["total"]) == (predicted.saved, predicted.total)
    assert memory["total"] == sum(memory[name] for name in ("weights", "gradients", "optimizer", "saved"))


def test_the_csv_is_one_table(out: Out) -> None:
    rows = list(csv.DictReader(out("64,16,4,18", "--format", "csv").splitlines()))
    assert [row["part"] for row in rows] == ["stem", "stage 1", "stage 2", "stage 3", "stage 4", "head", "total"]
    assert int(rows[-1]["params"]) == sum(int(row["params"]) for row in rows[:-1]) == 29_918_424


def test_the_table_shows_style_margins_and_memory(out: Out) -> None:
    text = out("S", "--image-size", "64")
    assert "80,16,4,21, style s, 64 px" in text
    assert "block in stage 3" in text
    assert "C' (C1 = 96)" in text
    assert "batch 64, float32, cuda" in text


def test_fields_are_set_one_by_one(out: Out) -> None:
    text = out("T", "--set", "kernel_size=5", "--set", "dw_kernel_size=5", "--format", "json")
    assert json.loads(text)["params"] == 36_989_912
    assert json.loads(out("T", "--set", "one_group=true", "--format", "json"))["params"] == 26_208_786
    model = json.loads(out("H", "--set", "mask_activation=sigmoid", "--format", "json"))["model"]
    assert ModelConfig.from_dict(model) == replace(PRESETS["H"].config, mask_activation="sigmoid")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("T", "--set", "kernel=5"), "unknown setting 'kernel'; known: channels,"),
        (("T", "--set", "kernel_size=4"), "kernel_size must be odd"),
        (("T", "--precision", "float8"), "precision must be one of float32, bfloat16"),
        (("T", "--device", "tpu"), "device must be one of cuda, cpu"),
        (("T", "--batch", "0"), "batch_size must be at least 1"),
        (("T", "--image-size", "0"), "image_size and num_classes must be at least 1"),
    ],
)
def test_what_cannot_be_is_one_clear_line(out: Out, arguments: tuple[str, ...], message: str) -> None:
    text = out(*arguments)
    assert message in text
    assert len(text.strip().splitlines()) == 1
