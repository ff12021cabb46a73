"""What a comparison with chance is made of: the trials of a study as they ended, every candidate's result, and what each cost."""

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np

from nas.api import Study
from nas.config import StudyConfig
from nas.errors import NasError
from nas.evaluators import evaluator
from nas.table_evaluator import TableEvaluator
from searchspace.feasible import FeasibleSet
from searchspace.space import MAX_ENUMERATED
from studies.records import METRICS, TRAINED, Trial, TrialState
from studies.replay import Sequel
from studies.seeds import gathered

Unit = Literal["device-seconds", "trainings"]
ALIKE = ("space", "proxy", "objectives", "require", "screen", "latency", "evaluator", "seeds")  # what comparable studies have in common


def ended(study: Study) -> list[Trial]:
    """The study's trials that a training ended, in the order in which it did; NasError when none brought a result."""
    trials, seeds = study.store.trials(study.record, states=TRAINED), study.config.seeds
    if not any(standing.state is TrialState.COMPLETE for standing, _ in gathered(trials, seeds=seeds)):
        what = "complete trial" if seeds == 1 else f"candidate that has all of its {seeds} seeds"
        raise NasError(f"study {study.name!r} has no {what} to compare")
    return sorted(trials, key=lambda trial: (trial.finished_at.timestamp() if trial.finished_at else 0.0, trial.number))


def every_candidate(study: Study) -> list[Trial]:
    """The trials of every feasible candidate: the study's own, or else as its table answers; NasError with advice where neither has all.

    What the study found infeasible (screened out, out of memory) is no candidate.
    """
    feasible = study.config.space.feasible_set()
    outside = {feasible.index(trial.params) for trial in study.store.trials(study.record, states=[TrialState.INFEASIBLE])}
    choices = gathered(study.store.trials(study.record, states=TRAINED), seeds=study.config.seeds)
    complete = {feasible.index(standing.params): trials for standing, trials in choices if standing.state is TrialState.COMPLETE}
    wanted = len(feasible) - len(outside - {None})
    trained = [trials for index, trials in complete.items() if index is not None and index not in outside]
    if len(trained) == wanted:
        return [trial for trials in trained for trial in trials]
    if isinstance(table := evaluator(study.config), TableEvaluator):
        return _answered(study, table, feasible.without(sorted(index for index in outside if index is not None)))
    raise NasError(
        f"study {study.name!r} has trained {len(trained)} of {wanted} feasible candidates, and random orders need all of them; search the "
        f"same space with --sampler random --name {study.name}-random and compare with --against {study.name}-random"
    )


def _answered(study: Study, table: TableEvaluator, feasible: FeasibleSet) -> list[Trial]:
    """What the table holds of every feasible candidate, as complete trials numbered from 0, those of its seeds together."""
    if len(feasible) > MAX_ENUMERATED:
        raise NasError(f"{len(feasible):,} candidates are too many to replay in random orders; compare with a random study of the space")
    config, names = study.config, _metrics(study.config)
    sizes = {name: feasible.costs(name).tolist() for name in names if METRICS[name].origin == "cost"}
    measured = {feasible.index(choice): values for choice, values in study.store.measurements.of(study.record)}
    trials: list[Trial] = []
    for chunk in feasible.chunks(metrics=()):
        columns = [column.tolist() for column in chunk.params.values()]
        for number, values in enumerate(zip(*columns, strict=True), start=chunk.start):
            params = dict(zip(chunk.params, values, strict=True))
            cost = {name: column[number] for name, column in sizes.items()}
            for seed in config.trial_seeds:
                trial = Trial(
                    id=len(trials),
                    number=len(trials),
                    state=TrialState.COMPLETE,
                    params=params,
                    model=None,
                    cost=cost,
                    metrics=table.final(params, epochs=config.proxy.epochs, seed=seed),
                    fidelity={"epochs": config.proxy.epochs},
                    seed=seed,
                    premeasured=measured.get(number, {}),
                )
                trials.append(trial)
    return trials


def unit_of(trials: Sequence[Trial]) -> Unit:
    """Device-seconds where every training that brought a result says how long it took; else trainings, a part of one by its epochs."""
    return "device-seconds" if all("seconds" in trial.metrics for trial in trials if trial.metrics) else "trainings"


def sequel(trials: Sequence[Trial], config: StudyConfig, unit: Unit) -> Sequel:
    """The trials as points and what each spent; one that is not complete, or breaks a bound of the study, brings no point.

    With several seeds it is candidates, with the means over theirs and what all of them spent, in the order of their last trials.
    """
    choices = gathered(trials[::-1], seeds=config.seeds)[::-1]
    points = [[_value(standing, objective.metric, config) for objective in config.objectives] for standing, _ in choices]
    return Sequel(np.array(points, dtype=float), np.array([sum(_spent(trial, config, unit) for trial in trials) for _, trials in choices]))


def check_random(study: Study, other: Study) -> None:
    """ValueError unless `other` is a random search that differs from the study in its sampler, seed and early stopping only."""
    if other.name == study.name:
        raise ValueError(f"study {study.name!r} cannot be compared with itself; name a random search of the same space")
    if other.config.sampler != "random":
        raise ValueError(
            f"study {other.name!r} was searched with the sampler {other.config.sampler}; compare with one of --sampler random, "
            "or where every candidate has been trained with --against random"
        )
    one, two = study.config.to_dict(), other.config.to_dict()
    if differing := [key for key in ALIKE if one.get(key) != two.get(key)]:
        raise ValueError(f"studies {study.name!r} and {other.name!r} differ in {', '.join(differing)}: what they found is not comparable")
    data = [{trial.fidelity.get("fingerprint") for trial in ended(side)} - {None} for side in (study, other)]
    if data[0] and data[1] and data[0] != data[1]:
        raise ValueError(f"the data of studies {study.name!r} and {other.name!r} are not the same: the files have changed between them")


def _metrics(config: StudyConfig) -> list[str]:
    """What a result is judged by."""
    return list(dict.fromkeys([*(objective.metric for objective in config.objectives), *(bound.metric for bound in config.require)]))


def _value(trial: Trial, metric: str, config: StudyConfig) -> float:
    value = trial.value(metric) if trial.state is TrialState.COMPLETE else None
    return math.nan if value is None or any(bound.violation(trial) > 0 for bound in config.require) else value


def _spent(trial: Trial, config: StudyConfig, unit: Unit) -> float:
    """What a trial spent; one that failed before its first report, for as long as it held its worker."""
    if unit == "trainings":
        return float(trial.fidelity.get("epochs", 0)) / config.proxy.epochs
    if "seconds" in trial.metrics:
        return trial.metrics["seconds"]
    known = trial.started_at is not None and trial.finished_at is not None
    return (trial.finished_at - trial.started_at).total_seconds() if known else 0.0  # type: ignore[operator]  # both are known
