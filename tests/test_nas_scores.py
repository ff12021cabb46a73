"""`nas scores`: rows of costs and scores, what says nothing said so, and how far the orders agree."""

import csv
import io
import json
import math
import re
import subprocess
import sys
from collections.abc import Callable

import pytest
import typer
from typer.testing import CliRunner

from nas.cli.scores import scores as command
from searchspace.cost import cost
from searchspace.formats import load_variant
from trainer import zero_cost
from trainer.proxy_config import ProxyConfig

app = typer.Typer()
app.command()(command)
Out = Callable[..., str]
SMALL = ("64,16,1,1", "64,16,1,2", "128,16,1,1")


@pytest.fixture
def out() -> Out:
    def run(*arguments: str) -> str:
        return CliRunner().invoke(app, arguments, catch_exceptions=False).stdout

    return run


def test_a_row_is_the_variant_s_exact_cost_and_its_proxy_s_scores(out: Out) -> None:
    rows = json.loads(out(*SMALL[:2], "--score", "synflow", "--score", "naswot", "--seed", "3", "--format", "json"))
    for name, row in zip(SMALL, rows, strict=False):
        config = load_variant(name)
        expected = zero_cost.scores(config, ProxyConfig(), ["synflow", "naswot"], seed=3)
        assert row | expected == row
        assert (row["variant"], row["params"], row["flops"]) == (name, cost(config).params, cost(config).flops)
        assert row["seconds"] > 0
        assert row["fidelity"].startswith("digits, 32 px, untrained networks, channels / 4")
        assert "zen" not in row
    assert len(rows) == 2


def test_the_table_names_the_proxy_and_how_far_the_orders_agree(out: Out) -> None:
    printed = out(*SMALL, "--score", "zen", "--score", "grad_norm", "--channel-divisor", "8", "--seed", "2")
    title = " ".join(printed.partition("C1,C'")[0].split())
    assert title == "3 variants, digits, 32 px, untrained networks, channels / 8, 50% of the training data, seed 2"
    assert re.search(r"params +\+1\.00 ", printed)
    assert "constant" not in printed


def test_a_constant_column_says_so_and_agrees_with_nothing(out: Out) -> None:
    printed = out("64,16,1,2", "64,16,1,2", "64,16,1,2", "--score", "zen")
    assert "Zen is constant: says nothing here" in printed
    assert re.search(r"Zen +– +– +–", printed)


def test_a_score_that_is_not_finite_is_a_dash_and_null(out: Out, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(config: object, *_: object, **__: object) -> dict[str, float]:
        return {"naswot": -math.inf if config == load_variant(SMALL[0]) else 2.0}

    monkeypatch.setattr(zero_cost, "scores", broken)
    assert "NASWOT is not finite where a dash stands" in out(*SMALL[:2], "--score", "naswot")
    assert [row["naswot"] for row in json.loads(out(*SMALL[:2], "--score", "naswot", "--format", "json"))] == [None, 2.0]


def test_a_space_gives_its_feasible_candidates(out: Out) -> None:
    rows = list(csv.DictReader(io.StringIO(out("--space", "stacking", "--score", "params", "--format", "csv"))))
    assert len(rows) == 19
    assert {row["variant"] for row in rows} >= {"64,16,4,18", "48,16,1,61", "80,16,4,4"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "write nas scores T 80,16,2,13, or nas scores --space stacking"),
        (("T", "--space", "stacking"), "of variants or of a space"),
        (("--space", "stacked"), "unknown space 'stacked'; known: stacking, wide, scaling"),
        (("T", "--score", "jacov"), "unknown score 'jacov'; known: synflow, naswot, grad_norm, zen, params, flops"),
        (("64,16,4,18", "--channel-divisor", "5"), "channel divisor must divide"),
    ],
)
def test_bad_input_is_one_line(out: Out, arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        out(*arguments)
    assert "\n" not in str(error.value)


def test_a_variant_too_large_for_the_memory_is_one_line_with_the_way_out(out: Out, monkeypatch: pytest.MonkeyPatch) -> None:
    def starved(*_: object, **__: object) -> None:
        raise MemoryError("you tried to allocate 99 bytes")

    monkeypatch.setattr(zero_cost, "scores", starved)
    with pytest.raises(ValueError, match="64,16,1,1 does not fit: you tried to allocate 99 bytes; try a larger --channel-divisor"):
        out(SMALL[0])


def test_the_table_of_scores_and_its_help_load_no_torch() -> None:
    code = "import sys, searchspace.score_table, nas.commands.scores; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "False"
