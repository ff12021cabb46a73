"""Takes the README's pictures of the dashboard: `python -m docs.screenshot` on the store that NAS_STORE names."""

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

from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parent.parent
PICTURES = {"dashboard.png": "", "dashboard-curves.png": "&view=Learning+curves"}
PATIENCE_S = 90


def main() -> None:
    """One picture of the front and one of the learning curves."""
    browser = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if browser is None:
        sys.exit("Chromium is needed: install it, or name it in CHROMIUM")
    with dashboard() as address, sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        chromium = playwright.chromium.launch(executable_path=browser, args=arguments)
        tab = chromium.new_page(viewport={"width": 1280, "height": 1000})
        for name, query in PICTURES.items():
            tab.goto(f"{address}/?study={os.environ.get('STUDY', 'stacking')}{query}")
            tab.wait_for_selector(".js-plotly-plot .main-svg", timeout=PATIENCE_S * 1000)
            tab.wait_for_timeout(2000)  # the chart's first drawing is animated
            tab.screenshot(path=ROOT / "docs" / name)
        chromium.close()


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
