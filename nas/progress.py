"""How far a search is, on standard error: a live panel on a terminal, a line for every finished trial elsewhere."""

from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from nas.progress_record import Progress
from searchspace.model_config import ModelConfig
from studies.records import METRICS, Objective, Trial, TrialState


class ProgressView:
    """A listener for a search that shows what it hears; a context manager, so that the terminal is left in order."""

    def __init__(self, objective: Objective) -> None:
        self._objective = objective
        self._console = Console(stderr=True, highlight=False)
        self._live = Live(console=self._console, refresh_per_second=4, transient=True) if self._console.is_terminal else None
        self._lines = 0
        self._stage: str | None = None
        self._announced = self._ended = False

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._live is not None:
            self._live.stop()

    def __call__(self, progress: Progress) -> None:
        """Show where the search stands."""
        if progress.stage is not None:
            self._show_stage(progress, progress.stage)
        elif progress.last is None and progress.done >= progress.total:
            self._say_end(progress, f"has its {_trials(progress.done)}; nothing is left to do")
        elif self._live is not None:
            self._live.update(self._panel(progress))
        elif not self._announced and progress.last is None and not progress.running:
            self._announced = True
            before = f"; {progress.done} done before" if progress.done else ""
            chosen = f"; {progress.sampler}" if progress.sampler else ""
            self._console.print(
                f"study {progress.study!r}: {_trials(progress.total)} of {progress.proxy}{before}{chosen}", markup=False, soft_wrap=True
            )
        elif progress.last is not None and progress.done > self._lines and (_trained(progress.last) or progress.done == progress.total):
            self._lines = progress.done
            self._console.print(self._line(progress, progress.last), markup=False, soft_wrap=True)
        if progress.ended is not None and not progress.running and progress.done < progress.total:
            self._say_end(progress, f"ends here: {progress.ended}")

    def _say_end(self, progress: Progress, text: str) -> None:
        """Why nothing more happens, once: the text may hold a clock that goes on."""
        if not self._ended:
            self._ended = True
            self._console.print(f"study {progress.study!r} {text}", markup=False, soft_wrap=True)

    def _show_stage(self, progress: Progress, stage: str) -> None:
        """A line for each stage when it begins; on a terminal how far it is, too."""
        if stage != self._stage:
            self._stage = stage
            counts = f"; {progress.done} of {progress.total} candidates are done" if progress.done < progress.total else ""
            self._console.print(f"study {progress.study!r}: {stage}{counts}", markup=False, soft_wrap=True)
        if self._live is not None:
            row = Table.grid(padding=(0, 2))
            bar = ProgressBar(total=progress.total, completed=progress.done, width=30)
            row.add_row(bar, f"{progress.done} of {progress.total} candidates", _minutes(progress.seconds_left))
            self._live.update(row)

    def _panel(self, progress: Progress) -> Group:
        head = Table.grid(padding=(0, 2))
        others = {"failed": progress.failed, "paused": progress.paused}
        counts = f"{progress.done} of {progress.total} trials" + "".join(f", {count} {state}" for state, count in others.items() if count)
        head.add_row(Text(progress.study, style="bold"), ProgressBar(total=progress.total, completed=progress.done, width=30), counts)
        left = Text(f"  {_minutes(progress.seconds_left)}", style="dim")
        running = [Text(f"  trial {trial.number}: {self._state(trial, progress)}", style="cyan") for trial in progress.running]
        return Group(
            head, Text(f"  {progress.proxy}", style="dim"), Text(f"  best so far: {self._best(progress)}", style="green"), left, *running
        )

    def _line(self, progress: Progress, last: Trial) -> str:
        return (
            f"[{progress.done}/{progress.total}] trial {last.number} {last.state.value.lower()}: {self._state(last, progress)}"
            f"; best {self._best(progress)}{_ahead(progress)}"
        )

    def _state(self, trial: Trial, progress: Progress) -> str:
        measured = "" if not trial.metrics else f", {self._value(trial)} after epoch {trial.fidelity.get('epochs', '?')}"
        seed = "" if progress.seeds == 1 else f" seed {trial.seed}"
        return _name(trial) + seed + (f", {trial.reason}" if trial.reason else measured)

    def _best(self, progress: Progress) -> str:
        if progress.best is None:
            return "none yet"
        mean = "" if progress.seeds == 1 else ", mean over its seeds"
        return f"{self._value(progress.best)} ({_name(progress.best)}{mean})"

    def _value(self, trial: Trial) -> str:
        metric = METRICS[self._objective.metric]
        return f"{metric.name} {metric.show(trial.value(self._objective.metric))}{metric.unit}"


def _name(trial: Trial) -> str:
    return ModelConfig.from_dict(trial.model).short_name if trial.model else str(dict(trial.params))


def _trials(count: int) -> str:
    return f"{count} trial{'' if count == 1 else 's'}"


def _trained(trial: Trial) -> bool:
    """Whether it took a training to end; thousands of others end in a moment."""
    return bool(trial.metrics) or trial.state is not TrialState.COMPLETE


def _ahead(progress: Progress) -> str:
    return "" if progress.done >= progress.total else f"; {len(progress.running)} running; {_minutes(progress.seconds_left)}"


def _minutes(seconds: float | None) -> str:
    if seconds is None:
        return "estimating the time left"
    return "less than a minute left" if seconds < 60 else f"about {seconds / 60:.0f} min left"
