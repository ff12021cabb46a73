import dataclasses
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text
from streamlit.testing.v1 import AppTest

from dashboard.live import is_live
from searchspace.space import Candidate
from searchspace.spaces import stacking_space
from studies.records import NewTrial, Report, StudyRecord, Trial, TrialState
from studies.store import Store

ROOT = Path(__file__).parents[1]
APP = ROOT / "dashboard" / "app.py"
CONFIG = {"objectives": [{"metric": "top1", "direction": "maximize"}, {"metric": "flops", "direction": "minimize"}]}
FIDELITY = {"dataset": "digits", "synthetic": True, "image_size": 32, "epochs": 3, "channel_divisor": 4, "train_fraction": 1.0, "seed": 0}
CHROMIUM_ARGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync"
)
PATIENCE_S = 60


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    address = f"sqlite:///{tmp_path / 'nas.db'}"
    monkeypatch.setenv("NAS_STORE", address)
    return address


def add(store: Store, study: StudyRecord, candidate: Candidate, *, seed: int = 0) -> Trial:
    new = NewTrial(
        params=candidate.params,
        seed=seed,
        state=TrialState.QUEUED if candidate.feasible else TrialState.INFEASIBLE,
        model=candidate.config.to_dict() if candidate.config else None,
        cost=dataclasses.asdict(candidate.cost) if candidate.cost else {},
        reason=candidate.reason,
    )
    [trial] = store.add(study, [new])
    return trial


def train(store: Store, trial: Trial, *, top1: float, finish: bool = True) -> None:
    store.start(trial)
    for epoch in (1, 2, 3):
        store.report(trial, Report(epoch, {"top1": top1 * epoch / 3, "loss": 3.0 - top1 * epoch}), fidelity=FIDELITY)
    if finish:
        store.finish(trial, TrialState.COMPLETE)


def fill(store: Store, name: str = "stacking") -> StudyRecord:
    """A study with the 19 feasible variants complete, the others infeasible, and one failed trial."""
    study = store.open(name, CONFIG)
    for i, candidate in enumerate(stacking_space().enumerate()):
        trial = add(store, study, candidate)
        if candidate.feasible:
            train(store, trial, top1=0.5 + i * 7 % 13 / 100)
    store.finish(add(store, study, stacking_space().feasible()[0], seed=1), TrialState.FAILED, reason="the worker was lost <b>twice</b>")
    return study


def shown(app: AppTest) -> AppTest:
    app.run()
    assert not app.exception
    return app


def page(**query: str) -> AppTest:
    app = AppTest.from_file(APP, default_timeout=PATIENCE_S)
    for key, value in query.items():
        app.query_params[key] = value
    return shown(app)


def test_a_study_is_shown_with_front_trials_and_reasons(url):
    fill(Store(url))
    app = page()
    numbers = {metric.label: metric.value for metric in app.metric}
    assert app.header[0].value == "stacking"
    assert numbers["best top-1"] == "62.0%"
    assert numbers["complete"] == "19"
    assert len(app.get("plotly_chart")) == 1
    assert len(app.dataframe[0].value) == 19
    assert [expander.label for expander in app.expander] == ["Infeasible, never trained (11)", "Failed (1)"]
    assert "the worker was lost <b>twice</b>" in set(app.dataframe[2].value["reason"])
    assert "digits (synthetic), 32 px, 3 epochs, channels / 4" in app.caption[0].value.replace("\\", "")


def test_learning_curves_follow_the_chosen_trial_and_metric(url):
    fill(Store(url))
    app = page(view="Learning curves")
    assert len(app.get("plotly_chart")) == 1
    assert app.main.selectbox[0].value == 11
    app.main.selectbox[0].set_value(0)
    app.segmented_control[0].set_value("loss")
    shown(app)
    assert app.main.selectbox[0].value == 0
    assert app.segmented_control[0].value == "loss"


def test_all_studies_are_listed_with_their_best(url):
    store = Store(url)
    fill(store)
    store.open("empty", CONFIG)
    table = page(view="All studies").dataframe[0].value
    assert dict(zip(table["study"], table["best"], strict=True)) == {"empty": "–", "stacking": "62.0%"}


def test_the_address_names_the_study_and_never_the_store(url):
    store = Store(url)
    fill(store, "first")
    fill(store, "second")
    app = page(study="first")
    assert app.header[0].value == "first"
    app.sidebar.selectbox[0].set_value("second")
    shown(app)
    assert app.header[0].value == "second"
    assert app.query_params["study"] == "second"
    assert not any("sqlite" in str(value) for value in app.query_params.values())


def test_an_unknown_study_in_the_address_gives_the_newest_and_says_so(url):
    fill(Store(url), "only")
    app = page(study="gone")
    assert app.header[0].value == "only"
    assert "No study gone" in app.toast[0].value


def test_markup_in_a_study_name_stays_text(url):
    fill(Store(url), "<b>x</b>")
    assert page().header[0].value == r"\<b\>x\</b\>"


def test_a_study_without_trials_says_what_is_awaited(url):
    Store(url).open("new", CONFIG)
    app = page()
    assert "No trial is complete yet" in app.info[0].value
    assert not app.get("plotly_chart")
    assert "No epoch has been reported yet" in page(view="Learning curves").info[0].value


def test_a_queued_trial_is_listed_before_it_is_measured(url):
    store = Store(url)
    add(store, store.open("new", CONFIG), stacking_space().feasible()[0])
    assert list(page().dataframe[0].value["state"]) == ["queued"]


def test_an_empty_store_names_the_command_that_fills_it(url):
    Store(url)
    assert "nas search --space stacking" in page().info[0].value


def test_a_missing_store_is_one_message_and_retry_finds_it_later(url):
    app = page()
    assert "no store at" in app.error[0].value
    assert app.button[0].label == "Retry"
    assert not Path(url.removeprefix("sqlite:///")).exists()
    fill(Store(url))
    app.button[0].click()
    shown(app)
    assert app.header[0].value == "stacking"


def test_a_newer_store_is_one_message(url):
    Store(url).close()
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    assert "newer schema 9999" in page().error[0].value


def test_an_unreachable_store_never_shows_its_password(monkeypatch):
    monkeypatch.setenv("NAS_STORE", "postgresql+psycopg://nas:s3cret@127.0.0.1:9/nas?connect_timeout=2")
    app = page()
    assert app.error
    assert "s3cret" not in str(app.main)


def test_only_a_study_at_work_is_live(url):
    store = Store(url)
    fill(store)
    [summary] = store.studies()
    later = summary.updated_at.replace(year=summary.updated_at.year + 1)
    assert is_live(summary, now=summary.updated_at)
    assert not is_live(summary, now=later)
    in_an_epoch = summary.updated_at + timedelta(minutes=5)
    for state, live in ((TrialState.QUEUED, False), (TrialState.RUNNING, True)):
        waiting = dataclasses.replace(summary, counts={state: 1})
        assert is_live(waiting, now=in_an_epoch) is live
        assert not is_live(waiting, now=later)  # its driver has died


@pytest.fixture
def server(url: str, tmp_path: Path) -> Iterator[str]:
    """The address of a real server on a store with one filled study whose last trial still runs."""
    store = Store(url)
    train(store, add(store, fill(store), stacking_space().feasible()[0], seed=2), top1=0.4, finish=False)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "streamlit", "run", str(APP), "--server.port", str(port)]
    environment = {**os.environ, "NAS_STORE": url, "HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    log = tmp_path / "server.log"
    with log.open("w") as output:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT)
        try:
            address = f"http://127.0.0.1:{port}"
            wait_for(lambda: process.poll() is not None or answers(f"{address}/_stcore/health"), what="the server")
            assert process.poll() is None, log.read_text()
            yield address
        finally:
            stop(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(timeout=15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=5) as response:
            return response.status == 200
    except (urllib.error.URLError, OSError):
        return False


def wait_for(condition: Callable[[], Any], *, what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come within {PATIENCE_S} s")
        time.sleep(0.2)


@pytest.fixture
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    executable = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if executable is None:
        pytest.skip("no Chromium: set CHROMIUM to its path or put `chromium` on PATH")
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=executable, args=CHROMIUM_ARGS.split(), timeout=PATIENCE_S * 1000)
        yield chromium
        chromium.close()


def points(tab: Any) -> int:
    return int(tab.locator(".scatterlayer path.point").count())


@pytest.mark.browser
def test_a_new_trial_appears_in_the_browser_without_a_reload(browser, server, url):
    tab = browser.new_page(viewport={"width": 1280, "height": 1200})
    tab.set_default_timeout(PATIENCE_S * 1000)
    errors: list[str] = []
    tab.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    tab.on("pageerror", lambda error: errors.append(str(error)))
    tab.goto(server)
    tab.wait_for_selector(".js-plotly-plot .scatterlayer")
    tab.wait_for_selector("[data-testid=stDataFrame] canvas")
    wait_for(lambda: points(tab) == 19, what="the chart of 19 trials")
    tab.evaluate("window.loadedOnce = true")

    store = Store(url)
    [study] = [summary.study for summary in store.studies()]
    train(store, add(store, study, stacking_space().feasible()[3], seed=1), top1=0.9)

    wait_for(lambda: points(tab) == 20, what="the new trial")
    tab.get_by_test_id("stMetric").filter(has_text="complete").get_by_text("20").wait_for()
    assert tab.evaluate("window.loadedOnce")
    assert "study=stacking" in tab.url
    assert "sqlite" not in tab.url
    assert errors == []


@pytest.mark.browser
def test_a_refresh_keeps_the_chosen_view_and_trial(browser, server, url):
    tab = browser.new_page(viewport={"width": 1280, "height": 1200})
    tab.set_default_timeout(PATIENCE_S * 1000)
    tab.goto(server)
    tab.get_by_role("tab", name="Learning curves").click()
    tab.get_by_text("loss", exact=True).click()
    tab.get_by_text("loss", exact=True).and_(tab.locator(".ytitle")).wait_for()
    wait_for(lambda: tab.locator(".legendtext").count() == 1, what="the figure before it to go")
    before, coloured = points(tab), tab.locator(".legendtext").text_content()

    store = Store(url)
    [study] = [summary.study for summary in store.studies()]
    train(store, add(store, study, stacking_space().feasible()[3], seed=1), top1=0.9)

    wait_for(lambda: points(tab) == before + 3 and tab.locator(".legendtext").count() == 1, what="the new curve")
    assert tab.locator(".ytitle").text_content() == "loss"
    assert tab.locator(".legendtext").text_content() == coloured
    assert "view=Learning" in tab.url
