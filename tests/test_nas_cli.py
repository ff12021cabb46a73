"""The command line as a user meets it: what it prints, what it refuses and how it stops."""

import csv
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pytest
import typer

import nas
from nas.cli import app, main
from nas.config import SamplerName
from nas.roster import DEFAULT_MAX_TRIALS
from searchspace.formats import load_variant, read_document
from searchspace.presets import preset
from searchspace.score_table import SCORE_TABLE
from studies.records import METRICS, TrialState
from studies.store import Store

NAS = [sys.executable, "-c", "from nas.cli import main; main()"]
TINY = ["--channels", "16", "--group-channels", "8", "--l1", "1", "--l3", "1:3", "--epochs", "1", "--train-fraction", "10%"]


class Cli:
    """Runs commands in this process on one store."""

    def __init__(self, store: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch, self._capsys = monkeypatch, capsys
        monkeypatch.setenv("NAS_STORE", store)
        monkeypatch.setenv("COLUMNS", "200")

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        """Exit code, standard output, standard error."""
        self._monkeypatch.setattr(sys, "argv", ["nas", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        captured = self._capsys.readouterr()
        return int(ended.value.code or 0), captured.out, captured.err


@pytest.fixture
def cli(store_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(store_url, monkeypatch, capsys)


def test_from_a_search_to_an_exported_variant(cli: Cli, tmp_path: Path) -> None:
    code, out, err = cli("search", *TINY, "--engine", "local")
    assert code == 0, err
    assert "Pareto front of study 'stacking'" in out
    assert re.search(r"nas dashboard .*\n?$", out)
    assert out.rstrip().splitlines()[-1].strip().startswith("nas dashboard")
    assert "[3/3]" in err
    assert "digits, 32 px, 1 epoch, channels / 4, 10% of the training data" in out
    trials = json.loads(cli("show", "stacking", "--format", "json")[1])
    assert [trial["state"] for trial in trials] == ["COMPLETE"] * 3
    assert all(0 <= trial["top1"] <= 1 for trial in trials)
    front = list(csv.DictReader(io.StringIO(cli("pareto", "stacking", "--format", "csv")[1])))
    assert front
    code, out, err = cli("export", "stacking", "--trial", front[0]["trial"], "--out", str(tmp_path / "variants"))
    assert code == 0, err
    document = read_document(Path(out.strip()))
    assert document.config.short_name == front[0]["variant"]
    assert document.provenance["metrics"]["top1"] == float(front[0]["top1"])
    assert document.provenance["fidelity"]["channel_divisor"] == 4
    text = Path(out.strip()).read_text()
    assert str(tmp_path) not in text
    assert os.uname().nodename not in text
    assert json.loads(cli("cost", out.strip(), "--format", "json")[1])["variant"] == front[0]["variant"]
    (listed,) = json.loads(cli("studies", "--format", "json")[1])
    assert (listed["study"], listed["complete"], listed["running"]) == ("stacking", 3, 0)


def test_the_same_command_again_trains_nothing_and_prints_the_same_front(cli: Cli) -> None:
    first = cli("search", *TINY, "--engine", "local", "--format", "json")
    again = cli("search", *TINY, "--engine", "local", "--format", "json")
    assert json.loads(first[1]) == json.loads(again[1])
    assert "[1/3]" in first[2]
    assert again[2] == "study 'stacking' has its 3 trials; nothing is left to do\n"


def test_a_dry_run_lists_all_thirty_candidates_and_touches_no_store(cli: Cli, tmp_path: Path) -> None:
    code, out, _ = cli("search", "--dry-run", "--format", "json")
    rows = json.loads(out)
    assert (code, len(rows), sum(row["feasible"] for row in rows)) == (0, 30, 19)
    assert next(row for row in rows if row["variant"] == "64,16,4,18")["params"] == 29_918_424
    assert all(row["reason"] for row in rows if not row["feasible"])
    assert list(tmp_path.iterdir()) == []
    code, out, _ = cli("search", "--dry-run", "--limit", "params<=30M", "--limit", "flops<=5G", "--format", "json")
    assert all(row["params"] <= 30e6 and row["flops"] <= 5e9 for row in json.loads(out) if row["feasible"])


def test_the_scaling_space_lists_the_five_pairs_with_their_size_error(cli: Cli) -> None:
    flags = ("--pairs", "paper", "--phi", "0,1.74", "--keep-formula")
    base, *rows = json.loads(cli("search", "--space", "scaling", *flags, "--dry-run", "--format", "json")[1])
    assert (base["variant"], base["size_error"], base["alpha"], base["beta"]) == ("64,16,4,18", 0, None, None)
    rows = [row for row in rows if row["phi"] == 1.74]
    assert [(row["pair"], row["variant"]) for row in rows][2] == ("1.09,1.36", "112,16,5,20")
    assert rows[4]["size_error"] == pytest.approx(-0.172, abs=0.001)


def test_cost_and_scale_print_style_and_effective_phi(cli: Cli) -> None:
    _, out, _ = cli("cost", "64,16,4,18")
    assert "style t" in out
    assert "29,918,424 parameters" in out
    assert json.loads(cli("cost", "H", "--format", "json")[1])["params"] == 1_089_636_760
    row, *published = json.loads(cli("scale", "--phi", "3", "--format", "json")[1])
    assert [other["name"] for other in published] == ["T", "S", "B", "L", "XL", "H"]
    assert (row["variant"], row["style"]) == ("160,16,5,24", "t")
    assert row["phi_width"] == pytest.approx(2.98, abs=0.005)
    assert row["phi_depth"] == pytest.approx(3.04, abs=0.005)


def test_the_version_is_printed(cli: Cli) -> None:
    assert cli("--version") == (0, f"{nas.__version__}\n", "")


@pytest.mark.parametrize("width", [60, 80, 100, 200])
def test_no_number_is_broken_in_two_however_narrow_the_terminal(cli: Cli, monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    cli("search", *TINY, "--engine", "local")
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    out = re.sub(r"\x1b\[[\d;]*m", "", cli("show", "stacking")[1])
    for name in ("16,8,1,1", "16,8,1,2", "16,8,1,3", "COMPLETE"):
        assert name in out
    assert max(map(len, out.splitlines())) <= width
    assert ("size error" in out) is (width == 200)


def test_every_reason_is_listed_once_with_the_number_of_candidates_it_holds_for(cli: Cli) -> None:
    out = cli("search", "--dry-run")[1]
    assert out.count("multiple of group_channels") == 2
    assert len(re.findall(r"^ +5 .*…  +INFEASIBLE", out, re.MULTILINE)) == 2


def test_synthetic_data_is_named_so_wherever_its_numbers_stand(cli: Cli) -> None:
    code, out, err = cli("search", *TINY, "--engine", "local", "--dataset", "shapes:200")
    assert code == 0, err
    for text in (out, err, cli("show", "stacking")[1], cli("pareto", "stacking", "--format", "csv")[1]):
        assert "(synthetic)" in text


def test_scores_and_costs_alone_are_searched_without_training_and_shown(cli: Cli) -> None:
    code, out, err = cli("search", *TINY, "--objective", "zen", "--objective", "flops", "--name", "free")
    assert code == 0, err
    assert "study 'free': measuring zen; 0 of 3 candidates are done" in err
    assert "digits, 32 px, untrained networks, channels / 4" in out
    assert "noise" not in out
    assert "training time" not in out
    assert re.findall(r"\[./3\].*", err) == ["[3/3] trial 2 complete: 16,8,1,3; best Zen " + re.findall(r"best Zen (.*)", err)[-1]]
    assert "left" not in err
    trials = json.loads(cli("show", "free", "--format", "json")[1])
    assert [trial["state"] for trial in trials] == ["COMPLETE"] * 3
    assert trials[0]["zen"] < trials[1]["zen"] < trials[2]["zen"]
    assert "Zen" in cli("show", "free")[1]


def test_a_screened_search_shows_the_score_and_the_reason(cli: Cli, tmp_path: Path) -> None:
    code, _, err = cli("search", *TINY, "--engine", "local", "--screen", "zen", "--keep", "30%", "--weights-folder", str(tmp_path / "kept"))
    assert code == 0, err
    assert "[1/1]" in err
    trials = json.loads(cli("show", "stacking", "--format", "json")[1])
    assert [trial["state"] for trial in trials].count("INFEASIBLE") == 2
    assert all(isinstance(trial["zen"], float) for trial in trials)
    assert re.search(r"screened: zen \S+ is not among the best 1 of 3 \(needs \S+\)", cli("show", "stacking")[1])
    assert len(list((tmp_path / "kept").glob("*.safetensors"))) == 1


def test_the_help_of_a_search_names_the_values_and_the_defaults_that_hold(cli: Cli) -> None:
    text = " ".join(re.sub(r"[│╭╮╰╯─]", " ", cli("search", "--help")[1]).split())
    proxy, space = nas.ProxyConfig(), nas.stacking_space()
    for flag in ("epochs", "batch_size", "channel_divisor", "image_size"):
        assert re.search(rf"--{flag.replace('_', '-')} <int> [^(]*\(default {getattr(proxy, flag)}\)", text), flag
    assert f"Part of the training data (default {proxy.train_fraction:.0%})" in text
    assert f"C1 values, such as {','.join(map(str, space.domains['channels']))} (the default of stacking)" in text
    assert f"(default: {DEFAULT_MAX_TRIALS} at most, if nothing else ends it)" in text
    assert ", ".join(METRICS) in text
    for name in (*SCORE_TABLE, *get_args(SamplerName)):
        assert name in text


def test_usage_names_its_arguments_without_brackets_in_brackets() -> None:
    for name, command in commands_of(typer.main.get_command(app)).items():
        usage = " ".join(command.collect_usage_pieces(typer.Context(command)))
        assert not re.search(r"\[\[|\{\w+\.\.\.\}|\]\.\.\.\]", usage), name


def test_a_front_that_no_trial_stands_on_says_which_bound_keeps_them_off(cli: Cli) -> None:
    assert (
        "none of the 3 complete trials meets top1>=1; digits, 32 px"
        in cli("search", *TINY, "--require", "top1>=100%", "--engine", "local")[1]
    )


def test_doctor_says_what_is_active_and_why(cli: Cli) -> None:
    rows = {row["what"]: row for row in json.loads(cli("doctor", "--format", "json")[1])}
    assert set(rows) == {"python", "torch", "device", "operator", "ray", "optuna", "store", "dashboard"}
    assert rows["store"]["state"] == "not usable"
    assert "no store at" in rows["store"]["why"]
    assert all(row["state"] and row["why"] for row in rows.values())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("search --space moon", "unknown space 'moon'; known: stacking, wide, scaling"),
        ("search --target 1M", "nearest reachable is 48,16,1,1"),
        ("search --limit params<=1M", "nearest reachable"),
        ("search --limit params<30M", "write a metric and a quantity such as params<=30M"),
        ("search --channels 5:1", "malformed range '5:1'"),
        ("search --target many", "not a quantity: 'many'"),
        ("search --l3 3 --target 30M", "exclude each other"),
        ("search --require params<=10M", "the nearest is 80,16,4,4 with params 29,581,900"),
        ("search --until top1<=90%", "the study looks for a larger top1; write top1>=0.9"),
        ("search --dataset mnist", "unknown data set 'mnist'"),
        ("search --space scaling --l1 3", "does not take --l1"),
        ("search --config nowhere", "no study file 'nowhere'; give a YAML file or one of the presets: scaling-digits"),
        ("search --config stacking-digits --epochs 3", "leave out --epochs"),
        ("search --objective beauty", "unknown metric 'beauty'"),
        ("search --style x", "unknown style 'x'; known: t, s, l, h, g"),
        ("search --image-size 16", "at least 32"),
        ("search --device tpu", "cpu or cuda"),
        ("studies --format xml", "Invalid value for '--format': 'xml' is not one of 'table', 'json', 'csv'."),
        ("search --trials abc", "Invalid value for '--trials'"),
        ("search --batch-size 1", "at least 2"),
        ("search --seed 5000000000", "seed"),
        ("search --keep 50%", "--keep goes with --screen SCORE"),
        ("search --screen beauty", "unknown score 'beauty'; known: synflow"),
        ("search --screen zen --keep 0", "(0, 1]"),
        ("search --latency-batch 8", "--latency-batch goes with --objective latency_ms"),
        ("search --objective latency_ms --latency-size 8", "image_size must be whole and at least 32, got 8"),
        ("search --objective zen --channels 16 --group-channels 8 --l1 1 --l3 1:2001", "too many to measure zen of each"),
        ("search --keep-weights weights", "Invalid value for '--keep-weights'"),
        ("search --recipe magic", "unknown recipe 'magic'; known: published, proxy"),
        ("search --precision float8", "precision must be one of float32, bfloat16"),
        ("search --style h --image-size 48", "exactly twice stage 4"),
        ("search --device cuda", "no CUDA device here"),
        ("search --config .", "no study file '.'"),
        ("search --space scaling --target 1K", "nearest reachable"),
        ("search --space scaling --phi 1,1", "each once"),
        ("search --target " + "9" * 400, "below 1e18"),
        ("search --train-fraction 0", "(0, 1]"),
        ("search --store postgresql://me:secret", "not a store URL"),
        ("search --store mysql://x/y", "SQLite or PostgreSQL"),
        ("sarch", "Did you mean 'search'"),
        ("scale --group-channels 0", "at least 1"),
        ("scale --alpha 1e300 --phi 20", "at most 4"),
        ("cost " + "x" * 5000, "not a variant"),
        ("cost 64,16,4,x", "not a variant"),
        ("cost Q", "not a variant: 'Q'"),
        ("cost 64,16,4", "four numbers"),
        ("cost H --image-size 100", "exactly twice"),
        ("scale --phi x", "malformed list of numbers"),
        ("scale --base G", "AABA"),
        ("show s", "no store at"),
        ("export s --trial 1", "no store at"),
        ("search --store postgresql+psycopg://me:secret@127.0.0.1:1/x --engine local", "cannot use the store postgresql+psycopg://me:***@"),
    ],
)
def test_bad_input_is_one_clear_line_and_exit_code_1(cli: Cli, tmp_path: Path, arguments: str, message: str) -> None:
    code, out, err = cli(*arguments.split())
    assert (code, out) == (1, "")
    assert len(err.strip().splitlines()) == 1
    assert message in err
    assert "Traceback" not in err
    assert "secret" not in err
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_in_the_store_is_named_beside_what_is(cli: Cli, tmp_path: Path) -> None:
    cli("search", *TINY, "--engine", "local")
    assert "no study 'other'" in cli("show", "other")[2]
    assert "known: stacking" in cli("show", "other")[2]
    assert "has no trial 77" in cli("export", "stacking", "--trial", "77", "--out", str(tmp_path / "x"))[2]
    assert "unknown format 'exe'" in cli("export", "stacking", "--trial", "0", "--format", "exe", "--out", str(tmp_path / "x"))[2]
    assert not (tmp_path / "x").exists()
    mismatch = cli("search", *TINY, "--engine", "local", "--seed", "5")
    assert mismatch[0] == 1
    assert "seed is 0, asked 5" in mismatch[2]


@pytest.mark.parametrize("name", sorted(path.stem for path in (Path(nas.__file__).parent.parent / "studies/presets").glob("*.yaml")))
def test_every_preset_study_lists_its_candidates(cli: Cli, name: str) -> None:
    rows = json.loads(cli("search", "--config", name, "--dry-run", "--format", "json")[1])
    assert any(row["feasible"] for row in rows)
    assert len(nas.StudyConfig.read(name).objectives) == 2


def test_the_default_search_is_the_preset_study_of_its_name() -> None:
    assert nas.StudyConfig.read("stacking-digits") == nas.StudyConfig()


PANELS = {
    "Search": ["search", "studies", "show", "pareto", "ledger", "compare", "fit", "report"],
    "Store": ["artifacts", "trials", "rename", "copy", "delete"],
    "Variants": ["cost", "scale", "explain", "iso", "scores", "latency", "export"],
    "Training": ["train", "evaluate", "inspect", "fidelity", "data"],
    "Tools": ["doctor", "dashboard"],
}


def commands_of(group: Any, before: str = "") -> dict[str, Any]:
    """Commands by their full name, those of groups among them."""
    found = {}
    for name, command in group.commands.items():
        found |= commands_of(command, f"{before}{name} ") if hasattr(command, "commands") else {before + name: command}
    return found


def test_every_command_has_help_with_an_example_and_takes_a_store() -> None:
    commands = commands_of(typer.main.get_command(app))
    assert set(commands) == {name for names in PANELS.values() for name in names} - {"data"} | {"data pack", "data info"}
    for name, command in commands.items():
        assert f"Example: nas {name} " in f"{command.help} ", name
        assert "--store" in [flag for parameter in command.params for flag in parameter.opts], name


def test_help_lists_the_commands_by_what_they_are_for(cli: Cli) -> None:
    listed: dict[str, list[str]] = {}
    for line in cli("--help")[1].splitlines():
        if title := re.match(r"╭─ (\w+) ─", line):
            panel = listed.setdefault(title[1], [])
        elif name := re.match(r"│ ([a-z]+) ", line):
            panel.append(name[1])
    del listed["Options"]
    assert {panel: sorted(names) for panel, names in listed.items()} == {panel: sorted(names) for panel, names in PANELS.items()}


HEAVY = ["torch", "ray", "optuna", "streamlit", "sqlalchemy", "pandas", "pydantic", "numpy", "scipy", "plotly", "alembic"]


def loaded_by(code: str, names: list[str]) -> str:
    """Which of the modules `names` a fresh Python has loaded after running `code`."""
    script = f"import sys\n{code}\nprint([name for name in {names} if name in sys.modules])"
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.splitlines()[-1]


def test_help_loads_nothing_heavy() -> None:
    assert loaded_by("from nas.cli import main\nsys.argv = ['nas', '--help']\ntry: main()\nexcept SystemExit: pass", HEAVY) == "[]"


def test_a_dry_run_needs_neither_torch_nor_ray() -> None:
    run = "from nas.cli import main\nsys.argv = ['nas', 'search', '--dry-run']\ntry: main()\nexcept SystemExit: pass"
    assert loaded_by(run, ["torch", "ray", "streamlit", "pandas", "scipy"]) == "[]"


def test_packages_are_light_until_used() -> None:
    assert loaded_by("import nas, nas.cli, studies, trainer, dcnv3, dashboard, searchspace", [*HEAVY[:6], "pydantic"]) == "[]"


def test_public_names_are_what_they_were() -> None:
    assert " ".join(nas.__all__) == (
        "Budget Certificate Constraint Halving MissingExtra NasError ProxyConfig Study StudyConfig __version__ build certificate "
        "full_proxy latency_exponents load_variant open_study scaling_space search stacking_space train"
    )
    assert all(getattr(nas, name) is not None for name in nas.__all__)
    assert nas.load_variant("T") == load_variant("t") == preset("T").config


@pytest.mark.parametrize("engine", ["local", pytest.param("ray", marks=[pytest.mark.cluster, pytest.mark.xdist_group("ray")])])
@pytest.mark.parametrize("blow", [signal.SIGINT, signal.SIGKILL])
def test_a_search_that_is_stopped_or_killed_goes_on_by_the_same_command(engine: str, blow: signal.Signals, store_url: str) -> None:
    command = [*NAS, "search", *TINY, "--epochs", "8", "--engine", engine, "--workers", "1", "--store", store_url]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stderr is not None
    try:
        first = next(line for line in process.stderr if "[1/3]" in line)
        os.killpg(process.pid, blow)  # Ctrl-C reaches the whole group, as from a terminal
        out, err = process.communicate(timeout=120)
    finally:
        process.kill()
    assert out == ""
    store = Store(store_url)
    stopped = store.trials(store.study("stacking"))
    if blow is signal.SIGINT:
        assert process.returncode == 130, err
        assert "the same command goes on from here" in err
        assert "Traceback" not in err
        assert TrialState.RUNNING not in {trial.state for trial in stopped}
    done = [trial for trial in stopped if trial.state is TrialState.COMPLETE]
    assert 1 <= len(done) < 3, first
    again = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    finished = {trial.number: trial for trial in store.trials(store.study("stacking"))}
    assert {trial.state for trial in finished.values()} == {TrialState.COMPLETE}, again.stderr
    assert len(finished) == 3
    assert all(finished[trial.number] == trial for trial in done)  # untouched, down to the time stamps


def test_a_missing_extra_is_one_line_with_the_command_that_mends_it(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nas.commands.tools.find_spec", lambda name: None)
    code, _, err = cli("dashboard")
    assert code == 1
    assert err == "nas: the dashboard needs the extra 'dashboard': pip install 'nas-scaling[dashboard]'\n"


def test_a_dashboard_of_no_store_is_refused_before_anything_is_served(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nas.commands.tools.subprocess.run", lambda *_, **__: pytest.fail("it is served"))
    code, _, err = cli("dashboard", "--store", "foo.db")
    assert (code, "not a store URL" in err) == (1, True)


def test_a_full_disk_leaves_no_half_written_export(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cli("search", *TINY, "--engine", "local")

    def full(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    code, _, err = cli("export", "stacking", "--trial", "0", "--out", str(tmp_path / "variants"))
    assert (code, "No space left on device" in err) == (1, True)
    assert list((tmp_path / "variants").iterdir()) == []
    shutil.rmtree(tmp_path / "variants")
