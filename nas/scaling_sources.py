"""What a scaling space takes from elsewhere: its base from the best trial of a study, its latency exponents from a measurement."""

from collections.abc import Callable
from dataclasses import dataclass

from nas.errors import NasError
from nas.measured_exponents import latency_exponents
from searchspace.exponents import Exponents
from searchspace.formats import load_variant
from searchspace.model_config import ModelConfig
from trainer.latency_setting import LatencySetting

STUDY = "study:"


@dataclass(frozen=True, slots=True)
class Sources:
    """Where a variant's name leads, and what tells the latency exponents of one."""

    variant: Callable[[str], ModelConfig] = load_variant
    exponents: Callable[[ModelConfig, LatencySetting], Exponents] = latency_exponents


def sources(store: str, name: str, told: Callable[[str], None]) -> Sources:
    """Those of a search called `name` in a store: it may name studies, and a search that goes on keeps what it has measured.

    `told` is called with what is about to take a while.
    """

    def measured(base: ModelConfig, setting: LatencySetting) -> Exponents:
        if (stored := _stored_exponents(store, name, base)) is not None:
            return stored
        told(f"measuring how latency on {setting.device} grows with the depth and width of {base.short_name}")
        return latency_exponents(base, setting)

    return Sources(lambda text: variant_named(text, store), measured)


def variant_named(text: str, store: str) -> ModelConfig:
    """A variant as `load_variant` reads it, or with `study:NAME` the best of a study's front in its first objective.

    StoreError where there is no such study, NasError where none of its trials is complete.
    """
    if not text.startswith(STUDY):
        return load_variant(text)
    from nas.api import open_study

    study = open_study(text.removeprefix(STUDY), store=store)
    front = study.front()
    if not front or front[0].model is None:
        raise NasError(f"study {study.name!r} has no complete trial to start from; `nas show {study.name}` has their states")
    return ModelConfig.from_dict(front[0].model)


def _stored_exponents(store: str, name: str, base: ModelConfig) -> Exponents | None:
    from nas.api import open_study
    from studies.database import StoreError

    try:
        space = open_study(name, store=store).config.space
    except StoreError:  # no such study, no such store: the search says so where that is wrong
        return None
    return space.scaling.exponents if space.scaling is not None and space.base == base else None
