"""Single fields of an architecture as text: `kernel_size=5`, `one_group=true`, `layer_scale=1.0`."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from searchspace.model_config import SWITCHES, ModelConfig

WORDS: Mapping[str, bool] = {"true": True, "false": False}


def with_settings(config: ModelConfig, settings: Sequence[str]) -> ModelConfig:
    """`config` with the fields that texts KEY=VALUE name; with one group, group_channels follows channels unless it is named.

    ValueError names the key and the rule.
    """
    values: dict[str, Any] = {}
    for setting in settings:
        key, value = _parsed(setting)
        if key in values:
            raise ValueError(f"{key} is set twice")
        values[key] = value
    if values.get("one_group", config.one_group):
        values.setdefault("group_channels", values.get("channels", config.channels))
    return replace(config, **values)


def _parsed(setting: str) -> tuple[str, Any]:
    key, equals, text = (part.strip() for part in setting.partition("="))
    if not equals:
        raise ValueError(f"a setting reads KEY=VALUE such as kernel_size=5, got {setting!r}")
    if key not in PARSERS:
        raise ValueError(f"unknown setting {key!r}; known: {', '.join(PARSERS)}")
    parse, rule = PARSERS[key]
    try:
        return key, parse(text)
    except (KeyError, ValueError):
        raise ValueError(f"{key} must be {rule}, got {text!r}") from None


def _integers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.split(r"[,-]", text)) if text else ()


def _number_or_none(text: str) -> float | None:
    return None if text == "none" else float(text)


Parser = tuple[Callable[[str], Any], str]
WHOLE: Parser = (int, "a whole number")
SEVERAL: Parser = (_integers, "whole numbers such as 4,4,18,4")
SPECIAL: Mapping[str, Parser] = {
    "depths": SEVERAL,
    "level2_post_norm_block_ids": SEVERAL,
    "offset_scale": (float, "a number"),
    "layer_scale": (_number_or_none, "a number or none"),
    "mask_activation": (str, "softmax or sigmoid"),
    **{name: (lambda text: WORDS[text.lower()], "true or false") for name in SWITCHES},
}
PARSERS: Mapping[str, Parser] = {field.name: SPECIAL.get(field.name, WHOLE) for field in fields(ModelConfig)}
