"""From command-line flags to a study's configuration; a flag that was not given stays out of it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nas.config import LatencyConfig, Screen, StudyConfig
from nas.scaling_sources import Sources
from searchspace.exponents import Exponents
from searchspace.formats import load_variant
from searchspace.model_config import ModelConfig
from searchspace.presets import preset
from searchspace.quantity import parse_fraction, parse_integers
from searchspace.scaling_domains import start_of
from searchspace.sizes import Limit, Target
from searchspace.space import SearchSpace
from searchspace.spaces import SPACES
from studies.halving import Halving
from trainer.proxy_config import ProxyConfig

Flags = Mapping[str, Any]
STACKING_FLAGS = ("channels", "group_channels", "l1", "l3", "kernel_size", "target", "tolerance", "limit", "style")
SCALING_FLAGS = ("base", "phi", "pairs", "lattice", "keep_formula", "split", "scale_metric", "alpha")
SPACE_FLAGS: Mapping[str, tuple[str, ...]] = {
    "stacking": STACKING_FLAGS,
    "wide": STACKING_FLAGS,
    "scaling": (*SCALING_FLAGS, "tolerance", "target", "limit", "style"),
}
ARGUMENTS: Mapping[str, str] = {"limit": "limits", "keep_formula": "formula", "scale_metric": "metric"}  # where the names differ
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


def study_config(file: str | None, flags: Flags, sources: Sources | None = None) -> StudyConfig:
    """The configuration in `file` (or the preset study of that name), or that of the flags; ValueError when both are given.

    `sources` say what a scaling space takes from elsewhere.
    """
    given = {name: value for name, value in flags.items() if value not in (None, [], ())}
    if file is not None:
        if given:
            raise ValueError(f"--config decides the whole study; leave out {', '.join(map(_flag, given))}")
        return StudyConfig.read(file)
    values: dict[str, Any] = {key: given[flag] for flag, key in STUDY_FLAGS.items() if flag in given}
    proxy = ProxyConfig(**{name: _proxy_value(name, given[name]) for name in PROXY_FLAGS if name in given})
    latency = _latency(given)
    values["space"] = _space(given.get("space", "stacking"), given, _Elsewhere(sources or Sources(), proxy, latency))
    values["proxy"] = proxy
    values |= _screen(given) | latency | _halving(given)
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
    if "latency_ms" not in (*given.get("objective", ()), given.get("scale_metric")):
        raise ValueError(f"{_flag(chosen[0])} goes with --objective latency_ms or --scale-metric latency_ms")
    return {"latency": LatencyConfig(**{LATENCY_FLAGS[flag]: given[flag] for flag in chosen})}


@dataclass(frozen=True, slots=True)
class _Elsewhere:
    """Sources, with the setting that a latency would be measured in."""

    sources: Sources
    proxy: ProxyConfig
    latency: Mapping[str, LatencyConfig]

    def exponents(self, base: ModelConfig, seed: int) -> Exponents:
        """The latency exponents of a base."""
        return self.sources.exponents(base, self.latency.get("latency", LatencyConfig()).setting(self.proxy, seed=seed))


def _space(name: str, given: Flags, elsewhere: _Elsewhere) -> SearchSpace:
    if name not in SPACES:
        raise ValueError(f"unknown space {name!r}; known: {', '.join(SPACES)}")
    every = {flag for flags in SPACE_FLAGS.values() for flag in flags}
    if foreign := [_flag(flag) for flag in given if flag in every and flag not in SPACE_FLAGS[name]]:
        raise ValueError(f"the space {name!r} does not take {', '.join(foreign)}")
    arguments = {ARGUMENTS.get(flag, flag): _PARSE[flag](given[flag]) for flag in SPACE_FLAGS[name] if flag in given and flag in _PARSE}
    if "target" in given:
        arguments["target"] = Target.parse(given["target"], parse_fraction(given.get("tolerance", "2%")))
    if name == "scaling":
        return SPACES[name](**arguments, **_scaled_from(given, elsewhere))
    if "tolerance" in given and "target" not in given:
        default = SPACES[name]().target
        if default is None:
            raise ValueError(f"the space {name!r} has no target unless one is named; --tolerance goes with --target 30M")
        arguments["target"] = Target(default.value, default.metric, parse_fraction(given["tolerance"]))
    return SPACES[name](**arguments)


def _scaled_from(given: Flags, elsewhere: _Elsewhere) -> dict[str, Any]:
    """The base of a scaling space, how near sizes must come, and the exponents of its latency where that is what a step doubles."""
    if "pairs" in given and "alpha" in given:
        raise ValueError("--pairs names the pairs and --alpha bounds them where widths are chosen instead; give one of them")
    found: dict[str, Any] = {"base": elsewhere.sources.variant(given["base"])} if "base" in given else {}
    if "tolerance" in given:
        found["tolerance"] = parse_fraction(given["tolerance"])
    if given.get("scale_metric") == "latency_ms":
        start = start_of(found.get("base", preset("T").config), given.get("lattice", "coarse"), given.get("style"))
        found["exponents"] = elsewhere.exponents(start, given.get("seed", 0))
    return found


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


def _parse_pairs(text: str) -> Any:
    """`paper`, or the pairs of `1.09,1.36;1.12,1.34`."""
    if text == "paper":
        return text
    pairs = [tuple(part.split(",")) for part in text.split(";")]
    try:
        return [(float(alpha), float(beta)) for alpha, beta in pairs]
    except ValueError:
        raise ValueError(f"malformed pairs {text!r}; write alpha,beta pairs such as 1.09,1.36;1.12,1.34, or paper") from None


def _parse_alpha(text: str) -> tuple[float, float]:
    """The bounds of `1:1.4`."""
    try:
        low, high = map(float, text.split(":"))
    except ValueError:
        raise ValueError(f"malformed range of alpha {text!r}; write 1:1.4") from None
    return low, high


def _as_given(value: Any) -> Any:
    return value


_PARSE: Mapping[str, Callable[[Any], Any]] = {
    "channels": parse_integers,
    "group_channels": parse_integers,
    "l1": parse_integers,
    "l3": parse_integers,
    "kernel_size": parse_integers,
    "phi": parse_numbers,
    "pairs": _parse_pairs,
    "lattice": _as_given,
    "keep_formula": _as_given,
    "split": _as_given,
    "scale_metric": _as_given,
    "alpha": _parse_alpha,
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
