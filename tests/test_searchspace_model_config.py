"""An architecture is valid from birth and survives the way to JSON and back."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from searchspace.model_config import ABLATIONS, ModelConfig
from searchspace.presets import PRESETS, preset
from searchspace.stacking import stack
from searchspace.styles import STYLES, restack, style_of, style_text

DEFAULTS = {"kernel_size": 3, **ABLATIONS}
GOOD = {"channels": 64, "group_channels": 16, "depths": (4, 4, 18, 4)}


@given(st.sampled_from(sorted(STYLES)), st.integers(1, 9), st.sampled_from([2, 8, 16]), st.integers(1, 6), st.integers(0, 40))
def test_a_configuration_survives_json(style: str, groups: int, group: int, l1: int, more: int) -> None:
    config = stack(groups * group, group, l1, l1 + more, style=style)
    assert ModelConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    assert config.groups == tuple(groups * 2**i for i in range(4))
    assert config.is_aaba


@pytest.mark.parametrize(("name", "style"), [("T", "t"), ("S", "s"), ("B", "s"), ("L", "l"), ("XL", "l"), ("H", "h"), ("G", "g")])
def test_the_presets_carry_their_style(name: str, style: str) -> None:
    assert style_of(PRESETS[name].config) == style


def test_the_largest_presets_norm_every_sixth_block() -> None:
    assert PRESETS["H"].config.level2_post_norm_block_ids == (5, 11, 17, 23, 29)
    assert PRESETS["G"].config.level2_post_norm_block_ids == (5, 11, 17, 23, 29, 35, 41, 47)
    assert PRESETS["G"].config.short_name == "512,32,2-2-48-4"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"channels": 72}, r"multiple of group_channels, got channels=72, group_channels=16 .*nearest: 64, 80"),
        ({"channels": 0}, "channels must be whole"),
        ({"channels": 64.0}, "channels must be whole"),
        ({"channels": 9, "group_channels": 3}, "must be even"),
        ({"depths": (4, 4, 18)}, "4 stages"),
        ({"depths": (4, 4, 0, 4)}, "depths must be whole"),
        ({"kernel_size": 4}, "must be odd"),
        ({"depths": (1, 1, 10**9, 1)}, "depths must be at most 10,000, got depths="),
        ({"channels": 2**21}, "channels must be at most 1,048,576, got channels=2097152"),
        ({"kernel_size": 9}, "kernel_size must be at most 7, the operator.s largest, got kernel_size=9"),
        ({"layer_scale": float("nan")}, "layer_scale must be a positive number"),
        ({"layer_scale": 1e-5, "res_post_norm": True}, "res_post_norm excludes"),
        ({"level2_post_norm_block_ids": (18,)}, "within stage 3's 18 blocks"),
        ({"post_norm": 1}, "true or false"),
        ({"unshared_weights": "yes"}, "unshared_weights must be true or false, got 'yes'"),
        ({"one_group": True}, "group_channels must equal channels, got channels=64, group_channels=16"),
        ({"mask_activation": "tanh"}, "mask_activation must be one of softmax, sigmoid, got 'tanh'"),
        ({"remove_center": True, "kernel_size": 1}, "remove_center needs a kernel_size of at least 3"),
    ],
)
def test_a_broken_rule_is_named_with_its_values(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ModelConfig(**{**GOOD, **change})  # type: ignore[arg-type]


def test_unknown_and_missing_keys_are_named() -> None:
    with pytest.raises(ValueError, match=r"unknown keys \['colour'\], missing keys \['depths'\]"):
        ModelConfig.from_dict({"channels": 64, "group_channels": 16, "colour": "red"})


def test_divided_channels_keep_groups_and_depths() -> None:
    config = preset("t").config
    assert config.divide_channels(4).groups == config.groups
    assert config.divide_channels(4).widths == (16, 32, 64, 128)
    with pytest.raises(ValueError, match="divisor=3"):
        config.divide_channels(3)


ablations = st.fixed_dictionaries(
    {},
    optional={
        "remove_center": st.booleans(),
        "one_group": st.just(True),
        "mask_activation": st.sampled_from(["softmax", "sigmoid"]),
        "unshared_weights": st.booleans(),
    },
)


@given(ablations, st.integers(1, 4))
def test_ablations_survive_json_and_scaling_and_are_written_only_where_there_are_any(changes: dict[str, Any], factor: int) -> None:
    base = ModelConfig(channels=16, group_channels=16 if "one_group" in changes else 8, depths=(2, 2, 5, 2), **changes)
    written = json.loads(json.dumps(base.to_dict()))
    assert ModelConfig.from_dict(written) == base
    plain = ModelConfig(channels=16, group_channels=base.group_channels, depths=(2, 2, 5, 2))
    assert set(written) - set(plain.to_dict()) == {key for key in changes if getattr(base, key) != getattr(plain, key)}
    larger = restack(base, channels=16 * factor, group_channels=base.group_channels, depths=(2, 2, 9, 2))
    assert all(getattr(larger, key) == getattr(base, key) for key in changes)
    assert base.groups == ((1, 1, 1, 1) if base.one_group else (2, 4, 8, 16))
    assert (style_of(base) == "t") == (base == plain)


def test_l1_must_not_exceed_l3() -> None:
    with pytest.raises(ValueError, match=r"rule 4.*L1=5, L3=1"):
        stack(80, 16, 5, 1)


@given(st.sampled_from(sorted(STYLES)), ablations, st.sampled_from([3, 5]))
def test_a_style_in_words_names_what_differs_from_the_nearest(style: str, changes: dict[str, Any], kernel: int) -> None:
    base = replace(stack(16, 16, 2, 7, style=style), kernel_size=kernel, **changes)
    given = {"kernel_size": kernel, **changes}
    differing = [f"{key}={given[key]}" for key in ("kernel_size", *ABLATIONS) if key in given and given[key] != DEFAULTS[key]]
    assert style_text(base) == (f"{style} with {', '.join(differing)}" if differing else style)
