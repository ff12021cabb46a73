"""How soon is the dashboard there? Run `python -m benchmarks.dashboard [--trials N ...] [--repeats N] [--large N] [--json FILE]`.

Studies of three objectives with twenty reports a trial, at each size: what a refresh reads (nothing known before, and with the variants'
names known from an earlier one), against records of all trials and reports, and against a query a trial; then from an address to the front
drawn in a real Chromium. At the smallest size the same trials in optuna-dashboard's front, in turns with ours.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import plotly.io

from benchmarks.dashboard_paint import OPTUNAS, OUR_LAST, OURS, chromium, optunas_server, our_server, paint
from benchmarks.dashboard_stores import fill_optunas, fill_ours
from benchmarks.hardware import describe
from dashboard.charts.front import front_figure
from dashboard.standing import reached
from nas.output import Column, print_rows, text_column
from studies import page_data
from studies.frames import reports_frame, trials_frame
from studies.records import StudyRecord
from studies.store import Store

RESULTS = Path(__file__).parent / "results" / "dashboard.json"
SLOW_REPEATS = 3  # of what takes seconds
MOST_LOOPED = 10_000  # trials
MOST_DATA_S, MOST_PAINT_S = 0.5, 2.0


def bulk(store: Store, study: StudyRecord) -> None:
    """What the dashboard reads, from nothing."""
    page_data._names.cache_clear()
    page_data._style.cache_clear()
    page_data.read_trials(store, study)


def again(store: Store, study: StudyRecord) -> None:
    """What the dashboard reads when something has changed."""
    page_data.read_trials(store, study)


def records(store: Store, study: StudyRecord) -> None:
    """A record of every trial and every report, as frames."""
    trials_frame(store.trials(study), study.objectives)
    reports_frame(store.reports(study))


def a_query_a_trial(store: Store, study: StudyRecord) -> None:
    """Each trial and its reports asked for by itself."""
    numbers = range(sum(store.studies()[0].counts.values()))
    trials = [store.trial(study, number) for number in numbers]
    trials_frame(trials, study.objectives)
    reports_frame({number: store.reports(study, numbers=[number]).get(number, []) for number in numbers})


FAST: Mapping[str, Callable[[Store, StudyRecord], None]] = {"in bulk": bulk, "in bulk, names known": again}
SLOW: Mapping[str, Callable[[Store, StudyRecord], None]] = {"records and all reports": records, "a query a trial": a_query_a_trial}


def page_seconds(url: str, trials: int, repeats: int) -> dict[str, list[float]]:
    """Seconds of every way of reading a study, in turns, the slow ones a few times and not for larger studies; and of its figures."""
    store = Store(url, create=False)
    [study] = [summary.study for summary in store.studies()]
    frame = page_data.read_trials(store, study)
    taken: dict[str, list[float]] = {}
    for turn in range(repeats):
        ways = {**FAST, **SLOW} if turn < SLOW_REPEATS and trials <= MOST_LOOPED else FAST
        for name, read in ways.items():
            taken.setdefault(name, []).append(timed(lambda read=read: read(store, study)))  # type: ignore[misc]
        taken.setdefault("figures of it", []).append(timed(lambda: figures(frame, study)))
    store.close()
    return taken


def figures(frame: pd.DataFrame, study: StudyRecord) -> None:
    """What the front's view makes of a frame that has been read."""
    plotly.io.to_json(front_figure(frame, study.objectives), validate=False)
    reached(frame, study)


def paint_seconds(browser: Any, folder: Path, trials: int, repeats: int, *, against: bool) -> dict[str, list[float]]:
    """Seconds to the drawn front and to the table below it, of the first visit after the server's start and of later ones.

    Where asked, those to optuna-dashboard's front in turns.
    """
    taken: dict[str, list[float]] = {}

    def visit(way: str) -> None:
        drawn, whole = paint(browser, ours, OURS, trials, last=OUR_LAST)
        taken.setdefault(way, []).append(drawn)
        taken.setdefault(f"{way}, to its table", []).append(whole)

    with our_server(url_of(folder, trials)) as ours:
        visit("first visit")
        if not against:
            for _ in range(repeats):
                visit("ours")
            return taken
        with optunas_server(f"sqlite:///{folder / 'optuna.db'}") as optunas:
            paint(browser, optunas, OPTUNAS, trials)
            for _ in range(repeats):
                visit("ours")
                taken.setdefault("optuna-dashboard", []).extend(paint(browser, optunas, OPTUNAS, trials))
    return taken


def rows_of(trials: int, what: str, taken: Mapping[str, Sequence[float]]) -> list[dict[str, Any]]:
    """A row for each way, in milliseconds."""
    return [
        {"trials": trials, "what": what, "way": way, "median_ms": 1000 * statistics.median(seconds), "p95_ms": 1000 * p95(seconds)}
        | {"samples": [round(each, 5) for each in seconds]}
        for way, seconds in taken.items()
    ]


def p95(seconds: Sequence[float]) -> float:
    """The 95th percentile; of fewer than twenty samples the largest."""
    return sorted(seconds)[max(0, -(-95 * len(seconds) // 100) - 1)]


def timed(run: Callable[[], object]) -> float:
    """Seconds of one call."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def url_of(folder: Path, trials: int) -> str:
    """The store with a study of so many trials."""
    return f"sqlite:///{folder / f'ours-{trials}.db'}"


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--trials", type=int, nargs="+", default=[1000, 10_000], help="sizes of studies; the first against optuna-dashboard"
    )
    parser.add_argument("--large", type=int, default=100_000, help="one more size, measured a few times only; 0 for none")
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--json", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name, chromium() as browser:
        folder = Path(name)
        fill_optunas(f"sqlite:///{folder / 'optuna.db'}", arguments.trials[0])
        for trials in [*arguments.trials, *([arguments.large] if arguments.large else [])]:
            repeats = SLOW_REPEATS if trials == arguments.large else arguments.repeats
            fill_ours(url_of(folder, trials), trials)
            rows += rows_of(trials, "page data", page_seconds(url_of(folder, trials), trials, repeats))
            painted = paint_seconds(browser, folder, trials, repeats, against=trials == arguments.trials[0])
            rows += rows_of(trials, "first paint", painted)
    report(rows, arguments.trials, arguments.json)


def report(rows: list[dict[str, Any]], sizes: Sequence[int], path: Path) -> None:
    """The table, what was to be reached, and the file."""
    numbers = [Column(name, f"{title} (ms)", lambda value: f"{value:,.0f}") for name, title in (("median_ms", "median"), ("p95_ms", "p95"))]
    columns = [Column("trials", "trials", lambda count: f"{count:,}"), text_column("what", "what"), text_column("way", "way"), *numbers]
    print_rows(rows, columns, format="table")
    found = {(row["trials"], row["what"], row["way"]): row for row in rows}
    data, drawn = found[max(sizes), "page data", "in bulk"]["p95_ms"], found[max(sizes), "first paint", "ours"]["p95_ms"]
    theirs, ours = (found[sizes[0], "first paint", way]["median_ms"] for way in ("optuna-dashboard", "ours"))
    print(f"page data of {max(sizes):,} trials: {data:,.0f} ms at p95, {_kept(data, MOST_DATA_S)}")
    print(f"first paint of {max(sizes):,} trials: {drawn:,.0f} ms at p95, {_kept(drawn, MOST_PAINT_S)}")
    print(f"front of {sizes[0]:,} trials: ours {ours:,.0f} ms, optuna-dashboard's {theirs:,.0f} ms, {theirs / ours:.2f} times ours")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"hardware": describe(), "rows": rows}, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _kept(milliseconds: float, most: float) -> str:
    return f"{'within' if milliseconds <= 1000 * most else 'beyond'} {1000 * most:,.0f} ms"


if __name__ == "__main__":
    main()
