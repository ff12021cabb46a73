"""`nas scale`, `nas explain` and `nas iso` as a user meets them: what they print, write and refuse."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

import nas
from searchspace.cost import cost
from searchspace.exponents import exponents
from searchspace.formats import load_variant, read_document
from searchspace.presets import preset
from searchspace.scaling import compound_scale
from searchspace.stacking import stack
from studies.records import NewTrial, Report, TrialState
from studies.store import Store
from tests.test_nas_cli import Cli, cli

__all__ = ["cli"]
FIT: dict[str, Any] = {
    "scale_metric": "flops",
    "exponents": {"depth": 1.0, "width": 1.98},
    "base_model": stack(32, 8, 2, 6).to_dict(),
    "refused": None,
    "best": {"alpha": 1.15, "beta": (2 / 1.15) ** (1 / 1.98), "share": 0.2},
}


def rows(cli: Cli, *arguments: str) -> list[dict[str, Any]]:
    """What a command prints as JSON."""
    code, out, err = cli(*arguments, "--format", "json")
    assert code == 0, err
    found: list[dict[str, Any]] = json.loads(out)
    return found


def test_a_family_is_printed_with_the_published_one_in_the_same_terms(cli: Cli) -> None:
    found = rows(cli, "scale", "--phi", "0:6")
    assert [(row["name"], row["phi"]) for row in found[:7]] == [("scaled", phi) for phi in range(7)]
    assert [row["name"] for row in found[7:]] == ["T", "S", "B", "L", "XL", "H"]
    assert found[0] == found[7] | {"name": "scaled"}
    assert (found[9]["widths"], found[9]["depths"], found[9]["style"]) == ("112-224-448-896", "4-4-21-4", "s")
    assert [round(found[11][key], 2) for key in ("phi_width", "phi_depth")] == [3.57, 3.04]
    assert found[3]["asked_params"] == 8 * 29_918_424
    assert found[3]["size_error"] == pytest.approx(found[3]["params"] / found[3]["asked_params"] - 1)
    assert next(csv.DictReader(io.StringIO(cli("scale", "--phi", "2", "--format", "csv")[1])))["variant"] == "112,16,5,21"
    out = cli("scale", "--phi", "0:2:0.5")[1]
    assert "scaled by α = 1.09, β = 1.36, the paper's best pair" in out
    assert all(text in out for text in ("1.5 ", "size error", "φ of depth", "1,089.64"))


def test_a_target_decides_phi_and_match_the_depth(cli: Cli) -> None:
    solved, matched = (rows(cli, "scale", "--target", "100M", *flags)[0] for flags in ((), ("--match",)))
    assert compound_scale(preset("T").config, solved["phi"]).short_name == solved["variant"]
    assert (solved["asked_params"], matched["variant"]) == (100e6, "112,16,4,21")
    flops = rows(cli, "scale", "--target", "16G", "--style", "s", "--group-channels", "32", "--split", "published")[0]
    assert flops["size_error"] == pytest.approx(flops["flops"] / 16e9 - 1)
    assert (flops["style"], flops["variant"].split(",")[1]) == ("s", "32")
    memory = rows(cli, "scale", "--target", "memory=16G")[0]
    assert memory["size_error"] == pytest.approx(memory["memory"] / 16e9 - 1)


def test_one_coefficient_brings_the_other_along_the_curve(cli: Cli) -> None:
    out = cli("scale", "--alpha", "1.2")[1]
    assert f"α = 1.2, β = {(2 / 1.2) ** (1 / exponents(preset('T').config, 'params').width):.4g};" in out
    assert "α = 1.09, β = 1.36;" in cli("scale", "--alpha", "1.09", "--beta", "1.36")[1]


@pytest.mark.parametrize("format", ["yaml", "json", "opengvlab", "huggingface", "mmdet", "mmseg"])
def test_out_writes_the_family_as_files_of_the_format_that_read_back(cli: Cli, tmp_path: Path, format: str) -> None:
    out = tmp_path / "family"
    code, printed, err = cli("scale", "--phi", "0,1.5", "--style", "s", "--out", str(out), "--format", format)
    assert code == 0, err
    assert "φ of width" in printed
    paths = [Path(line) for line in printed.splitlines() if line.startswith(str(out))]
    assert sorted(paths) == sorted(out.iterdir())
    found = [load_variant(path) for path in paths]
    assert found == [compound_scale(preset("T").config, phi, style="s") for phi in (0, 1.5)]


def test_a_file_says_what_it_was_scaled_from_and_by_and_nothing_of_this_machine(cli: Cli, tmp_path: Path) -> None:
    base = Path(cli("export", "--variant", "64,16,3,12", "--out", str(tmp_path / "base"))[1].strip())
    cli("scale", "--base", str(base), "--target", "40M", "--match", "--out", str(tmp_path / "family"))
    (file,) = (tmp_path / "family").iterdir()
    document = read_document(file)
    provenance = document.provenance
    assert document.name.startswith("internimage-64-16-3-12-phi-0.")
    assert provenance["scaled_from"]["model"] == stack(64, 16, 3, 12).to_dict()
    assert (provenance["alpha"], provenance["beta"], provenance["split"]) == (1.09, 1.36, "ratio")
    assert provenance["matched"] == {"params": 40e6}
    assert provenance["exported_with"]["nas-scaling"] == nas.__version__
    assert str(tmp_path) not in file.read_text()


def fitted(url: str, fit: dict[str, Any] | None) -> None:
    """A store with a scaling study, and with the fit where there is one."""
    store = Store(url)
    study = store.open("proxy", nas.StudyConfig(space=nas.scaling_space()).to_dict())
    if fit is not None:
        store.fits.add(study, "error", fit)


def test_a_study_gives_its_fitted_pair_its_base_and_the_size_that_it_doubles(cli: Cli, store_url: str, tmp_path: Path) -> None:
    fitted(store_url, FIT)
    base = stack(32, 8, 2, 6)
    found = rows(cli, "scale", "--study", "proxy", "--phi", "0,2")
    assert (found[0]["variant"], found[0]["asked_flops"]) == ("32,8,2,6", cost(base).flops)
    assert found[1]["variant"] == compound_scale(base, 2, alpha=1.15, beta=FIT["best"]["beta"]).short_name
    assert found[1]["size_error"] == pytest.approx(found[1]["flops"] / (4 * cost(base).flops) - 1)
    assert "fitted to study 'proxy'" in cli("scale", "--study", "proxy")[1]
    other = rows(cli, "scale", "--study", "proxy", "--base", "T", "--target", "100M")
    assert (other[1]["phi"], other[0]["asked_params"]) == (0, 100e6)
    cli("scale", "--study", "proxy", "--out", str(tmp_path / "family"))
    (file,) = (tmp_path / "family").iterdir()
    assert read_document(file).provenance["scaled_from"]["origin"] == {"study": "proxy"}


def test_the_best_of_a_study_can_be_the_base(cli: Cli, store_url: str, tmp_path: Path) -> None:
    store, config = Store(store_url), nas.StudyConfig(objectives=["top1"])
    study = store.open("stacking", config.to_dict())
    for candidate, top1 in zip(config.space.feasible()[:3], (0.5, 0.7, 0.6), strict=True):
        assert candidate.config is not None
        (trial,) = store.add(study, [NewTrial(params=candidate.params, seed=0, model=candidate.config.to_dict())])
        assert store.start(trial)
        store.report(trial, Report(1, {"top1": top1}), fidelity={"epochs": 1})
        assert store.finish(trial, TrialState.COMPLETE)
    assert rows(cli, "scale", "--base", "study:stacking", "--phi", "0")[0]["variant"] == "48,16,2,56"
    assert "stacking-best-phi-1.yaml" in cli("scale", "--base", "study:stacking", "--out", str(tmp_path / "family"))[1]
    assert "no study 'other'" in cli("scale", "--base", "study:other")[2]


@pytest.mark.parametrize("fit", [None, FIT | {"best": None, "refused": "one φ only"}])
def test_a_study_without_a_fitted_pair_names_the_command_that_fits_one(cli: Cli, store_url: str, fit: dict[str, Any] | None) -> None:
    fitted(store_url, fit)
    code, out, err = cli("scale", "--study", "proxy")
    assert (code, out, len(err.splitlines())) == (1, "", 1)
    assert "nas fit proxy" in err
    assert ("one φ only" in err) == (fit is not None)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("scale --alpha 0.9", "alpha and beta must be at least 1"),
        ("scale --beta 0.5", "alpha and beta must be at least 1"),
        ("scale --alpha 1.2 --beta 1.2", "nearest: 1.2360,1.2728"),
        ("scale --alpha 3", "nearest: "),
        ("scale --match --target memory=30G", "nearest: "),
        ("scale --phi 1,1", "each phi may be given once, got phi=1 again"),
        ("scale --phi 6:0", "a range ascends"),
        ("scale --phi 0:9999", "1 to 1000 members"),
        ("scale --phi 0:1:0", "malformed list of numbers"),
        ("scale --phi 0:inf", "malformed list of numbers"),
        ("scale --phi 1:2:3:4", "write 1.74 or 1,2,3 or 0:6"),
        ("scale --phi 30", "phi must lie in [-20, 20]"),
        ("scale --split keep-l1 --phi=-9", "phi=-9 cannot be built: split keep-l1 needs a depth of at least 4"),
        ("scale --split thirds", "unknown split 'thirds'; known: ratio, keep-l1, published"),
        ("scale --base 512,16,1", "four numbers"),
        ("scale --phi 1 --target 100M", "exclude each other"),
        ("scale --target 1K", "the nearest is 16,16,1,2"),
        ("scale --target 900000T", "take another base"),
        ("scale --format yaml", "without --out FOLDER, --format says how to print: table, json, csv; got 'yaml'"),
        ("scale --out OUT --format csv", "with --out, --format is the kind of the files: yaml, json, opengvlab"),
        ("scale --out OUT --phi 1,30", "phi must lie in"),
        ("scale --out OUT --split keep-l1 --phi 1,-9", "cannot be built"),
        ("scale --study proxy", "no store at"),
        ("scale --study proxy --alpha 1.2", "goes without --alpha and --beta"),
        ("explain T", "Missing argument 'B'"),
        ("explain T Q", "not a variant: 'Q'"),
        ("explain T S --alpha 0.5", "alpha and beta must be at least 1"),
        ("iso", "Missing option '--target'"),
        ("iso --target x", "not a quantity"),
        ("iso --target 1K", "the nearest is 16,16,1,1 with 577K (+57634.1%), where L1 <= L3 binds"),
        ("iso --target 50M --tolerance 200%", "fraction"),
        ("iso --target 50M --limit flops<=1G", "where limit binds: L3=43 is over the limit: flops"),
        ("iso --target 50M --channels 24 --group-channels 16", "nearest: 16, 32"),
        ("iso --target 50M --l1 8 --l3 1:3", "L1 exceeds every L3"),
        ("iso --target 50M --style q", "unknown style 'q'"),
        ("iso --target 30G --tolerance 99% --l1 1:90 --l3 1:200", "more than 100,000 to list; narrow"),
        ("iso --target activations=5M", "a scaling metric is one of"),
    ],
)
def test_bad_input_is_one_clear_line_and_leaves_nothing(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = cli(*arguments.split())
    assert (code, out, len(err.splitlines())) == (1, "", 1)
    assert message in err
    assert list(tmp_path.iterdir()) == []


def test_explain_tells_phi_costs_alone_switches_and_stages(cli: Cli) -> None:
    out = cli("explain", "T", "B")[1]
    assert "112,16,4,21 (style s) over 64,16,4,18 (style t)" in out
    assert "φ of width 1.82, φ of depth 1.11 (α = 1.09, β = 1.36)" in out
    for text in ("+60.4M", "layer_scale", "18 → 21", "256 → 448", "head", "together: beyond the sum of each alone"):
        assert text in out
    (document,) = [json.loads(cli("explain", "T", "B", "--format", "json")[1])]
    assert document["after"]["model"] == preset("B").config.to_dict()
    total = cost(preset("B").config).params - cost(preset("T").config).params
    assert sum(change["params"] for change in document["changes"]) == total
    assert sum(part["after"]["params"] - part["before"]["params"] for part in document["parts"]) == total
    changes = list(csv.DictReader(io.StringIO(cli("explain", "T", "B", "--format", "csv")[1])))
    assert [change["change"] for change in changes] == ["depth", "width", "switches", "together"]
    assert cli("explain", "L", "l")[1] == "160,16,5,22 (style l) twice: nothing differs\n"
    assert "Switches that differ" not in cli("explain", "L", "XL")[1]


def test_iso_lists_every_variant_of_a_size_and_what_binds(cli: Cli) -> None:
    found = json.loads(cli("iso", "--target", "30M", "--channels", "48,64,80", "--format", "json")[1])
    variants = {row["variant"]: row for row in found["variants"]}
    assert {"64,16,4,18", "64,16,1,31", "48,16,5,44", "80,16,3,9", "64,32,5,17"} <= set(variants)
    assert "80,16,4,4" not in variants or abs(variants["80,16,4,4"]["size_error"]) <= 0.02
    for row in found["variants"]:
        channels, group, l1, l3 = map(int, row["variant"].split(","))
        assert l1 <= l3
        assert row["params"] == cost(stack(channels, group, l1, l3)).params
        assert abs(row["params"] / 30e6 - 1) <= 0.02
    assert variants["64,16,4,18"]["depth_share"] is None
    assert variants["80,16,3,9"]["next_l1"] in ("L1 <= L3", "tolerance", None)
    assert {bound["rule"] for bound in found["bounds"]} >= {"width lattice", "L1 <= L3"}
    out = cli("iso", "--target", "50M", "--limit", "flops<=8G")[1]
    assert "params 50.0M ± 2.0%; doublings from 64,16,4,18; FLOPs at 224 px" in out
    assert "Where no L3 has the size, and which rule binds" in out
    flops = list(csv.DictReader(io.StringIO(cli("iso", "--target", "8G", "--tolerance", "1%", "--style", "s", "--format", "csv")[1])))
    assert flops
    assert all(abs(int(row["flops"]) / 8e9 - 1) <= 0.01 for row in flops)
    many = cli("iso", "--target", "50M", "--tolerance", "60%")[1]
    assert "the first 500; --format csv has all" in many
    assert many.count(",16,") < 500 < int(many.split()[0])
    assert "memory 16.0G ± 2.0% (bytes of training 64 images of 224 px in float32)" in cli("iso", "--target", "memory=16G")[1]
