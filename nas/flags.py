"""From command-line flags to a study's configuration; a flag that was not given stays out of it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from nas.config import LatencyConfig, Screen, StudyConfig
from nas.halving import Halving
from searchspace.formats import load_variant
from searchspace.quantity import parse_fraction, parse_integers
from searchspace.sizes import Limit, Target
from searchspace.space import SearchSpace
from searchspace.spaces import SPACES
from trainer.proxy_config import ProxyConfig

Flags = Mapping[str, Any]
STACKING_FLAGS = ("channels", "group_channels", "l1", "l3", "kernel_size", "target", "tolerance", "limit", "style")
SPACE_FLAGS: Mapping[str, tuple[str, ...]] = {
    "stacking": STACKING_FLAGS,
    "wide": STACKING_FLAGS,
    "scaling": ("phi", "base", "target", "limit", "style"),
}
PROXY_FLAGS = ("dataset", "image_size", "epochs", "train_fraction", "channel_divisor", "batch_size", "recipe", "precision", "device")
LATENCY_FLAGS = {"latency_batch": "batch_size", "latency_size": "image_size"}
STUDY_FLAGS = {
    "sampler": "sampler",
    "seed": "seed",
    "seeds": "seeds",
    "objective": "objectives",
    "require": "require",
    "evaluator": "evaluator",
}
HALVING_FLAGS = ("eta", "min_epochs")


def study_config(file: str | None, flags: Flags) -> StudyConfig:
    """The configuration in `file` (or the preset study of that name), or that of the flags; ValueError when both are given."""
    given = {name: value for name, value in flags.items() if value not in (None, [], ())}
    if file is not None:
        if given:
            raise ValueError(f"--config decides the whole study; leave out {', '.join(map(_flag, given))}")
        return StudyConfig.read(file)
    values: dict[str, Any] = {key: given[flag] for flag, key in STUDY_FLAGS.items() if flag in given}
    values["space"] = _space(given.get("space", "stacking"), given)
    values["proxy"] = ProxyConfig(**{name: _proxy_value(name, given[name]) for name in PROXY_FLAGS if name in given})
    values |= _screen(given) | _latency(given) | _halving(given)
    return StudyConfig.from_dict(values, source="flags")


def _screen(given: Flags) -> dict[str, Screen]:
    if "screen" not in given:
        if "keep" in given:
            raise ValueError("--keep goes with --screen SCORE, such as --screen naswot")
        return {}
    keep = {"keep": parse_fraction(given["keep"], whole=True)} if "keep" in given else {}
    return {"screen": Screen(score=given["screen"], **keep)}


def _halving(given: Flags) -> dict[str, Halving]:
    if "early_stopping" not in given:
        if alone := [flag for flag in HALVING_FLAGS if flag in given]:
            raise ValueError(f"{_flag(alone[0])} goes with --early-stopping stop or --early-stopping promote")
        return {}
    return {"halving": Halving(mode=given["early_stopping"], **{flag: given[flag] for flag in HALVING_FLAGS if flag in given})}


def _latency(given: Flags) -> dict[str, LatencyConfig]:
    chosen = [flag for flag in LATENCY_FLAGS if flag in given]
    if not chosen:
        return {}
    if "latency_ms" not in given.get("objective", ()):
        raise ValueError(f"{_flag(chosen[0])} goes with --objective latency_ms")
    return {"latency": LatencyConfig(**{LATENCY_FLAGS[flag]: given[flag] for flag in chosen})}


def _space(name: str, given: Flags) -> SearchSpace:
    if name not in SPACES:
        raise ValueError(f"unknown space {name!r}; known: {', '.join(SPACES)}")
    every = {flag for flags in SPACE_FLAGS.values() for flag in flags}
    if foreign := [_flag(flag) for flag in given if flag in every and flag not in SPACE_FLAGS[name]]:
        raise ValueError(f"the space {name!r} does not take {', '.join(foreign)}")
    arguments = {flag: _PARSE[flag](given[flag]) for flag in SPACE_FLAGS[name] if flag in given and flag in _PARSE}
    if "limit" in arguments:
        arguments["limits"] = arguments.pop("limit")
    if "target" in given:
        arguments["target"] = Target.parse(given["target"], parse_fraction(given.get("tolerance", "2%")))
    elif "tolerance" in given:
        default = SPACES[name]().target
        if default is None:
            raise ValueError(f"the space {name!r} has no target unless one is named; --tolerance goes with --target 30M")
        arguments["target"] = Target(default.value, default.metric, parse_fraction(given["tolerance"]))
    return SPACES[name](**arguments)


def _parse_style(text: str) -> str:
    load_variant("64,16,4,18", style=text)
    return text


def _parse_limits(texts: Sequence[str]) -> list[Limit]:
    return [Limit.parse(text) for text in texts]


def parse_numbers(text: str) -> list[float]:
    """The numbers of `1.74` or `1,2,3`."""
    try:
        return [float(number) for number in text.split(",")]
    except ValueError:
        raise ValueError(f"malformed list of numbers {text!r}; write 1.74 or 1,2,3") from None


_PARSE: Mapping[str, Callable[[Any], Any]] = {
    "channels": parse_integers,
    "group_channels": parse_integers,
    "l1": parse_integers,
    "l3": parse_integers,
    "kernel_size": parse_integers,
    "phi": parse_numbers,
    "base": load_variant,
    "style": _parse_style,
    "limit": _parse_limits,
}


def _proxy_value(name: str, value: Any) -> Any:
    return parse_fraction_of_data(value) if name == "train_fraction" else value


def parse_fraction_of_data(text: str) -> float:
    """A part of the data in (0, 1]: `25%`, `0.25` or `1`."""
    return parse_fraction(text, whole=True)


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")
