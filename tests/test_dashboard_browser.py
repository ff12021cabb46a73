import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dashboard.app import VIEWS
from dashboard.plotly_module import NAME
from searchspace.spaces import stacking_space
from studies.records import StudyRecord
from studies.store import Store
from tests.browsing import SLOW_LINE, chromium, click_trial, dashboard_server, point_at_trial, points, tab_of, wait_for
from tests.dashboard_stores import fill, train
from tests.dashboard_views import add

pytestmark = pytest.mark.browser
CAMERA = "JSON.stringify(document.querySelector('.st-key-front .js-plotly-plot')._fullLayout.scene._scene.getCamera())"
NEW = 31  # the number of the trial that comes while one looks on


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    """A store with a study whose last trial still runs."""
    store = Store(store_url)
    train(store, add(store, fill(store), stacking_space().feasible()[0], seed=2), top1=0.4, finish=False)
    yield store
    store.close()


@pytest.fixture
def live(store: Store, tmp_path: Path) -> Iterator[str]:
    """The address of a server on it."""
    with dashboard_server(store.url, tmp_path) as address:
        yield address


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server on a store whose study came to its end long ago."""
    folder = tmp_path_factory.mktemp("finished")
    store = Store(f"sqlite:///{folder / 'nas.db'}")
    fill(store)
    with store._sessions.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE trials SET updated_at = '2020-01-01 00:00:00.000000'")
        connection.exec_driver_sql("UPDATE studies SET created_at = '2020-01-01 00:00:00.000000'")
    store.close()
    with dashboard_server(store.url, folder) as address:
        yield address


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as started:
        yield started


def study_of(store: Store) -> StudyRecord:
    return store.studies()[0].study


def train_another(store: Store) -> None:
    train(store, add(store, study_of(store), stacking_space().feasible()[3], seed=1), top1=0.9)


def heading(tab: Any) -> Any:
    return tab.get_by_test_id("stHeading").first


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_every_view_opens_at_this_width_and_in_these_colours(browser, finished, width, scheme):
    wider = "[...document.querySelectorAll('.js-plotly-plot')].filter(plot => plot.getBoundingClientRect().right > innerWidth).length"
    with tab_of(browser, finished, width=width, color_scheme=scheme) as tab:
        for view, title in VIEWS.items():
            tab.get_by_role("radio", name=title, exact=True).click()
            tab.get_by_role("radio", name=title, exact=True).and_(tab.locator("[aria-checked=true]")).wait_for()
            wait_for(lambda: tab.locator("[data-stale=true]").count() == 0, what="the view")
            tab.wait_for_function("view => view === 'overview' || location.search.includes(`view=${view}`)", arg=view)
            tab.wait_for_timeout(300)
            assert tab.get_by_test_id("stException").count() == tab.get_by_test_id("stAlertContentError").count() == 0
            assert tab.evaluate("document.documentElement.scrollWidth") <= width
            assert tab.evaluate(wider) == 0


@pytest.mark.parametrize("axes", ["", "&z=params"])
def test_a_click_on_a_point_opens_its_trial_and_the_address_brings_both_back(browser, finished, axes):
    with tab_of(browser, f"{finished}/?view=front{axes}") as tab:
        click_trial(tab, "front", 11)
        tab.wait_for_url(re.compile("view=trial"))
        assert "trial=11" in tab.url
        told = "64,16,2,27, style t"
        tab.get_by_role("heading", name=told).wait_for()
        with tab_of(browser, tab.url) as other:
            other.get_by_role("heading", name=told).wait_for()
        tab.get_by_role("radio", name="Front", exact=True).click()
        tab.locator(".legendtext", has_text="selected").wait_for()


def test_a_turn_that_begins_on_a_point_is_no_click(browser, finished):
    with tab_of(browser, f"{finished}/?view=front&z=params") as tab:
        point_at_trial(tab, "front", 11)
        before = tab.evaluate(CAMERA)
        tab.mouse.down()
        tab.mouse.move(700, 500, steps=5)
        tab.mouse.up()
        wait_for(lambda: tab.evaluate(CAMERA) != before, what="the turn")
        tab.wait_for_timeout(1000)
        assert "view=trial" not in tab.url


def test_the_address_restores_axes_and_switches(browser, finished):
    with tab_of(browser, f"{finished}/?view=front") as tab:
        tab.get_by_role("combobox", name=re.compile("To the right")).click()
        tab.get_by_role("option", name="params", exact=True).click()
        tab.get_by_role("button", name="infeasible (11)").click()
        tab.locator(".legendtext", has_text="infeasible").wait_for()
        tab.locator(".xtitle", has_text="params (M)").wait_for()
        with tab_of(browser, tab.url) as other:
            other.locator(".legendtext", has_text="infeasible").wait_for()
            other.locator(".xtitle", has_text="params (M)").wait_for()


def test_a_choice_stands_when_the_next_one_comes_before_its_answer(browser, finished):
    with tab_of(browser, "about:blank") as tab:
        tab.add_init_script(SLOW_LINE)
        with tab.expect_websocket() as line:
            tab.goto(f"{finished}/?view=front")
        tab.locator(".xtitle").first.wait_for()
        tab.get_by_role("combobox", name=re.compile("To the right")).click()
        tab.evaluate("held = []")
        tab.get_by_role("option", name="params", exact=True).click()
        wait_for(lambda: tab.evaluate("held.length"), what="the answer")
        with line.value.expect_event("framesent"):
            tab.get_by_role("button", name="infeasible (11)").click()
        assert "x=params" not in tab.url
        tab.evaluate("letGo()")
        tab.locator(".legendtext", has_text="infeasible").wait_for()
        tab.locator(".xtitle", has_text="params (M)").wait_for()
        assert "x=params" in tab.url
        tab.go_back()
        tab.locator(".legendtext", has_text="infeasible").wait_for(state="detached")
        tab.locator(".xtitle", has_text="params (M)").wait_for()
        tab.go_back()
        tab.locator(".xtitle", has_text="params (M)").wait_for(state="detached")
        assert "x=params" not in tab.url


def test_a_new_trial_appears_in_the_browser_without_a_reload(browser, live, store):
    with tab_of(browser, f"{live}/?view=front") as tab:
        tab.wait_for_selector("[data-testid=stDataFrame] canvas")
        wait_for(lambda: points(tab) >= 19, what="the chart of 19 trials")
        tab.evaluate("window.loadedOnce = true")
        before = points(tab)
        train_another(store)
        wait_for(lambda: points(tab) > before, what="the new trial")
        tab.get_by_test_id("stMetric").filter(has_text="complete").get_by_text("20").wait_for()
        assert tab.evaluate("window.loadedOnce")
        assert "study=stacking" in tab.url
        assert "sqlite" not in tab.url


def test_a_refresh_keeps_zoom_scroll_and_selection(browser, live, store):
    with tab_of(browser, f"{live}/?view=front&trial=11", height=600) as tab:
        tab.locator(".st-key-front .legendtext", has_text="selected").wait_for()
        tab.evaluate("Plotly.relayout(document.querySelector('.st-key-front .js-plotly-plot'), {'xaxis.range': [4.5, 5.1]})")
        tab.get_by_test_id("stMain").evaluate("part => part.scrollTo(0, 300)")
        train_another(store)
        tab.get_by_test_id("stMetric").filter(has_text="complete").get_by_text("20").wait_for()
        wait_for(lambda: NEW + 1 in numbers_in(tab), what="the new trial in the figure")
        assert tab.evaluate("document.querySelector('.st-key-front .js-plotly-plot')._fullLayout.xaxis.range") == [4.5, 5.1]
        assert tab.get_by_test_id("stMain").evaluate("part => part.scrollTop") == 300
        assert tab.locator(".st-key-front .legendtext", has_text="selected").count() == 1
        assert "trial=11" in tab.url


def numbers_in(tab: Any) -> list[int]:
    drawn = "document.querySelector('.st-key-front .js-plotly-plot')._fullData.flatMap(trace => Array.from(trace.customdata ?? []))"
    return list(tab.evaluate(drawn))


def test_a_search_that_begins_in_an_empty_store_appears_without_a_reload(browser, store_url, tmp_path):
    Store(store_url).close()
    with dashboard_server(store_url, tmp_path) as address, tab_of(browser, address) as tab:
        tab.get_by_text("nas search --space stacking").wait_for()
        fill(Store(store_url), "begun")
        heading(tab).get_by_text("begun").wait_for()


def test_a_finished_study_does_not_poll(browser, finished):
    frames: list[Any] = []

    def is_quiet() -> bool:
        frames.clear()
        tab.wait_for_timeout(5000)
        return frames == []

    with tab_of(browser, "about:blank") as tab:
        tab.on("websocket", lambda socket: socket.on("framereceived", lambda frame: frames.append(frame)))
        tab.goto(f"{finished}/?view=front")
        tab.wait_for_selector(".st-key-front .js-plotly-plot .main-svg")
        assert frames
        wait_for(is_quiet, what="the end of what the page has to show")


def test_plotlys_script_is_asked_for_with_the_page_and_once(browser, finished):
    with tab_of(browser, "about:blank") as tab:
        asked: list[str] = []
        tab.on("request", lambda request: asked.append(request.url))
        tab.on("websocket", lambda socket: asked.append("the page runs"))
        tab.goto(f"{finished}/?view=front")
        tab.wait_for_selector("[data-testid=stDataFrame] canvas")
        [plotly] = [at for at, url in enumerate(asked) if NAME in url]
        assert plotly < asked.index("the page runs")
        assert all(url.startswith((finished, f"blob:{finished}", "data:", "the page")) for url in asked)


def test_what_comes_after_the_figure_does_not_hold_it_up(browser, finished):
    watch = """
      const places = { figure: ".st-key-front .main-svg", later: ".st-key-hypervolume-trials .plot", table: "[data-testid=stDataFrame]" };
      window.came = [];
      const look = () => {
        for (const [name, place] of Object.entries(places)) if (!came.includes(name) && document.querySelector(place)) came.push(name);
        if (came.length < 3) requestAnimationFrame(look);
      };
      look();
    """
    with tab_of(browser, "about:blank") as tab:
        tab.add_init_script(watch)
        tab.goto(f"{finished}/?view=front")
        tab.wait_for_function("came.length === 3")
        assert tab.evaluate("came[0]") == "figure"


def test_a_figure_that_stays_as_it_is_is_not_drawn_anew(browser, finished):
    with tab_of(browser, "about:blank") as tab:
        with tab.expect_websocket() as line:
            tab.goto(f"{finished}/?view=front")
        tab.wait_for_selector("[data-testid=stDataFrame] canvas")
        tab.locator(".st-key-hypervolume-seconds .main-svg").first.wait_for()
        tab.wait_for_selector("[data-test-script-state=notRunning]")
        tab.evaluate("""() => {
          window.drawn = 0;
          document.querySelector(".st-key-front .js-plotly-plot").on("plotly_afterplot", () => window.drawn++);
        }""")
        with line.value.expect_event("framereceived"):
            tab.get_by_role("button", name="Refresh").click()
        tab.wait_for_timeout(1500)
        assert tab.evaluate("drawn") == 0
        tab.get_by_role("button", name="infeasible (11)").click()
        tab.wait_for_function("drawn > 0")
