"""The dashboard as a reader meets it: a real server on a store, and a real Chromium that complains about nothing."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
APP = ROOT / "dashboard" / "app.py"
CHROMIUM_ARGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync "
    "--use-angle=swiftshader --enable-unsafe-swiftshader"  # WebGL without a graphics card
)
PATIENCE_S = 60


@contextmanager
def dashboard_server(url: str, folder: Path) -> Iterator[str]:
    """The address of a server of our own on the store at `url`, stopped at the end; `folder` takes its log."""
    with ExitStack() as stack:
        address = stack.enter_context(_server(url, folder)) or stack.enter_context(_server(url, folder))  # its port may have been taken
        assert address is not None, (folder / "server.log").read_text()
        yield address


@contextmanager
def _server(url: str, folder: Path) -> Iterator[str | None]:
    """The address of a server on a port that was free a moment ago; None when it ends before it answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "streamlit", "run", str(APP), "--server.port", str(port)]
    environment = {**os.environ, "NAS_STORE": url, "HOME": str(folder), "PYTHONPATH": str(ROOT)}
    with (folder / "server.log").open("w") as output:
        # Not from the root of the repository: what the page needs lies beside it.
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT)
        try:
            address = f"http://127.0.0.1:{port}"
            wait_for(lambda: process.poll() is not None or answers(f"{address}/_stcore/health"), what="the server")
            yield address if process.poll() is None else None
        finally:
            stop(process)


@contextmanager
def chromium() -> Iterator[Any]:
    """A Chromium, from CHROMIUM or PATH; the test is skipped where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    executable = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if executable is None:
        pytest.skip("no Chromium: set CHROMIUM to its path or put `chromium` on PATH")
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=executable, args=CHROMIUM_ARGS.split(), timeout=PATIENCE_S * 1000)
        yield started
        started.close()


@contextmanager
def tab_of(browser: Any, address: str, *, width: int = 1280, height: int = 1200, **options: Any) -> Iterator[Any]:
    """A tab at an address; whatever its console holds against the page fails the test in the end."""
    tab = browser.new_page(viewport={"width": width, "height": height}, **options)
    tab.set_default_timeout(PATIENCE_S * 1000)
    errors: list[str] = []
    tab.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    tab.on("pageerror", lambda error: errors.append(str(error)))
    tab.goto(address)
    yield tab
    tab.close()
    assert not errors, errors


def points(tab: Any) -> int:
    """How many points the page's figures have as elements."""
    return int(tab.locator(".scatterlayer path.point").count())


def click_trial(tab: Any, key: str, number: int) -> None:
    """Click the point of a trial in the figure of this key, of two or three dimensions."""
    point_at_trial(tab, key, number)
    click_there(tab)


def click_there(tab: Any) -> None:
    """Click where the mouse is."""
    tab.mouse.down()
    tab.mouse.up()


def point_at_trial(tab: Any, key: str, number: int) -> None:
    """Move the mouse to a trial's point and wait for the words about it."""
    tab.wait_for_selector(f".st-key-{key} .js-plotly-plot .main-svg")
    tab.locator(f".st-key-{key}").scroll_into_view_if_needed()
    wait_for(lambda: tab.evaluate(_PLACE, [key, number]), what=f"trial {number} in the figure {key}")
    point_at(tab, lambda: tab.evaluate(_PLACE, [key, number]), words=f"trial {number}")


def point_at(tab: Any, place: Callable[[], Any], *, words: str) -> None:
    """Move the mouse to a place (x, y) of a figure, which may still move, until these words hover."""

    def hovers() -> bool:
        x, y = place()
        for aside in (3, 0):
            tab.mouse.move(x - aside, y)
            tab.wait_for_timeout(200)
        return bool(tab.locator(".hovertext", has_text=words).count())

    wait_for(hovers, what=f"the words {words!r}")


# A script for a page before it loads: while `held` is a list, what the server sends waits there, as on a slow line, until `letGo()`.
SLOW_LINE = """{
  const listen = WebSocket.prototype.addEventListener;
  WebSocket.prototype.addEventListener = function (kind, listener, ...rest) {
    const late = event => window.held ? window.held.push(() => listener(event)) : listener(event);
    listen.call(this, kind, kind === "message" ? late : listener, ...rest);
  };
  window.letGo = () => { const waiting = window.held; window.held = null; waiting.forEach(told => told()); };
}"""

_PLACE = """([key, number]) => {
  const plot = document.querySelector(`.st-key-${key} .js-plotly-plot`), { xaxis, yaxis, scene } = plot._fullLayout;
  const times = (m, v) => [0, 1, 2, 3].map(row => [0, 1, 2, 3].reduce((sum, column) => sum + m[row + 4 * column] * v[column], 0));
  for (const { x, y, z, customdata } of plot._fullData) {
    const at = Array.from(customdata ?? []).indexOf(number);
    if (at < 0) continue;
    if (!z) {
      const corner = plot.getBoundingClientRect();
      return [corner.left + xaxis._offset + xaxis.d2p(x[at]), corner.top + yaxis._offset + yaxis.d2p(y[at])];
    }
    const { dataScale, glplot } = scene._scene, { model, view, projection } = glplot.cameraParams;
    const point = [x[at] * dataScale[0], y[at] * dataScale[1], z[at] * dataScale[2], 1];
    const [right, up, , depth] = times(projection, times(view, times(model, point)));
    const box = plot.querySelector(".gl-container canvas").getBoundingClientRect();
    return [box.left + (1 + right / depth) / 2 * box.width, box.top + (1 - up / depth) / 2 * box.height];
  }
}"""


def answers(address: str) -> bool:
    """Whether a server gives a good answer at an address."""
    try:
        with urllib.request.urlopen(address, timeout=5) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def stop(process: "subprocess.Popen[bytes]") -> None:
    """End a process, in the hard way if it does not go by itself."""
    process.terminate()
    try:
        process.wait(timeout=15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def wait_for(condition: Callable[[], Any], *, what: str, patience_s: float = PATIENCE_S, pause_s: float = 0.2) -> None:
    """Return once the condition holds; AssertionError when it does not in a minute, or as long as it is given."""
    deadline = time.monotonic() + patience_s
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come within {patience_s} s")
        time.sleep(pause_s)
