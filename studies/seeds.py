"""Several seeds of one choice: where the choice stands, what it is worth on average, and how far its seeds lie apart."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from studies.records import FINISHED, StudyRecord, Trial, TrialState

LEVEL = 0.95
Choice = tuple[Trial, Sequence[Trial]]
"""What stands for a choice, and its trials by seed."""


@dataclass(frozen=True, slots=True)
class Spread:
    """How many seeds of a choice are complete, and the standard deviation of each metric over them (n − 1); none over one seed."""

    seeds: int
    std: Mapping[str, float] = field(default_factory=dict)


def seeds_of(study: StudyRecord) -> int:
    """With how many seeds a study trains each candidate."""
    return int(study.config.get("seeds", 1))


def averaged(trials: Sequence[Trial], *, seeds: int | None = None) -> list[Trial]:
    """One trial for each choice: that of its first complete seed, with the mean of the complete seeds' metrics.

    A choice is COMPLETE once `seeds` of it (default: the most that any choice has) have ended and one of them is complete; one that ran out
    of memory ends it early. Until then it is RUNNING or waits, QUEUED if it only lacks seeds: an average of fewer would stand by luck.
    With one seed the trials are given back as they are.
    """
    return [standing for standing, _ in gathered(trials, seeds=seeds)]


def gathered(trials: Sequence[Trial], *, seeds: int | None = None) -> list[Choice]:
    """`averaged` with the trials that each average is made of, choices in the order of their first trials."""
    if seeds == 1 or (seeds is None and len({trial.seed for trial in trials}) <= 1):
        return [(trial, (trial,)) for trial in trials]
    groups = _by_choice(trials)
    wanted = max((len(group) for group in groups), default=1) if seeds is None else seeds
    return [(_standing(group, wanted), group) for group in groups]


def spread(trials: Iterable[Trial]) -> Spread:
    """How far the complete trials of one choice lie apart."""
    complete = [trial.metrics for trial in trials if trial.state is TrialState.COMPLETE]
    if len(complete) < 2:
        return Spread(len(complete))
    common = [name for name in complete[0] if all(name in metrics for metrics in complete)]
    return Spread(len(complete), {name: _std([metrics[name] for metrics in complete]) for name in common})


def pooled_spread(choices: Iterable[Spread], metric: str) -> tuple[float, int]:
    """The standard deviation of a training about its choice's mean, over all choices, and its degrees of freedom; 0 and 0 of none."""
    known = [(each.std[metric], each.seeds - 1) for each in choices if metric in each.std]
    freedom = sum(count for _, count in known)
    return (math.sqrt(math.fsum(std**2 * count for std, count in known) / freedom), freedom) if freedom else (0.0, 0)


def least_difference(choices: Iterable[Spread], metric: str, *, seeds: int) -> float | None:
    """By how much the means of two choices over so many seeds differ by chance in 95 % of cases at most; None where no spread is known."""
    std, freedom = pooled_spread(choices, metric)
    if freedom == 0:
        return None
    from scipy.special import stdtrit  # imported where it is needed: the store and the driver never do

    return float(stdtrit(freedom, (1 + LEVEL) / 2)) * std * math.sqrt(2 / seeds)


def _by_choice(trials: Sequence[Trial]) -> list[list[Trial]]:
    groups: dict[object, list[Trial]] = {}
    for trial in trials:
        groups.setdefault(tuple(sorted(trial.params.items())), []).append(trial)
    return [sorted(group, key=lambda trial: trial.seed) for group in groups.values()]


def _standing(group: Sequence[Trial], seeds: int) -> Trial:
    states = {trial.state for trial in group}
    ended = all(state.finished for state in states) and (len(group) >= seeds or TrialState.INFEASIBLE in states)
    order = FINISHED if ended else (TrialState.RUNNING, TrialState.PAUSED)
    state = next((state for state in order if state in states), TrialState.QUEUED)
    complete = [trial for trial in group if trial.state is TrialState.COMPLETE]
    first = complete[0] if complete else next((trial for trial in group if trial.state is state), group[0])
    finished = [trial.finished_at for trial in group if trial.finished_at is not None]
    return replace(
        first,
        state=state,
        metrics=_means([trial.metrics for trial in complete]) if complete else first.metrics,
        finished_at=max(finished) if ended and finished else None,
    )


def _means(metrics: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean of each metric over those that have it."""
    values: dict[str, list[float]] = {}
    for each in metrics:
        for name, value in each.items():
            values.setdefault(name, []).append(value)
    return {name: math.fsum(found) / len(found) for name, found in values.items()}


def _std(values: Sequence[float]) -> float:
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))
