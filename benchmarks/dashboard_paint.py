"""How long a page takes from its address to the drawn front, in a real Chromium: ours, and that of optuna-dashboard."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PATIENCE_S = 180
ARGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --use-angle=swiftshader "
    "--enable-unsafe-swiftshader"  # WebGL without a graphics card
)
OURS = ("?view=front", ".st-key-front .js-plotly-plot")
OUR_LAST = "[data-testid=stDataFrame] canvas"  # what our page shows last
OPTUNAS = ("dashboard/studies/1", "#graph-pareto-front")
# Both draw with Plotly, which keeps what it has drawn beside the element; looked at between two pictures, so that it is on the screen.
DRAWN = """([place, points]) => {
  const plot = document.querySelector(place);
  if (!plot?._fullData || !plot.querySelector(".main-svg .axislayer-above, .main-svg .cartesianlayer .xy")) return false;
  return plot._fullData.reduce((sum, trace) => sum + (trace._length ?? trace.x?.length ?? 0), 0) >= points;
}"""


@contextmanager
def chromium() -> Iterator[Any]:
    """A Chromium, from CHROMIUM or PATH."""
    from playwright.sync_api import sync_playwright

    executable = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if executable is None:
        sys.exit("Chromium is needed: install it, or name it in CHROMIUM")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=ARGS.split())
        yield browser
        browser.close()


@contextmanager
def our_server(store: str) -> Iterator[str]:
    """The address of our dashboard on a store."""
    port = _free_port()
    command = [sys.executable, "-m", "streamlit", "run", str(ROOT / "dashboard" / "app.py"), "--server.port", str(port)]
    with _running(command, f"http://127.0.0.1:{port}", "_stcore/health", {"NAS_STORE": store}) as address:
        yield address


@contextmanager
def optunas_server(storage: str) -> Iterator[str]:
    """The address of optuna-dashboard on a storage."""
    port = _free_port()
    command = [str(Path(sys.executable).with_name("optuna-dashboard")), storage, "--port", str(port), "--quiet"]
    with _running(command, f"http://127.0.0.1:{port}", "dashboard", {}) as address:
        yield address


def paint(browser: Any, address: str, page: tuple[str, str], points: int, *, last: str | None = None) -> list[float]:
    """Seconds from asking for a page, with nothing of it in the browser's cache, until its figure has so many points on the screen.

    And, where asked, until what the page shows `last` is there.
    """
    path, place = page
    context = browser.new_context(viewport={"width": 1280, "height": 1200})
    try:
        tab = context.new_page()
        start = time.perf_counter()
        tab.goto(f"{address}/{path}", wait_until="commit")
        tab.wait_for_function(DRAWN, arg=[place, points], timeout=PATIENCE_S * 1000, polling="raf")
        taken = [time.perf_counter() - start]
        if last is not None:
            tab.wait_for_selector(last, timeout=PATIENCE_S * 1000)
            taken.append(time.perf_counter() - start)
        return taken
    finally:
        context.close()


@contextmanager
def _running(command: Sequence[str], address: str, health: str, environment: dict[str, str]) -> Iterator[str]:
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, **environment}, stdout=log, stderr=subprocess.STDOUT)
        try:
            _wait(process, f"{address}/{health}")
            yield address
        finally:
            process.terminate()
            process.wait()


def _wait(process: "subprocess.Popen[bytes]", address: str) -> None:
    give_up = time.monotonic() + PATIENCE_S
    while True:
        try:
            urllib.request.urlopen(address, timeout=5)
            return
        except (urllib.error.URLError, OSError):
            if process.poll() is not None or time.monotonic() > give_up:
                raise
            time.sleep(0.1)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
