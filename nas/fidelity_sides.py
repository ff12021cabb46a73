"""The two sides of a certificate: studies that differ in nothing but their seed, and the variants that all of them have measured."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np

from nas.api import Study
from searchspace.model_config import ModelConfig
from studies.rank_statistics import Floats
from studies.records import Trial, TrialState
from trainer.proxy_config import ProxyConfig

Trials = Mapping[ModelConfig, Trial]
BESIDE_TRAINING = ("seed", "latency")  # what a trial's fidelity says that its scores do not depend on, or that may differ


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """Studies of one proxy and one data set by seed, and the complete trials of each by architecture."""

    studies: tuple[str, ...]
    seeds: tuple[int, ...]
    proxy: ProxyConfig
    trials: tuple[Trials, ...]

    @classmethod
    def of(cls, role: str, studies: Sequence[Study]) -> Self:
        """The side that `studies` make; ValueError names what they differ in besides their seed."""
        if not studies:
            raise ValueError(f"the {role} side needs at least one study")
        if not isinstance(studies, list | tuple) or not all(isinstance(study, Study) for study in studies):
            raise ValueError(f"{role} must be a list of studies as open_study(NAME) opens them, got {studies!r}")
        ordered = sorted(studies, key=lambda study: study.config.seed)
        side = cls(
            studies=tuple(study.name for study in ordered),
            seeds=tuple(study.config.seed for study in ordered),
            proxy=ordered[0].config.proxy,
            trials=tuple(map(_measured, ordered)),
        )
        _check_proxies(role, ordered)
        _check_seeds(role, side)
        _check_data(role, side)
        return side

    @property
    def fidelity(self) -> dict[str, Any]:
        """At what effort the side was trained, as its first trial says it; without the seed."""
        known = [trial.fidelity for trials in self.trials for trial in trials.values()]
        stated = known[0] if known else self.proxy.fidelity(epochs=self.proxy.epochs, seed=0)
        return {name: value for name, value in stated.items() if name not in BESIDE_TRAINING}

    def values(self, metric: str, variants: Sequence[ModelConfig]) -> Floats | None:
        """The metric as (variants, seeds); None where a trial lacks it."""
        rows = [[trials[variant].value(metric) for trials in self.trials] for variant in variants]
        return None if any(value is None for row in rows for value in row) else np.array(rows, dtype=float)


def common_variants(sides: Sequence[Side]) -> list[ModelConfig]:
    """The architectures that every study of every side has completed, in an order of their own."""
    measured = [set(trials) for side in sides for trials in side.trials]
    return sorted(set.intersection(*measured), key=repr)


def missing_variants(sides: Sequence[Side]) -> dict[ModelConfig, tuple[str, ...]]:
    """The architectures that some study has completed and others have not, with the names of those that have not."""
    measured = {name: set(trials) for side in sides for name, trials in zip(side.studies, side.trials, strict=True)}
    every = sorted(set.union(*measured.values()), key=repr)
    lacking = {variant: tuple(name for name, known in measured.items() if variant not in known) for variant in every}
    return {variant: names for variant, names in lacking.items() if names}


def check_sides_differ(cheap: Side, reference: Side) -> None:
    """ValueError where a training stands on both sides: it would agree with itself."""
    if cheap.proxy == reference.proxy and (shared := sorted(set(cheap.seeds) & set(reference.seeds))):
        raise ValueError(
            f"the same proxy with the same seed {shared[0]} stands on both sides ({', '.join(cheap.studies)}; "
            f"{', '.join(reference.studies)}) and would agree with itself; give another reference, or other seeds"
        )


def _measured(study: Study) -> dict[ModelConfig, Trial]:
    """The complete trials at full length with the study's first seed; of choices that build the same architecture the first."""
    config = study.config
    complete = [trial for trial in study.trials() if trial.state is TrialState.COMPLETE and trial.seed == config.seed]
    full = [trial for trial in complete if trial.fidelity.get("epochs") == config.proxy.epochs]
    return {ModelConfig.from_dict(trial.model): trial for trial in reversed(full) if trial.model is not None}


def _check_proxies(role: str, studies: Sequence[Study]) -> None:
    first = studies[0].config.proxy
    for study in studies[1:]:
        other = study.config.proxy
        differing = [field.name for field in fields(first) if getattr(first, field.name) != getattr(other, field.name)]
        if differing:
            what = "; ".join(f"{name} is {getattr(first, name)} and {getattr(other, name)}" for name in differing)
            raise ValueError(_unlike(role, studies[0].name, study.name, what))


def _check_seeds(role: str, side: Side) -> None:
    for one, other, seed, next_seed in zip(side.studies, side.studies[1:], side.seeds, side.seeds[1:], strict=False):
        if seed == next_seed:
            raise ValueError(f"the {role} studies {one!r} and {other!r} have the same seed {seed}: one training would count twice")


def _check_data(role: str, side: Side) -> None:
    """Trials say more than their study: data from files may have changed between them."""
    first = side.fidelity
    for name, trials in zip(side.studies, side.trials, strict=True):
        for trial in trials.values():
            differing = [key for key in first if key in trial.fidelity and trial.fidelity[key] != first[key]]
            if differing:
                what = "; ".join(f"{key} is {first[key]} and {trial.fidelity[key]}" for key in differing)
                raise ValueError(_unlike(role, side.studies[0], f"{name} (trial {trial.number})", what))


def _unlike(role: str, one: str, other: str, what: str) -> str:
    return f"the {role} studies {one} and {other} differ in more than their seed: {what}; one side has one proxy and one data set"
