import io
import json
import shlex
import zipfile
from collections.abc import Iterator

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import nas
from dashboard.charts.breakdown import breakdown_figure
from dashboard.charts.curves import curves_figure
from dashboard.charts.stages import stages_figure
from dashboard.downloads import CARRIERS, download, every_download, export_command
from dashboard.trial_facts import metrics_table, provenance_facts, rung_mates, same_choice, spread_over_seeds
from nas.cli import app as commands
from nas.export import export_trial
from nas.export_weights import CARRIERS as NAS_CARRIERS
from searchspace.cost import cost, cost_by_part
from searchspace.formats import FORMATS, VariantDocument
from searchspace.presets import PRESETS
from searchspace.spaces import stacking_space
from searchspace.switch_flags import with_settings
from studies.artifacts import Artifacts
from studies.frames import reports_frame, trials_frame
from studies.halving import Halving
from studies.provenance import trial_document
from studies.records import Report, TrialState
from studies.store import Store
from tests.browsing import chromium, click_there, dashboard_server, point_at, tab_of, wait_for
from tests.dashboard_views import HOSTILE, Shown, add, fill, open_study, show, train
from trainer.proxy_config import ProxyConfig

SMALL = stacking_space(channels=[64], group_channels=[16, 32], l1=[4, 5])
BEST = 2  # of the trials of `filled`, which are four choices


@pytest.fixture
def store(store_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setenv("NAS_STORE", store_url)
    store = Store(store_url)
    yield store
    store.close()


@pytest.mark.parametrize("name", PRESETS)
def test_the_stages_are_as_long_as_deep_and_say_widths_groups_and_resolution(name):
    config = PRESETS[name].config
    [bars] = stages_figure(config, 224).data
    assert list(bars.x) == list(config.depths)
    assert list(bars.width) == sorted(bars.width)
    assert [label.partition("<br>")[2] for label in bars.y] == ["56 × 56", "28 × 28", "14 × 14", "7 × 7"]
    for text, depth, width, groups in zip(bars.text, config.depths, config.widths, config.groups, strict=True):
        assert text == f"{depth} × {width:,} channels, {groups} groups"
    assert stages_figure(config, deepest=100).layout.xaxis.range[1] > 100


@pytest.mark.parametrize("name", ["T", "H"])
def test_the_parts_add_up_to_the_cost_and_are_told_apart_without_colour(name):
    figure = breakdown_figure(cost_by_part(PRESETS[name].config))
    assert [bars.name for bars in figure.data] == ["params", "FLOPs"]
    assert all(sum(bars.x) == pytest.approx(100) for bars in figure.data)
    assert figure.data[0].marker.pattern.shape != figure.data[1].marker.pattern.shape
    whole = cost(PRESETS[name].config)
    amounts = [int(text.partition("params ")[2].partition("<")[0].replace(",", "")) for text in figure.data[0].hovertext]
    assert sum(amounts) == whole.params


@settings(max_examples=40)
@given(
    st.lists(st.tuples(st.sampled_from(["COMPLETE", "PRUNED", "RUNNING", "FAILED", "QUEUED"]), st.integers(1, 3)), min_size=1), st.data()
)
def test_rung_mates_are_those_measured_as_long_and_the_trial_is_among_them(trials, data):
    rows = [
        {"number": i, "state": state, "fidelity_epochs": None if state == "QUEUED" else epochs, "top1": i / 100}
        for i, (state, epochs) in enumerate(trials)
    ]
    frame = pd.DataFrame(rows).astype({"fidelity_epochs": float})
    number = data.draw(st.integers(0, len(trials) - 1))
    mates, n = rung_mates(frame, number, "top1", most=5)
    own = frame["fidelity_epochs"].iloc[number]
    measured = {i for i, (state, epochs) in enumerate(trials) if state in ("COMPLETE", "PRUNED", "RUNNING") and epochs >= own}
    assert number in mates
    assert set(mates) - {number} <= measured
    assert n == len(measured)
    assert len(mates) <= 6
    assert n > 5 or set(mates) == measured | {number}


@given(st.integers(1, 40), st.integers(2, 5), st.integers(1, 200))
def test_rungs_are_those_of_the_search(least, eta, epochs):
    halving = Halving(eta=eta, min_epochs=least)
    stored = nas.StudyConfig(space=stacking_space(), proxy=ProxyConfig(epochs=epochs), halving=halving).to_dict()
    assert Halving.of(json.loads(json.dumps(stored))) == halving
    assert list(halving.milestones(epochs)) == [least * eta**k for k in range(8) if least * eta**k < epochs]
    assert Halving.of({}) is None
    with pytest.raises(ValueError, match="halving cannot be"):
        Halving.of({"halving": {"rate": 3}})


def test_rungs_are_drawn_under_the_curves():
    reports = reports_frame({0: [Report(epoch, {"top1": 0.1 * epoch}) for epoch in (1, 2, 3)]})
    figure = curves_figure(reports, chosen=0, rungs=[1, 3])
    assert [shape.x0 for shape in figure.layout.shapes] == [1, 3]


def filled(store: Store, name: str = "s", **settings: object) -> None:
    fill(store, SMALL, [0.5, 0.6, 0.7, 0.4], name, **settings)


def trial_of(store: Store, number: int, name: str = "s"):
    return store.trial(store.study(name), number)


@pytest.mark.parametrize("format", FORMATS)
def test_a_download_is_what_the_command_exports_and_builds_back(store, store_url, tmp_path, format):
    filled(store, HOSTILE)
    document = trial_document(HOSTILE, trial_of(store, BEST, HOSTILE))
    exported = export_trial(nas.open_study(HOSTILE, store=store), BEST, format=format, out=tmp_path / "out")
    file = download(document, format)
    saved = tmp_path / file.name
    saved.write_bytes(file.data)
    if exported.is_dir():
        with zipfile.ZipFile(io.BytesIO(file.data)) as archive:
            archive.extractall(tmp_path)
        saved = tmp_path / exported.name
        assert {path.name: path.read_text() for path in saved.iterdir()} == {path.name: path.read_text() for path in exported.iterdir()}
    else:
        assert file.name == exported.name
        assert saved.read_text() == exported.read_text()
    assert file.mime
    assert nas.load_variant(saved) == document.config


def test_a_format_that_cannot_express_a_switch_says_so():
    config = with_settings(PRESETS["T"].config, ["unshared_weights=true"])
    files = every_download(VariantDocument("x", config).to_json())
    assert "cannot express unshared_weights" in files["mmdet"]
    assert files["yaml"].name == "x.yaml"


@pytest.mark.parametrize("name", ["plain", HOSTILE, "it's --front", "-x", "$HOME `ls`"])
def test_the_command_that_is_shown_runs_whatever_the_study_is_called(store, tmp_path, monkeypatch, name):
    filled(store, name)
    monkeypatch.chdir(tmp_path)
    program, *arguments = shlex.split(export_command(name, BEST, "yaml"))
    assert program == "nas"
    result = CliRunner().invoke(commands, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    [file] = (tmp_path / "export").iterdir()
    assert nas.load_variant(file) == nas.load_variant("64,32,4,21")


def test_commands_cover_every_format_that_carries_weights():
    assert set(CARRIERS) == set(NAS_CARRIERS)
    assert "--weights FILE" in export_command("s", 1, "torch", recorded=False)
    assert "--weights" not in export_command("s", 1, "torch")


def test_provenance_tells_who_ran_it_when_and_at_what_fidelity(store):
    filled(store)
    facts = provenance_facts(store.study("s"), trial_of(store, BEST))
    assert facts["choice"] == "channels=64, group_channels=32, l1=4"
    assert facts["fidelity"] == "digits (synthetic), 32 px, 3 epochs, channels / 4"
    assert (facts["worker"], facts["attempts"], facts["seed"]) == ("here-0", "1", "0")
    assert facts["started"].endswith("UTC")
    assert f"nas-scaling {nas.__version__}" in facts["versions here"]
    assert "checkpoint" not in facts


def test_metrics_carry_units_and_their_spread_over_the_seeds_of_the_choice(store):
    fill(store, SMALL, [0.5, 0.6], seeds=2)
    frame = trials_frame(store.trials(store.study("s")))
    same = same_choice(frame, 3)
    assert list(same["number"]) == [2, 3]
    mean, deviation, n = spread_over_seeds(same)["top1"]
    assert (mean, deviation, n) == (pytest.approx(0.55), pytest.approx(0.05 * 2**0.5), 2)
    table = metrics_table(trial_of(store, 3), spread={"top1": deviation}).set_index("metric")
    assert tuple(table.loc["top-1", ["value", "± over seeds"]]) == ("60.0%", "7.1%")
    assert table.loc["params", "value"].endswith("M")
    assert spread_over_seeds(same.iloc[:1]) == {}


def opened(monkeypatch: pytest.MonkeyPatch, **query: str) -> Shown:
    return show(monkeypatch, "trial", "curves", **query)


def test_the_view_shows_the_best_trial_and_keeps_it_in_the_address(store, monkeypatch):
    filled(store)
    shown = opened(monkeypatch)
    assert shown.app.selectbox[0].value == BEST
    assert shown.app.query_params["trial"] == str(BEST)
    assert set(shown.figures) == {"stages", "breakdown", "curves"}
    assert len(shown.figures["curves"].data) == 4
    assert "trial 2" in shown.figures["curves"].data[-1].name
    assert list(shown.figures["stages"].data[0].x) == [4, 4, 21, 4]
    assert shown.app.get("download_button")
    assert export_command("s", BEST, "torch", recorded=False) in shown.words


def test_the_list_of_trials_follows_the_address_and_writes_it(store, monkeypatch):
    filled(store)
    shown = opened(monkeypatch, trial="1")
    assert shown.app.selectbox[0].value == 1
    shown.app.selectbox[0].set_value(3)
    shown.again()
    assert shown.app.query_params["trial"] == "3"
    assert "trial 3" in shown.figures["curves"].data[-1].name
    assert opened(monkeypatch, trial="99").app.selectbox[0].value == BEST


def test_a_failed_trial_shows_its_error_word_for_word(store, monkeypatch):
    study = open_study(store, SMALL, HOSTILE)
    trial = add(store, study, SMALL.feasible()[0])
    store.start(trial)
    store.finish(trial, TrialState.FAILED, reason=f"RuntimeError: {HOSTILE}\n  in line 3")
    shown = opened(monkeypatch, study=HOSTILE)
    assert f"RuntimeError: {HOSTILE}\n  in line 3" in [code.value for code in shown.app.code]
    assert not any("<script>" in each.value or "<b>x" in each.value for each in (*shown.app.markdown, *shown.app.caption))
    assert "failed before its first epoch" in shown.words


def test_an_infeasible_trial_says_why_and_offers_nothing_to_take_home(store, monkeypatch):
    filled(store)
    infeasible = next(candidate for candidate in stacking_space().enumerate() if candidate.config is None)
    trial = add(store, store.study("s"), infeasible)
    shown = opened(monkeypatch, trial=str(trial.number))
    assert "must be a multiple of" in shown.words.replace("\\", "")
    assert not shown.figures
    assert not shown.app.get("download_button")


def test_a_trial_that_waits_has_no_curve_yet_and_a_study_without_trials_says_so(store, monkeypatch):
    study = open_study(store, SMALL)
    assert "no trial yet" in opened(monkeypatch).words
    trial = add(store, study, SMALL.feasible()[0])
    assert "No epoch has been reported yet" in opened(monkeypatch).words
    train(store, trial, 0.5, epochs=1, state=TrialState.PRUNED)
    assert "curves" in opened(monkeypatch).figures


def test_weights_that_a_search_recorded_need_no_file_in_the_command(store, monkeypatch, tmp_path):
    filled(store)
    file = tmp_path / "weights.safetensors"
    file.write_bytes(b"weights")
    store.artifacts.record(trial_of(store, BEST), "weights", file)
    words = opened(monkeypatch, trial=str(BEST)).words
    assert export_command("s", BEST, "onnx") in words
    assert "--weights" not in words
    assert "SHA\\-256" in words


def test_the_view_asks_once_for_the_files_of_its_trial_alone(store, monkeypatch):
    filled(store)
    asked = []
    real = Artifacts.of
    monkeypatch.setattr(Artifacts, "of", lambda self, study, **narrowed: asked.append(narrowed) or real(self, study, **narrowed))
    opened(monkeypatch, trial=str(BEST))
    assert asked == [{"number": BEST}]


def test_the_view_shows_a_trials_curve_among_its_rung_mates(store, monkeypatch):
    filled(store, halving={"mode": "stop", "eta": 3, "min_epochs": 1})
    early = add(store, store.study("s"), SMALL.feasible()[0], seed=7)
    train(store, early, 0.3, epochs=1, state=TrialState.PRUNED)
    shown = opened(monkeypatch, trial="0", curve="loss")
    assert len(shown.figures["curves"].data) == 4
    assert len(opened(monkeypatch, trial=str(early.number)).figures["curves"].data) == 5
    assert shown.figures["curves"].layout.yaxis.title.text == "loss"
    assert [shape.x0 for shape in shown.figures["curves"].layout.shapes] == [1]
    assert "rungs, at epoch 1" in shown.words


WIDTHS = "document.documentElement.scrollWidth <= document.documentElement.clientWidth"


@pytest.mark.browser
def test_every_view_fits_a_phone_a_cell_opens_its_trial_and_its_downloads_build_the_network(store, store_url, tmp_path):
    fill(store, stacking_space(channels=[16], group_channels=[8, 16], l1=[1], l3=[2]), [0.5, 0.6])
    with dashboard_server(store_url, tmp_path) as address, chromium() as browser:
        with tab_of(browser, f"{address}/?study=s&view=compare&compare=0,1,T", width=390, color_scheme="dark") as tab:
            for view, figures in (("Compare", 4), ("Trial", 3), ("Stacking map", 2), ("Scaling", 0)):
                tab.get_by_test_id("stButtonGroup").first.get_by_text(view, exact=True).click()
                wait_for(lambda n=figures: tab.locator(".js-plotly-plot .main-svg:first-child").count() == n, what=f"the figures of {view}")
                assert tab.evaluate(WIDTHS), view
        with tab_of(browser, f"{address}/?study=s&view=stacking_map") as tab:
            click_cell(tab, "stacking-16", trial=1)
            tab.wait_for_url("**trial=1**")
            for kind in ("yaml", "huggingface"):
                with tab.expect_download() as waiting:
                    tab.get_by_test_id("stDownloadButton").filter(has_text=kind).get_by_role("button").click()
                builds_back(waiting.value, tmp_path / kind, store)


def click_cell(tab, key: str, *, trial: int) -> None:
    """Click the cell of a heat map that stands for a trial."""
    tab.wait_for_selector(f".st-key-{key} .js-plotly-plot .heatmaplayer image")
    place = """([key, trial]) => {
      const plot = document.querySelector(`.st-key-${key} .js-plotly-plot`), { xaxis, yaxis } = plot._fullLayout;
      const corner = plot.getBoundingClientRect(), row = plot._fullData[0].customdata.findIndex(each => each.includes(trial));
      const column = plot._fullData[0].customdata[row].indexOf(trial);
      return [corner.left + xaxis._offset + xaxis.d2p(column) + 9, corner.top + yaxis._offset + yaxis.d2p(row)];
    }"""
    point_at(tab, lambda: tab.evaluate(place, [key, trial]), words=f"trial {trial}")
    click_there(tab)


def builds_back(saved, folder, store: Store) -> None:
    """A downloaded file, unpacked where it is several, builds the network of trial 1."""
    folder.mkdir()
    file = folder / saved.suggested_filename
    saved.save_as(file)
    if file.suffix == ".zip":
        with zipfile.ZipFile(file) as archive:
            archive.extractall(folder)
        file = folder / file.stem
    config = nas.load_variant(file)
    assert config.to_dict() == trial_of(store, 1).model
    assert sum(weight.numel() for weight in nas.build(config).parameters()) == cost(config).params
