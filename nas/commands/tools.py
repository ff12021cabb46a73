"""Say what is active, run the dashboard."""

import os
import subprocess
import sys
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path

from nas.errors import MissingExtra, NasError
from nas.output import Format, print_rows, text_column

ROOT = Path(__file__).parents[2]


def doctor(store: str, format: Format) -> None:
    """Print what is active here."""
    from nas.doctor import examine

    rows = [asdict(finding) for finding in examine(store)]
    columns = [text_column("what", "what"), text_column("state", "state", folds=True), text_column("why", "why", folds=True)]
    print_rows(rows, columns, format=format)


def dashboard(store: str, address: str, port: int) -> None:
    """Run Streamlit on a store until it is stopped."""
    from studies.database import store_folder

    store_folder(store)  # says what is wrong with a store's URL, before there is a server
    if find_spec("streamlit") is None:
        raise MissingExtra("the dashboard", "dashboard")
    app = ROOT / "dashboard" / "app.py"
    options = {"server.address": address, "server.port": str(port), "server.headless": "true", "browser.gatherUsageStats": "false"}
    flags = [part for key, value in options.items() for part in (f"--{key}", value)]
    command = [sys.executable, "-m", "streamlit", "run", str(app), *flags]
    try:
        code = subprocess.run(command, env={**os.environ, "NAS_STORE": store}, check=False).returncode
    except KeyboardInterrupt:
        return
    if code:
        raise NasError(f"the dashboard ended with exit code {code}")
