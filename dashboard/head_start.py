"""What the first visitor would wait for, begun when the server starts: modules, the newest study, and how its figure is drawn."""

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from importlib import import_module
from threading import Thread
from typing import Any

from studies.store import Store

log = logging.getLogger(__name__)


@asynccontextmanager
async def head_start(_app: Any, *, views: tuple[str, ...], open_store: Callable[[], Store]) -> AsyncIterator[None]:
    """A server's life, with `prepare` beside its first seconds."""
    Thread(target=prepare, args=(views, open_store), name="head start", daemon=True).start()
    yield


def prepare(views: tuple[str, ...], open_store: Callable[[], Store]) -> None:
    """Load the views and what they draw with; what is wrong with the store is the page's to tell."""
    for view in views:
        import_module(f"dashboard.views.{view}")
    try:
        with closing(open_store()) as store:
            _draw_newest(store)
    except ValueError as error:
        log.debug("nothing to prepare", exc_info=error)


def _draw_newest(store: Store) -> None:
    """The figure of the newest study's front, thrown away: names of variants stay known, and Plotly's classes loaded."""
    import plotly.io

    from dashboard.charts.front import front_figure
    from studies.page_data import read_trials

    if summaries := store.studies():
        study = summaries[-1].study
        plotly.io.to_json(front_figure(read_trials(store, study), study.objectives), validate=False)
