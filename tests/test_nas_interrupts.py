"""What stops a search, wherever in somebody's code it arrives."""

import signal
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nas.commands.stopping import terminable
from nas.engine.interrupts import interruptible
from studies.records import TrialState
from tests.driven import Search, depths_study
from tests.evaluators import counting

HEARD, IGNORED = signal.default_int_handler, signal.SIG_IGN


class Stopped:
    """Gets a signal while it is finalised."""

    def __init__(self, number: signal.Signals) -> None:
        self._number = number

    def __del__(self) -> None:
        signal.raise_signal(self._number)


def interrupted_by(handler: Any) -> ExitStack:
    """What Ctrl-C does, until the end of a `with`."""
    stack = ExitStack()
    stack.callback(signal.signal, signal.SIGINT, signal.signal(signal.SIGINT, handler))
    return stack


def searching(url: str, folder: Path, stop: Callable[[], object]) -> Search:
    """A search in this process, of three trials of two epochs; `stop` is called in the last of the second trial."""

    def misbehave(l3: int) -> None:
        if l3 == 2:
            stop()

    return Search(config=depths_study([1, 2, 3], epochs=2), url=url, evaluate=counting(folder / "log", misbehave))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # that it is dropped is the matter here
@pytest.mark.parametrize(
    ("number", "ctrl_c"),
    [
        (signal.SIGINT, HEARD),
        (signal.SIGTERM, HEARD),
        (signal.SIGTERM, IGNORED),  # as in what a script runs in the background
    ],
)
def test_a_signal_that_a_finaliser_swallows_stops_the_search_all_the_same(
    number: signal.Signals, ctrl_c: Any, store_url: str, tmp_path: Path
) -> None:
    search = searching(store_url, tmp_path, lambda: Stopped(number))
    with interrupted_by(ctrl_c), terminable() as terminated:
        before = signal.getsignal(number)
        with pytest.raises(KeyboardInterrupt):
            search.run()
        assert signal.getsignal(number) == before
    assert [trial.state for trial in search.found().trials] == [TrialState.COMPLETE] * 2
    assert terminated == [number] * (number is signal.SIGTERM)


def test_ctrl_c_stops_an_epoch_at_once(store_url: str, tmp_path: Path) -> None:
    def stop() -> None:
        signal.raise_signal(signal.SIGINT)
        pytest.fail("the epoch goes on")

    search = searching(store_url, tmp_path, stop)
    with interrupted_by(HEARD), pytest.raises(KeyboardInterrupt):
        search.run()
    assert [trial.state for trial in search.found().trials] == [TrialState.COMPLETE, TrialState.QUEUED]


def test_a_search_runs_in_a_thread_where_no_signal_can_be_heard(store_url: str, tmp_path: Path) -> None:
    search = searching(store_url, tmp_path, lambda: None)
    thread = threading.Thread(target=search.run)
    thread.start()
    thread.join()
    assert search.found().count(TrialState.COMPLETE) == 3


@pytest.mark.parametrize("handler", [IGNORED, lambda number, frame: None])
def test_a_signal_that_raises_nothing_stops_nothing(handler: Any) -> None:
    driver = SimpleNamespace(interrupted=False)
    with interrupted_by(handler), interruptible(driver):  # type: ignore[arg-type]
        signal.raise_signal(signal.SIGINT)
    assert not driver.interrupted
