"""What makes a study what it is: space, proxy, objectives, screen, sampler and seed, storable as JSON and readable from YAML."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, Self, TypedDict, Unpack

from pydantic import BaseModel, ConfigDict, Field, InstanceOf, ValidationError, ValidationInfo, field_validator, model_validator

from searchspace.cost import COST_METRICS
from searchspace.formats import is_file, read_mapping
from searchspace.score_table import SCORE_TABLE, known_scores
from searchspace.space import SearchSpace
from searchspace.space_text import check_keys, from_mapping, with_fraction
from searchspace.spaces import SPACES, space_from_dict, stacking_space
from studies.constraints import Constraint, check_constraints
from studies.halving import Halving
from studies.records import METRICS, Objective
from trainer.latency_setting import LatencySetting
from trainer.proxy_config import ProxyConfig

PRESETS = Path(__file__).parent.parent / "studies" / "presets"
SamplerName = Literal["auto", "exhaustive", "random", "qmc", "tpe", "gp", "nsga2", "nsga3", "cmaes", "known-cost"]
MAX_OBJECTIVES = 4
TABLE = "table:"
Written = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Screen:
    """Train only the best share `keep` of the feasible candidates by a zero-cost score, or by an exact cost."""

    score: str
    keep: float = 0.5

    def __post_init__(self) -> None:
        known_scores([self.score])
        if not isinstance(self.keep, int | float) or not 0 < self.keep <= 1:
            raise ValueError(f"keep must lie in (0, 1], got {self.keep!r}")

    @property
    def maximize(self) -> bool:
        """Whether more of the score promises a better accuracy."""
        return SCORE_TABLE[self.score].direction == "maximize"


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyConfig:
    """How the latency of full-width networks is measured, as in `LatencySetting`; on the proxy's device unless one is named."""

    device: str | None = None
    batch_size: int = 1
    image_size: int = 224
    precision: str = "float32"
    rounds: int | None = None

    def __post_init__(self) -> None:
        self.setting(ProxyConfig(), seed=0)  # its rules are ours

    def setting(self, proxy: ProxyConfig, *, seed: int) -> LatencySetting:
        """The setting for the candidates of a study."""
        chosen = {**asdict(self), "device": proxy.device if self.device is None else self.device}
        return LatencySetting(**chosen, threads=proxy.threads, seed=seed)


class StudySettings(TypedDict, total=False):
    """What a `StudyConfig` is made of, as records or as people write them."""

    space: SearchSpace | str | Written
    proxy: ProxyConfig | Written
    objectives: Sequence[Objective | str | Written]
    sampler: SamplerName
    seed: int
    seeds: int
    screen: Screen | Written | None
    latency: LatencyConfig | Written
    halving: Halving | Written | None
    require: Sequence[Constraint | str | Written]
    evaluator: str


class StudyConfig(BaseModel):
    """A study; trial count, workers, engine and time limits are not part of it, so they may change from run to run.

    Its settings may be written as in a study file; ValueError names the first that cannot be.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    space: InstanceOf[SearchSpace] = Field(default_factory=stacking_space)
    proxy: InstanceOf[ProxyConfig] = Field(default_factory=ProxyConfig)
    objectives: tuple[InstanceOf[Objective], ...] = (Objective.of("top1"), Objective.of("flops"))
    sampler: SamplerName = "auto"
    seed: int = Field(default=0, ge=0, lt=2**32)
    seeds: int = Field(default=1, ge=1, le=100)
    screen: InstanceOf[Screen] | None = None
    latency: InstanceOf[LatencyConfig] = LatencyConfig()
    halving: InstanceOf[Halving] | None = None
    require: tuple[InstanceOf[Constraint], ...] = ()
    evaluator: str = "train"

    def __init__(self, **settings: Unpack[StudySettings]) -> None:
        check_keys(settings, type(self).model_fields)
        try:
            super().__init__(**settings)
        except (ValueError, TypeError) as error:
            raise ValueError(first_problem(error)) from None

    @field_validator("space", mode="before")
    @classmethod
    def _read_space(cls, value: Any) -> Any:
        if isinstance(value, SearchSpace):
            return value
        return SPACES[value]() if isinstance(value, str) and value in SPACES else space_from_dict(value)

    @field_validator("proxy", "screen", "latency", "halving", mode="before")
    @classmethod
    def _read_record(cls, value: Any, info: ValidationInfo) -> Any:
        assert info.field_name is not None, "a field's validator knows its field"
        left_out = value is None and cls.model_fields[info.field_name].default is None
        return value if left_out or is_dataclass(value) else _READ[info.field_name](value)

    @field_validator("require", mode="before")
    @classmethod
    def _read_require(cls, values: Any) -> Any:
        return tuple(map(_read_constraint, _listed(values, '["top1>=90%"]')))

    @field_validator("objectives", mode="before")
    @classmethod
    def _read_objectives(cls, values: Any) -> Any:
        return tuple(map(_read_objective, _listed(values, "[top1, flops]")))

    @field_validator("objectives")
    @classmethod
    def _check_objectives(cls, values: Sequence[Objective]) -> Sequence[Objective]:
        metrics = [objective.metric for objective in values]
        if not 1 <= len(metrics) <= MAX_OBJECTIVES or len(set(metrics)) < len(metrics):
            raise ValueError(f"a study has one to {MAX_OBJECTIVES} different objectives, got {metrics}")
        return values

    @field_validator("evaluator")
    @classmethod
    def _check_evaluator(cls, value: str) -> str:
        if value != "train" and (not value.startswith(TABLE) or value == TABLE):
            raise ValueError(f"unknown evaluator {value!r}; known: train, {TABLE}PATH with a CSV or Parquet file")
        return value

    @model_validator(mode="after")
    def _check_require(self) -> Self:
        check_constraints(self.require, self.reported)
        return self

    @model_validator(mode="after")
    def _check_seeds(self) -> Self:
        if self.seeds > 1 and self.halving is not None:
            raise ValueError("seeds above 1 and halving exclude each other: the spread over seeds is that of equal trainings")
        if self.seeds > 1 and not self.trains:
            raise ValueError(f"seeds={self.seeds} repeats trainings, and this study has no objective that training tells")
        if self.seed + self.seeds > 2**32:
            raise ValueError(f"seeds lie below 2^32, got {self.seeds} of them from seed {self.seed} on; give a smaller seed")
        return self

    @property
    def trial_seeds(self) -> range:
        """The seeds that each candidate is trained with."""
        return range(self.seed, self.seed + self.seeds)

    @property
    def reported(self) -> tuple[str, ...]:
        """The metrics that a trial of the study will have."""
        origins = ("cost", "trained") if self.trains else ("cost",)
        latency = () if self.latency_setting is None else ("latency_ms",)
        return (*(name for name, metric in METRICS.items() if metric.origin in origins), *self.scores, *latency)

    @property
    def counts_memory(self) -> bool:
        """Whether a trial's predicted memory is looked at; of the costs it alone takes longer to count than to store."""
        named = [*(objective.metric for objective in self.objectives), *(bound.metric for bound in self.require)]
        return "memory" in [*named, *(limit.metric for limit in self.space.limits)]

    @property
    def trains(self) -> bool:
        """Whether an objective is known only after training."""
        return any(METRICS[objective.metric].origin == "trained" for objective in self.objectives)

    @property
    def scores(self) -> tuple[str, ...]:
        """The zero-cost scores that are measured before any training, for an objective or the screen; costs need no measuring."""
        names = [objective.metric for objective in self.objectives if objective.metric in SCORE_TABLE]
        screened = [] if self.screen is None else [self.screen.score]
        return tuple(name for name in dict.fromkeys([*names, *screened]) if name not in COST_METRICS)

    @property
    def latency_setting(self) -> LatencySetting | None:
        """How latency is measured; None where it is no objective."""
        if all(objective.metric != "latency_ms" for objective in self.objectives):
            return None
        return self.latency.setting(self.proxy, seed=self.seed)

    @property
    def latency_fidelity(self) -> dict[str, Any]:
        """What a trial's fidelity says of its latency; empty where none is measured."""
        setting = self.latency_setting
        names = ("device", "batch_size", "image_size", "precision")
        return {} if setting is None else {"latency": {name: getattr(setting, name) for name in names}}

    def fidelity(self) -> dict[str, Any]:
        """At what effort a trial's numbers are measured in the end: epochs are 0 where nothing is trained."""
        if not self.trains and not self.scores:
            return {"epochs": 0, **self.latency_fidelity}
        return {**self.proxy.fidelity(epochs=self.proxy.epochs if self.trains else 0, seed=self.seed), **self.latency_fidelity}

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; `from_dict` reads them back. Settings younger than version 0.3 are left out at their defaults."""
        screen = {} if self.screen is None else {"screen": asdict(self.screen)}
        latency = {} if self.latency == LatencyConfig() else {"latency": asdict(self.latency)}
        halving = {} if self.halving is None else {"halving": asdict(self.halving)}
        require = {"require": [constraint.to_dict() for constraint in self.require]} if self.require else {}
        evaluator = {} if self.evaluator == "train" else {"evaluator": self.evaluator}
        seeds = {} if self.seeds == 1 else {"seeds": self.seeds}
        return {
            "space": self.space.to_dict(),
            "proxy": self.proxy.to_dict(),
            "objectives": [{"metric": objective.metric, "direction": objective.direction} for objective in self.objectives],
            "sampler": self.sampler,
            "seed": self.seed,
            **seeds,
            **screen,
            **latency,
            **halving,
            **require,
            **evaluator,
        }

    @classmethod
    def from_dict(cls, values: Any, *, source: str = "study configuration") -> Self:
        """The configuration of a dictionary; ValueError names source, key and rule."""
        if not isinstance(values, dict):
            got = "nothing" if values is None else type(values).__name__
            raise ValueError(f"{source}: expected a mapping of {', '.join(cls.model_fields)}; got {got}")
        try:
            check_keys(values, cls.model_fields)
            return cls(**values)
        except (ValueError, TypeError) as error:
            raise ValueError(f"{source}: {first_problem(error)}") from None

    @classmethod
    def read(cls, name: str) -> Self:
        """The configuration in a YAML file, or the preset study of that name; ValueError names file and key."""
        path = Path(name)
        if not is_file(name):
            path = PRESETS / f"{path.name}.yaml"
        if not path.is_file():
            known = ", ".join(sorted(preset.stem for preset in PRESETS.glob("*.yaml")))
            raise ValueError(f"no study file {name!r}; give a YAML file or one of the presets: {known}")
        return cls.from_dict(read_mapping(path), source=path.name)


def first_problem(error: Exception) -> str:
    """The first of Pydantic's findings in one line."""
    if not isinstance(error, ValidationError):
        return str(error)
    problem = error.errors()[0]
    where = ".".join(str(part) for part in problem["loc"])
    said = problem["msg"].removeprefix("Value error, ")
    said += "" if problem["type"] == "value_error" else f", got {problem['input']!r}"  # our own say what they got
    return f"{where}: {said}" if where else said


def _listed(values: Any, example: str) -> Sequence[Any]:
    if not isinstance(values, list | tuple):
        raise ValueError(f"write a list such as {example}, got {values!r}")
    return values


def _read_screen(value: Any) -> Screen:
    return from_mapping(Screen, with_fraction(value, "keep"))


def _read_objective(value: Any) -> Objective:
    if isinstance(value, str):
        return Objective.of(value)
    return value if isinstance(value, Objective) else from_mapping(Objective, value)


def _read_constraint(value: Any) -> Constraint:
    if isinstance(value, str):
        return Constraint.parse(value)
    return value if isinstance(value, Constraint) else from_mapping(Constraint, value)


_READ: Mapping[str, Callable[[Any], Any]] = {
    "proxy": ProxyConfig.from_dict,
    "screen": _read_screen,
    "latency": partial(from_mapping, LatencyConfig),
    "halving": partial(from_mapping, Halving),
}
