"""Which sampler serves a study: which ones can, and which one `auto` takes and why."""

from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec

from nas.config import StudyConfig
from searchspace.space import Value
from studies.records import METRICS

GP_TRIALS = 400  # fitting takes seconds a trial from there on
TPE_TRIALS = 1000  # a tenth of a second a trial at ten times as many
UNCONSTRAINED = ("exhaustive", "random", "qmc", "cmaes")  # they do not learn which outcomes are asked for


def check_sampler(config: StudyConfig, trials: int | None = None) -> None:
    """ValueError, naming samplers that can serve, when the one asked for cannot do so for these objectives, domains or trials."""
    if (problem := CHECKS.get(config.sampler, _anything)(config, trials)) is not None:
        raise ValueError(f"sampler {config.sampler} {problem}")


def choose(config: StudyConfig, feasible: int, trials: int | None) -> tuple[str, str]:
    """The sampler of a study with so many feasible candidates, and why it is that one."""
    name, why = (config.sampler, "asked for") if config.sampler != "auto" else _automatic(config, feasible, trials)
    if config.require and name in UNCONSTRAINED:
        why += "; it does not learn from " + " and ".join(constraint.text for constraint in config.require)
    return name, why


def unknown_objectives(config: StudyConfig) -> tuple[str, ...]:
    """The objectives that only training tells."""
    return tuple(objective.metric for objective in config.objectives if METRICS[objective.metric].origin == "trained")


def is_range(values: Sequence[Value]) -> bool:
    """Whether a domain holds numbers in order, so that neighbours are alike."""
    numbers = [value for value in values if not isinstance(value, str)]
    return len(numbers) == len(values) and numbers in (sorted(numbers), sorted(numbers, reverse=True))


def _automatic(config: StudyConfig, feasible: int, trials: int | None) -> tuple[str, str]:
    if trials is not None and feasible <= trials:
        return "exhaustive", "the only feasible candidate is tried" if feasible == 1 else f"all {feasible:,} feasible candidates are tried"
    if len(unknown_objectives(config)) == 1:
        return "known-cost", "only one objective is unknown before training"
    if len(config.objectives) == 1:
        return "tpe", "one objective"
    if trials is not None and trials > TPE_TRIALS:
        return "nsga2", f"{len(config.objectives)} objectives and more than {TPE_TRIALS:,} trials, where TPE takes long to suggest one"
    return "tpe", f"{len(config.objectives)} objectives, {len(unknown_objectives(config))} of them unknown before training"


def _check_cmaes(config: StudyConfig, trials: int | None) -> str | None:
    if len(config.objectives) > 1:
        return f"serves one objective, got {_listed(config)}; use tpe or nsga2"
    domains = config.space.domains
    if unordered := [name for name, values in domains.items() if not is_range(values)]:
        return f"needs domains of numbers in order, which {' and '.join(unordered)} is not; use tpe or gp"
    if find_spec("cmaes") is None:
        return "needs the package cmaes (pip install cmaes); without it use tpe or gp"
    return None


def _check_gp(config: StudyConfig, trials: int | None) -> str | None:
    if trials is not None and trials > GP_TRIALS:
        return f"takes seconds for each suggestion beyond {GP_TRIALS} trials, got {trials:,}; use known-cost, tpe or nsga2"
    return None


def _check_nsga3(config: StudyConfig, trials: int | None) -> str | None:
    if len(config.objectives) == 1:
        return f"serves two to four objectives, got {_listed(config)}; use tpe or nsga2"
    return None


def _check_known_cost(config: StudyConfig, trials: int | None) -> str | None:
    if len(unknown := unknown_objectives(config)) != 1:
        found = f"{', '.join(unknown)} are" if unknown else "none is"
        return f"needs exactly one objective that only training tells, and {found} such; use tpe or nsga2"
    return None


def _anything(config: StudyConfig, trials: int | None) -> None:
    """Serves every study."""


def _listed(config: StudyConfig) -> str:
    return ", ".join(objective.metric for objective in config.objectives)


CHECKS: Mapping[str, Callable[[StudyConfig, int | None], str | None]] = {
    "cmaes": _check_cmaes,
    "gp": _check_gp,
    "nsga3": _check_nsga3,
    "known-cost": _check_known_cost,
}
