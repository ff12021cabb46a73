"""What is active here, and the dashboard."""

from typing import Annotated

import typer

from nas.cli.options import Store, Table
from studies.records import DEFAULT_STORE


def doctor(store: Store = DEFAULT_STORE, format: Table = "table") -> None:
    """Say what is installed and active here, and why. Example: nas doctor"""
    from nas.commands import tools as commands

    commands.doctor(store, format)


def dashboard(
    store: Store = DEFAULT_STORE,
    port: Annotated[int, typer.Option(help="Port on this machine.", min=1, max=65535)] = 8501,
    address: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
) -> None:
    """Open the dashboard on a store. Example: nas dashboard --store sqlite:///nas.db"""
    from nas.commands import tools as commands

    commands.dashboard(store, address, port)
