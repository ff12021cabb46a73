"""What makes a study what it is: space, proxy, objectives, sampler and seed, storable as JSON and readable from YAML."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, InstanceOf, ValidationError, field_validator

from searchspace.formats import is_file, read_mapping
from searchspace.space import SearchSpace
from searchspace.spaces import space_from_dict, stacking_space
from studies.records import Objective
from trainer.proxy_config import ProxyConfig

PRESETS = Path(__file__).parent.parent / "studies" / "presets"
SamplerName = Literal["auto", "exhaustive", "tpe", "random"]
MAX_OBJECTIVES = 4


class StudyConfig(BaseModel):
    """A study; trial count, workers, engine and time limits are not part of it, so they may change from run to run."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    space: InstanceOf[SearchSpace] = Field(default_factory=stacking_space)
    proxy: InstanceOf[ProxyConfig] = Field(default_factory=ProxyConfig)
    objectives: tuple[InstanceOf[Objective], ...] = (Objective.of("top1"), Objective.of("flops"))
    sampler: SamplerName = "auto"
    seed: int = Field(default=0, ge=0, lt=2**32)

    @field_validator("space", mode="before")
    @classmethod
    def _read_space(cls, value: Any) -> Any:
        return space_from_dict(value) if isinstance(value, dict) else value

    @field_validator("proxy", mode="before")
    @classmethod
    def _read_proxy(cls, value: Any) -> Any:
        return ProxyConfig.from_dict(value) if isinstance(value, dict) else value

    @field_validator("objectives", mode="before")
    @classmethod
    def _read_objectives(cls, values: Any) -> Any:
        return tuple(map(_read_objective, values)) if isinstance(values, list | tuple) else values

    @field_validator("objectives")
    @classmethod
    def _check_objectives(cls, values: Sequence[Objective]) -> Sequence[Objective]:
        metrics = [objective.metric for objective in values]
        if not 1 <= len(metrics) <= MAX_OBJECTIVES or len(set(metrics)) < len(metrics):
            raise ValueError(f"a study has one to {MAX_OBJECTIVES} different objectives, got {metrics}")
        return values

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; `from_dict` reads them back."""
        return {
            "space": self.space.to_dict(),
            "proxy": self.proxy.to_dict(),
            "objectives": [{"metric": objective.metric, "direction": objective.direction} for objective in self.objectives],
            "sampler": self.sampler,
            "seed": self.seed,
        }

    @classmethod
    def from_dict(cls, values: Any, *, source: str = "study configuration") -> Self:
        """The configuration of a dictionary; ValueError names source, key and rule."""
        if not isinstance(values, dict):
            raise ValueError(f"{source}: expected a mapping of space, proxy, objectives, sampler, seed; got {type(values).__name__}")
        try:
            return cls(**values)
        except (ValidationError, TypeError) as error:
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
    return f"{where}: {problem['msg'].removeprefix('Value error, ')}"


def _read_objective(value: Any) -> Any:
    if isinstance(value, str):
        return Objective.of(value)
    if isinstance(value, dict):
        return Objective(**value)
    return value
