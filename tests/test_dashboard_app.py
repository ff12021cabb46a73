import dataclasses
import json
import sqlite3
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text
from streamlit.testing.v1 import AppTest

from dashboard import app as dashboard_app
from dashboard.live import is_live
from dashboard.page import stamp
from searchspace.spaces import stacking_space
from studies import database, trial_changes
from studies.records import NewTrial, Report, TrialState
from studies.store import Store
from tests.browsing import APP, PATIENCE_S
from tests.dashboard_stores import CONFIG, fill, train
from tests.dashboard_views import add


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    address = f"sqlite:///{tmp_path / 'nas.db'}"
    monkeypatch.setenv("NAS_STORE", address)
    return address


def shown(app: AppTest) -> AppTest:
    app.run()
    assert not app.exception
    return app


def page(**query: Any) -> AppTest:
    app = AppTest.from_file(APP, default_timeout=PATIENCE_S)
    for key, value in query.items():
        app.query_params[key] = value
    return shown(app)


def figures(app: AppTest) -> dict[str, dict[str, Any]]:
    """The figures of a page by their key, as the browser gets them."""
    drawn = [element.proto for element in app.get("bidi_component") if element.proto.component_name == "plot"]
    return {proto.id.partition("-")[2].partition("-")[2]: json.loads(proto.bytes)["figure"] for proto in drawn}


def address(app: AppTest) -> dict[str, list[str]]:
    return {name: [value] if isinstance(value, str) else value for name, value in app.query_params.items()}


def traces(app: AppTest, key: str = "front") -> list[str]:
    return [trace["name"] for trace in figures(app)[key]["data"]]


def texts(app: AppTest) -> str:
    return "\n".join(element.value for kind in (app.caption, app.info, app.error, app.markdown) for element in kind).replace("\\", "")


def test_a_study_is_shown_with_front_trials_and_reasons(url):
    fill(Store(url))
    app = page(view="front")
    numbers = {metric.label: metric.value for metric in app.metric}
    assert app.header[0].value == "stacking"
    assert numbers["best top-1"] == "62.0%"
    assert numbers["complete"] == "19"
    assert list(figures(app)) == ["front", "hypervolume-trials", "hypervolume-seconds"]
    assert len(app.dataframe[0].value) == 19
    assert [expander.label for expander in app.expander] == ["Infeasible, never trained (11)", "Failed (1)"]
    assert "the worker was lost <b>twice</b>" in set(app.dataframe[2].value["reason"])
    assert "digits (synthetic), 32 px, 3 epochs, channels / 4" in texts(app)


def test_every_view_opens_on_an_empty_and_on_a_filled_study(url):
    store = Store(url)
    store.open("empty", CONFIG)
    fill(store)
    for view in dashboard_app.VIEWS:
        for study in ("empty", "stacking"):
            app = page(view=view, study=study)
            assert app.header[0].value == study
            assert not app.error


def test_the_overview_tells_state_progress_best_hypervolume_and_device_time(url):
    store = Store(url)
    study = fill(store)
    store.ledger.add(study, {"training": 5400.0, "idle": 1800.0}, driver="one")
    store.open("empty", CONFIG)
    app = page()
    lines = {line["study"]: line for line in app.dataframe[0].value.to_dict("records")}
    assert (lines["stacking"]["best"], lines["empty"]["best"]) == ("62.0%", "–")
    assert (lines["stacking"]["progress"], lines["empty"]["progress"]) == (100, 0)
    assert 0 < lines["stacking"]["hypervolume"] < 1
    assert lines["stacking"]["device time"] == "2\u202fh"
    assert "digits (synthetic)" in lines["stacking"]["measured on"]
    assert traces(app, "ledger") == ["training", "idle"]


def test_the_overview_tells_what_runs_and_on_which_worker(url):
    store = Store(url)
    train(store, add(store, fill(store), stacking_space().feasible()[0], seed=2), top1=0.4, finish=False)
    app = page()
    [running] = app.dataframe[1].value.to_dict("records")
    assert (running["study"], running["trial"], running["worker"], running["epoch"]) == ("stacking", 31, "worker 0", "3")
    assert app.dataframe[0].value["status"][0] == "live"


def test_two_or_three_metrics_are_the_axes_and_the_front_is_theirs(url):
    fill(Store(url))
    plain, other, deep = page(view="front"), page(view="front", y="loss", x="activations"), page(view="front", z="params")
    assert figures(plain)["front"]["layout"]["xaxis"]["title"]["text"] == "FLOPs (G)"
    assert figures(other)["front"]["layout"]["xaxis"]["title"]["text"] == "activations (M)"
    assert figures(other)["front"]["layout"]["yaxis"]["title"]["text"] == "loss"
    assert {trace["type"] for trace in figures(deep)["front"]["data"]} == {"scatter3d"}
    assert [selectbox.value for selectbox in deep.main.selectbox] == ["top1", "flops", "params"]


def test_an_axis_that_the_address_makes_up_is_passed_over(url):
    fill(Store(url))
    app = page(view="front", x="<b>", y="nonsense", z="top1", show="nobody", trial="many")
    assert [selectbox.value for selectbox in app.main.selectbox] == ["top1", "flops", "none"]
    assert traces(app) == ["Pareto front"]


def test_what_was_left_out_can_be_switched_on(url):
    fill(Store(url))
    assert traces(page(view="front")) == ["dominated", "Pareto front"]
    switched = page(view="front", show=["infeasible", "failed"])
    assert traces(switched) == ["infeasible, no top-1", "failed, no top-1", "Pareto front"]
    assert traces(page(view="front", trial="11"))[-1] == "selected"


def test_a_choice_is_kept_in_the_address_and_its_default_is_not(url):
    fill(Store(url))
    app = page(view="front")
    app.main.selectbox[1].set_value("params")
    assert address(shown(app))["x"] == ["params"]
    assert figures(app)["front"]["layout"]["xaxis"]["title"]["text"] == "params (M)"
    app.main.selectbox[1].set_value("flops")
    assert "x" not in shown(app).query_params


def test_published_variants_are_marked_on_costs_and_never_on_an_accuracy(url):
    fill(Store(url))
    marked = figures(page(view="front"))["front"]
    assert [note["text"] for note in marked["layout"]["annotations"]] == ["T"]
    assert "published" not in [trace["name"] for trace in marked["data"]]
    costs = figures(page(view="front", y="params", x="flops"))["front"]["data"]
    assert next(trace for trace in costs if trace["name"] == "published")["text"] == ["T", "S", "B", "L", "XL"]
    assert "annotations" not in figures(page(view="front", y="params", x="loss"))["front"]["layout"]
    assert "annotations" not in figures(page(view="front", show="dominated"))["front"]["layout"]


def test_several_seeds_are_one_point_with_their_spread(url):
    store = Store(url)
    study = store.open("seeds", {**CONFIG, "seeds": 3})
    for seed, top1 in enumerate((0.5, 0.6, 0.7)):
        train(store, add(store, study, stacking_space().feasible()[0], seed=seed), top1=top1)
    app = page(view="front")
    [front] = figures(app)["front"]["data"]
    assert "top-1 60.0% ± 10.0% over 3 seeds" in front["hovertext"][0]
    assert app.dataframe[0].value[["top1", "top1_std", "seeds"]].round(6).values.tolist() == [[60.0, 10.0, 3.0]]


def test_the_address_names_the_study_and_never_the_store(url):
    store = Store(url)
    fill(store, "first")
    fill(store, "second")
    app = page(study="first", trial="3", view="front")
    assert app.header[0].value == "first"
    app.sidebar.selectbox[0].set_value("second")
    shown(app)
    assert app.header[0].value == "second"
    assert address(app)["study"] == ["second"]
    assert "trial" not in app.query_params
    assert not any("sqlite" in str(value) for value in app.query_params.values())


def test_an_unknown_study_in_the_address_gives_the_newest_and_says_so(url):
    fill(Store(url), "only")
    app = page(study="gone")
    assert app.header[0].value == "only"
    assert "No study gone" in app.toast[0].value


def test_markup_in_a_study_name_stays_text(url):
    store = Store(url)
    study = fill(store, "<b>x</b>")
    store.ledger.add(study, {"<i>training</i>": 60.0}, driver="one")
    app = page()
    assert app.header[0].value == r"\<b\>x\</b\>"
    assert "<b>" not in json.dumps(figures(app)["ledger"])
    assert "<i>" not in json.dumps(figures(app)["ledger"])


def test_a_study_without_trials_says_what_is_awaited(url):
    Store(url).open("new", CONFIG)
    app = page(view="front")
    assert "No trial is complete yet" in app.info[0].value
    assert not figures(app)


def test_a_queued_trial_is_listed_before_it_is_measured(url):
    store = Store(url)
    add(store, store.open("new", CONFIG), stacking_space().feasible()[0])
    assert list(page(view="front").dataframe[0].value["state"]) == ["queued"]


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
    change(url, "UPDATE alembic_version SET version_num = '9999'")
    assert "newer schema 9999" in page().error[0].value


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE studies SET config = '{\"objectives\": [{'",
        "UPDATE studies SET config = '{}'",
        'UPDATE studies SET config = \'{"objectives": [{"metric": "taste", "direction": "maximize"}]}\'',
        "UPDATE trials SET metrics = 'gone' WHERE number = 3",
        "UPDATE trials SET model = '[]' WHERE number = 3",
        "UPDATE trials SET fidelity = '3' WHERE number = 3",
        "DROP TABLE trials",
    ],
)
@pytest.mark.parametrize("view", ["overview", "front"])
def test_a_damaged_store_is_one_message(url, damage, view):
    store = Store(url)
    fill(store)
    store.close()
    change(url, damage)
    app = page(view=view)
    assert len(app.error) == 1
    assert app.button[-1].label == "Retry"


def test_a_file_that_is_no_database_is_one_message(url):
    Path(url.removeprefix("sqlite:///")).write_bytes(b"no database at all, but long enough to be taken for one" * 40)
    app = page()
    assert len(app.error) == 1
    assert "cannot use the store" in app.error[0].value


def test_a_locked_store_is_one_message(url, monkeypatch):
    store = Store(url)
    fill(store)
    store.close()
    monkeypatch.setattr(database, "LOOKING_TIMEOUT_S", 0.05)
    path = url.removeprefix("sqlite:///")
    with sqlite3.connect(path) as other:
        other.execute("PRAGMA journal_mode=DELETE")
        other.execute("BEGIN EXCLUSIVE")
        app = page()
        assert len(app.error) == 1
        assert "locked" in app.error[0].value
    other.close()
    app.button[0].click()
    assert shown(app).header[0].value == "stacking"


def change(url: str, statement: str) -> None:
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text(statement))
    engine.dispose()


def test_an_unreachable_store_never_shows_its_password(monkeypatch):
    monkeypatch.setenv("NAS_STORE", "postgresql+psycopg://nas:s3cret@127.0.0.1:9/nas?connect_timeout=2")
    app = page()
    assert app.error
    assert "s3cret" not in str(app.main)


def test_what_a_page_shows_is_read_again_after_every_driver_also_one_whose_clock_is_behind(url, monkeypatch):
    store = Store(url)
    study = store.open("s", CONFIG)
    first, second = stacking_space().feasible()[:2]
    ahead, behind = (
        store.add(study, [NewTrial(params=one.params, seed=0)], driver=driver)[0] for one, driver in ((first, "a"), (second, "b"))
    )
    stamps = [stamp(*store.studies())]
    for trial, driver, seconds in ((ahead, "a", 20), (behind, "b", 1), (behind, "b", 2), (ahead, "a", 21), (behind, "b", 3)):
        monkeypatch.setattr(trial_changes, "now", lambda seconds=seconds: study.created_at + timedelta(seconds=60 + seconds))
        assert store.report(trial, Report(seconds, {"top1": seconds / 100}), fidelity={}, driver=driver)
        stamps.append(stamp(*store.studies()))
    assert len(set(stamps)) == len(stamps)
    assert stamp(*store.studies()) == stamps[-1]


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


def test_a_finished_study_is_not_polled_and_the_overview_waits_for_the_next_search(url):
    store = Store(url)
    fill(store, "old")
    fill(store, "new")
    old, new = store.studies()
    old = dataclasses.replace(old, updated_at=old.updated_at - timedelta(days=9))
    assert dashboard_app.interval([old, new], "old", "front") is None
    assert dashboard_app.interval([old, new], "new", "front") == dashboard_app.REFRESH_S == 2
    assert dashboard_app.interval([old, new], "old", "overview") == dashboard_app.REFRESH_S
    assert dashboard_app.interval([old], "old", "overview") == dashboard_app.WAIT_S
    large = dataclasses.replace(new, counts={TrialState.COMPLETE: 100_000})
    assert dashboard_app.interval([old, large], "new", "front") > 5 * dashboard_app.REFRESH_S
