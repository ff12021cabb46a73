"""What has been searched, as frozen records: studies, trials, reports, objectives and the table of metrics."""

import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, Self

DEFAULT_STORE = "sqlite:///nas.db"
Direction = Literal["minimize", "maximize"]
Origin = Literal["cost", "premeasured", "trained"]


class TrialState(enum.StrEnum):
    """Where a trial stands; names and values are the same, since SQLAlchemy stores names."""

    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    COMPLETE = "COMPLETE"
    PRUNED = "PRUNED"
    INFEASIBLE = "INFEASIBLE"
    FAILED = "FAILED"

    @property
    def finished(self) -> bool:
        """Whether nothing more will happen to the trial."""
        return self in FINISHED


FINISHED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.INFEASIBLE, TrialState.FAILED)
TRAINED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAILED)  # what counts towards `--trials`


@dataclass(frozen=True, slots=True)
class Metric:
    """How a metric is read: its label with unit, which way is better, where it comes from and what one unit on screen is.

    A cost is exact, counted from the architecture; what is premeasured needs the network but no training.
    """

    label: str
    direction: Direction
    origin: Origin = "trained"
    scale: float = 1.0
    decimals: int = 2

    @property
    def name(self) -> str:
        """The label without its unit."""
        return self.label.partition(" (")[0]

    @property
    def unit(self) -> str:
        """What is written behind a value: `G` of `FLOPs (G)`, a thin space and `s` of `time (s)`, nothing for plain numbers."""
        unit = self.label.partition(" (")[2].rstrip(")")
        return f"\u202f{unit}" if unit.islower() else unit

    def show(self, value: float | None) -> str:
        """The value in the unit of the label; an en dash when there is none."""
        return "–" if value is None else f"{value / self.scale:,.{self.decimals}f}"


METRICS: Mapping[str, Metric] = {
    "top1": Metric("top-1 (%)", "maximize", scale=0.01, decimals=1),
    "top5": Metric("top-5 (%)", "maximize", scale=0.01, decimals=1),
    "loss": Metric("loss", "minimize", decimals=3),
    "params": Metric("params (M)", "minimize", "cost", scale=1e6),
    "flops": Metric("FLOPs (G)", "minimize", "cost", scale=1e9),
    "activations": Metric("activations (M)", "minimize", "cost", scale=1e6),
    "memory": Metric("memory (GB)", "minimize", "cost", scale=1e9),
    "latency_ms": Metric("latency (ms)", "minimize", "premeasured"),
    "seconds": Metric("training time (s)", "minimize", decimals=1),
    # The scores of searchspace.score_table, written out: importing it brings NumPy into every `nas --help`; a test compares the two.
    "synflow": Metric("log SynFlow", "maximize", "premeasured"),
    "naswot": Metric("NASWOT", "maximize", "premeasured"),
    "grad_norm": Metric("gradient norm", "maximize", "premeasured"),
    "zen": Metric("Zen", "maximize", "premeasured"),
}


@dataclass(frozen=True, slots=True)
class Objective:
    """A metric with the direction that is better."""

    metric: str
    direction: Direction

    def __post_init__(self) -> None:
        if self.metric not in METRICS:
            raise ValueError(f"unknown metric {self.metric!r}; known: {', '.join(METRICS)}")
        if self.direction not in ("minimize", "maximize"):
            raise ValueError(f"direction must be minimize or maximize, got {self.direction!r}")

    @classmethod
    def of(cls, metric: str) -> Self:
        """The metric in its usual direction; ValueError lists the known metrics."""
        if metric not in METRICS:
            raise ValueError(f"unknown metric {metric!r}; known: {', '.join(METRICS)}")
        return cls(metric, METRICS[metric].direction)


@dataclass(frozen=True, slots=True)
class Report:
    """Metrics of one trial after `step` epochs."""

    step: int
    metrics: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class NewTrial:
    """A trial to be added: what was chosen, what it built (a `ModelConfig` as a dictionary) and what that costs exactly."""

    params: Mapping[str, Any]
    seed: int
    state: TrialState = TrialState.QUEUED
    model: Mapping[str, Any] | None = None
    cost: Mapping[str, int] = field(default_factory=dict)
    premeasured: Mapping[str, float] = field(default_factory=dict)
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One evaluation as stored; `metrics` are its last, `fidelity` says at what effort they were measured.

    `premeasured` are the latency and scores of the untrained network, where its study asked for them. `attempts` counts how often it was
    started, `checkpoint` is where its training goes on, `driver` is the lease under which it runs or ran last.
    """

    id: int
    number: int
    state: TrialState
    params: Mapping[str, Any]
    model: Mapping[str, Any] | None
    cost: Mapping[str, int]
    metrics: Mapping[str, float]
    fidelity: Mapping[str, Any]
    seed: int
    reason: str | None = None
    worker: str | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    premeasured: Mapping[str, float] = field(default_factory=dict)
    attempts: int = 0
    checkpoint: str | None = None
    driver: str | None = None

    def value(self, metric: str) -> float | None:
        """A metric of the training, a value measured before it or an exact cost; None when the trial has none of them."""
        return self.metrics.get(metric, self.premeasured.get(metric, self.cost.get(metric)))


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to drive a study: `id` marks what runs under it; `shared` when other drivers may hold leases on the study too."""

    id: str
    shared: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """A file that a trial left: `trial` is its number, `size` in bytes, `sha256` in hexadecimal when it was recorded."""

    id: int
    trial: int
    kind: str
    path: Path
    size: int
    sha256: str
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyRecord:
    """A stored study: its name and the configuration that makes it what it is."""

    id: int
    name: str
    config: Mapping[str, Any]
    created_at: datetime

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """The study's objectives in their order."""
        return tuple(Objective(**objective) for objective in self.config["objectives"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """A scaling law fitted to a study: what of it was fitted, and the fit or why there is none as plain JSON values."""

    id: int
    metric: str
    content: Mapping[str, Any]
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class StudySummary:
    """A study with the number of its trials in each state and when something last happened.

    `heard_at` says when each driver last wrote one of the trials that it runs, every one by its own clock.
    """

    study: StudyRecord
    counts: Mapping[TrialState, int]
    updated_at: datetime
    heard_at: tuple[datetime, ...] = ()

    @property
    def running(self) -> bool:
        """Whether a trial is marked as running (a killed driver leaves such marks until the next start)."""
        return self.counts.get(TrialState.RUNNING, 0) > 0


def check_text(text: str, what: str) -> None:
    """ValueError for a name or a path that a store cannot hold: it is not UTF-8, or has a zero byte."""
    if "\0" in text or text.encode("utf-8", "replace").decode() != text:
        raise ValueError(f"{what} must be UTF-8 without zero bytes, to be stored, got {text!r}; choose another one")


def check_finite(metrics: Mapping[str, float]) -> None:
    """ValueError naming the metric that is NaN or infinite: such values are never stored."""
    for name, value in metrics.items():
        if not math.isfinite(value):
            raise ValueError(f"{name} is {value}")
