"""`nas latency`: variants side by side, for people and programs."""

import csv
import json
from collections.abc import Callable

import pytest
import torch
import typer
from typer.testing import CliRunner

from nas.cli.latency import latency
from nas.errors import NasError
from trainer import latency_bench
from trainer.internimage import InternImage

Out = Callable[..., str]
BRIEF = ("--size", "32", "--rounds", "30", "--anchor", "16,8,1,2")


@pytest.fixture
def out(monkeypatch: pytest.MonkeyPatch) -> Out:
    """Runs the command on a clock by which a network takes as many milliseconds as stage 3 has blocks."""
    monkeypatch.setattr(latency_bench, "MEASUREMENT_SECONDS", 1e-9)
    monkeypatch.setitem(latency_bench.CLOCKS, "cpu", lambda model, images, calls: model.config.depths[2] * len(images) / 1000)
    monkeypatch.setattr(InternImage, "forward", lambda self, images: images)
    app = typer.Typer()
    app.command()(latency)

    def run(*arguments: str) -> str:
        done = CliRunner().invoke(app, arguments)
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return done.output

    return run


def test_the_table_names_variants_batches_ratios_and_ranks(out: Out) -> None:
    text = out("16,8,1,1", "16,8,1,4", *BRIEF, "--batch", "1,8")
    assert "Latency of a batch on cpu, 1 thread, float32, 32 px" in text
    assert "× 16,8,1,2" in text
    slow = next(line for line in text.splitlines() if line.split()[:2] == ["16,8,1,4", "8"])
    assert slow.split()[2:] == ["32.00", "32.00", "32.00", "250.0", "2.000", "2.000", "2.000", "2"]
    assert "30 rounds" in text
    assert "Too few rounds" not in text


def test_the_table_says_how_many_rounds_more_variants_take(out: Out) -> None:
    text = out("16,8,1,1", "16,8,1,3", "16,8,1,4", "16,8,1,5", *BRIEF)
    assert "Too few rounds to tell 4 variants apart: it takes at least 45" in text
    assert text.count("1–4") == 4


def test_json_and_csv_hold_the_same_rows(out: Out) -> None:
    arguments = ("16,8,1,4", "16,8,1,1", *BRIEF, "--batch", "1,8")
    rows = json.loads(out(*arguments, "--format", "json"))
    assert [(row["variant"], row["batch"], row["median_ms"], row["ratio"], row["rank"]) for row in rows] == [
        ("16,8,1,4", 1, 4.0, 2.0, "2"),
        ("16,8,1,1", 1, 1.0, 0.5, "1"),
        ("16,8,1,4", 8, 32.0, 2.0, "2"),
        ("16,8,1,1", 8, 8.0, 0.5, "1"),
    ]
    assert {row["rounds"] for row in rows} == {30}
    read = list(csv.DictReader(out(*arguments, "--format", "csv").splitlines()))
    assert [{key: str(value) for key, value in row.items()} for row in rows] == read


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("T", "64,16,4,18"), "variants T and 64,16,4,18 are the same network; name it once"),
        (("T", "--batch", "0"), "malformed range '0'"),
        (("T", "--size", "16"), "image_size must be whole and at least 32, got 16"),
        (("T", "--device", "tpu"), "device must be cpu or cuda .* got 'tpu'"),
        (("T", "--anchor", "Z"), "not a variant: 'Z'"),
        (("T", "--rounds", "60", "--seconds", "9"), "give one"),
    ],
)
def test_bad_input_is_one_line(out: Out, arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message) as raised:
        out(*arguments)
    assert "\n" not in str(raised.value)


def test_no_variant_is_refused(out: Out) -> None:
    assert "Missing argument" in out()


def test_a_network_that_does_not_fit_is_one_line(out: Out, monkeypatch: pytest.MonkeyPatch) -> None:
    def forward(self: InternImage, images: torch.Tensor) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory.\nMore.")

    monkeypatch.setattr(InternImage, "forward", forward)
    with pytest.raises(NasError, match=r"^variant 16,8,1,2 does not fit into the memory of cpu at batch 1: CUDA out of memory\.$"):
        out("16,8,1,1", *BRIEF)
