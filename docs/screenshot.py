"""Takes pictures of every view of the dashboard: `python -m docs.screenshot` on the store that NAS_STORE names.

STUDY is the study shown, the newest unless given; TRIAL the trial, that of the best first objective unless given; COMPARE what is compared;
VIEWS the views, all unless given (`VIEWS=front,trial`). A view that has nothing to show is left out, and said.
"""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parent.parent
PICTURES = {
    "dashboard-overview.png": "overview",
    "dashboard.png": "front",
    "dashboard-stacking-map.png": "stacking_map",
    "dashboard-scaling.png": "scaling",
    "dashboard-trial.png": "trial",
    "dashboard-compare.png": "compare",
    "dashboard-sampling.png": "sampling",
}
PATIENCE_S = 90
WIDTH, HEIGHT = 1280, 1000
SETTLED_MS = 2500  # figures come one after the other
DRAWN = ".js-plotly-plot .main-svg"


def main() -> None:
    """One picture a view."""
    browser = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if browser is None:
        sys.exit("Chromium is needed: install it, or name it in CHROMIUM")
    with dashboard() as address, sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--use-angle=swiftshader"]
        chromium = playwright.chromium.launch(executable_path=browser, args=[*arguments, "--enable-unsafe-swiftshader"])
        tab = chromium.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        wanted = os.environ.get("VIEWS", ",".join(PICTURES.values())).split(",")
        for name, view in ((name, view) for name, view in PICTURES.items() if view in wanted):
            take(tab, f"{address}/?{urlencode(address_of(view))}", ROOT / "docs" / name)
        chromium.close()


def address_of(view: str) -> dict[str, str]:
    """What the address of a view says."""
    asked = {name: value for name in ("study", "trial", "compare") if (value := os.environ.get(name.upper()))}
    return {"view": view, **asked}


def take(tab: Any, address: str, picture: Path) -> None:
    """A picture of the page once its figures are drawn; none of a page that has no figure."""
    tab.goto(address)
    tab.get_by_role("radio", name="Front", exact=True).wait_for(timeout=PATIENCE_S * 1000)
    tab.wait_for_timeout(SETTLED_MS)
    if tab.locator(DRAWN).count():
        tab.screenshot(path=picture)
    else:
        sys.stderr.write(f"{picture.name} is not taken: {address.partition('?')[2]} has no figure\n")


@contextmanager
def dashboard() -> Iterator[str]:
    """The address of a dashboard of our own, stopped afterwards."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "streamlit", "run", "dashboard/app.py", "--server.port", str(port)]
    process = subprocess.Popen(command, cwd=ROOT)
    try:
        _wait(f"http://127.0.0.1:{port}")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def _wait(address: str) -> None:
    give_up = time.monotonic() + PATIENCE_S
    while True:
        try:
            urllib.request.urlopen(f"{address}/_stcore/health")
            return
        except urllib.error.URLError:
            if time.monotonic() > give_up:
                raise
            time.sleep(0.5)


if __name__ == "__main__":
    main()
