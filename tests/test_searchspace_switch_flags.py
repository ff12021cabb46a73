"""Fields of an architecture from texts."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from searchspace.model_config import ModelConfig
from searchspace.presets import PRESETS
from searchspace.switch_flags import PARSERS, with_settings
from tests.architectures import drawn_architecture

T = PRESETS["T"].config


@given(st.randoms(use_true_random=False))
def test_every_architecture_can_be_spelled(random: Random) -> None:
    config = drawn_architecture(random)
    texts = [f"{key}={spelled(getattr(config, key))}" for key in PARSERS]
    assert with_settings(T, texts) == config


def spelled(value: object) -> str:
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return str(value).lower()


def test_one_group_sets_its_channels_unless_they_are_given() -> None:
    assert with_settings(T, ["one_group=true"]).group_channels == 64
    assert with_settings(T, ["one_group=true", "channels=80"]).group_channels == 80
    assert with_settings(with_settings(T, ["one_group=TRUE"]), ["channels=80"]).group_channels == 80
    with pytest.raises(ValueError, match="group_channels must equal channels"):
        with_settings(T, ["one_group=true", "group_channels=16"])


def test_nothing_set_changes_nothing() -> None:
    assert with_settings(T, []) == T
    assert with_settings(T, ["layer_scale=1.0", "depths=4-4-20-4"]) == ModelConfig(
        channels=64, group_channels=16, depths=(4, 4, 20, 4), layer_scale=1.0
    )
    assert with_settings(PRESETS["S"].config, ["layer_scale=none", "post_norm=false"]).layer_scale is None


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("kernel_size", "KEY=VALUE"),
        ("colour=blue", "unknown setting 'colour'; known: channels, group_channels"),
        ("kernel_size=five", "kernel_size must be a whole number, got 'five'"),
        ("one_group=1", "one_group must be true or false, got '1'"),
        ("layer_scale=small", "layer_scale must be a number or none"),
        ("layer_scale=nan", "layer_scale must be a positive number"),
        ("depths=4,,4", "depths must be whole numbers"),
        ("mask_activation=tanh", "mask_activation must be one of softmax, sigmoid"),
        ("channels=72", "channels must be a multiple of group_channels"),
    ],
)
def test_a_setting_that_cannot_be_names_key_and_rule(setting: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        with_settings(T, [setting])


def test_a_field_is_set_once() -> None:
    with pytest.raises(ValueError, match="kernel_size is set twice"):
        with_settings(T, ["kernel_size=3", "kernel_size=5"])
