"""Architectures and provenance for property tests: every style, odd mixtures of switches, and the ablations."""

from typing import Any

from hypothesis import strategies as st

from searchspace.formats import VariantDocument
from searchspace.model_config import ModelConfig
from searchspace.presets import PRESETS
from searchspace.stacking import stack
from searchspace.styles import STYLES

NORMS = ({}, {"post_norm": True}, {"res_post_norm": True})
scales = st.floats(1e-9, 8.0, allow_subnormal=False)


@st.composite
def mixed(draw: st.DrawFn, *, foreign: bool, dense: bool = False) -> ModelConfig:
    """Any legal mixture of switches; `foreign` leaves out what other projects cannot express, `dense` also what their backbones drop."""
    one_group = draw(st.booleans())
    group = draw(st.integers(1, 24).map(lambda half: 2 * half))
    channels = group if one_group else group * draw(st.integers(1, 12))
    depths = draw(st.tuples(*(st.integers(1, 30) for _ in range(4))))
    norms = draw(st.sampled_from(NORMS))
    kernel = 3 if foreign else draw(st.sampled_from([1, 3, 5, 7]))
    own = {} if foreign else {"mask_activation": draw(st.sampled_from(["softmax", "sigmoid"])), "unshared_weights": draw(st.booleans())}
    return ModelConfig(
        channels=channels,
        group_channels=group,
        depths=depths,
        mlp_ratio=draw(st.integers(1, 8)),
        kernel_size=kernel,
        dw_kernel_size=draw(st.sampled_from([1, 3, 5, 7])),
        offset_scale=draw(scales | st.just(1)),
        layer_scale=None if "res_post_norm" in norms else draw(st.none() | scales),
        center_feature_scale=draw(st.booleans()),
        clip_projector=draw(st.booleans()),
        level2_post_norm_block_ids=tuple(sorted(draw(st.sets(st.integers(0, depths[2] - 1), max_size=5)))),
        remove_center=not dense and kernel > 1 and draw(st.booleans()),
        one_group=one_group,
        **norms,
        **own,
    )


@st.composite
def stacked(draw: st.DrawFn) -> ModelConfig:
    """An AABA stack in one of the published styles."""
    group, l1 = draw(st.sampled_from([2, 8, 16, 32])), draw(st.integers(1, 6))
    return stack(group * draw(st.integers(1, 8)), group, l1, l1 + draw(st.integers(0, 40)), style=draw(st.sampled_from(sorted(STYLES))))


published = st.sampled_from([preset.config for preset in PRESETS.values()])
scalars = st.none() | st.booleans() | st.integers(-(2**62), 2**62) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8)
plain: st.SearchStrategy[Any] = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3), max_leaves=6
)
provenances = st.dictionaries(st.text(max_size=6), plain, max_size=3)


def configs(format: str) -> st.SearchStrategy[ModelConfig]:
    """Architectures that a format can express."""
    own, dense = format in ("yaml", "json"), format in ("mmdet", "mmseg")
    return published | stacked() | mixed(foreign=not own, dense=dense)


def documents(format: str) -> st.SearchStrategy[VariantDocument]:
    """Variants that a format can express, under any name and with any provenance."""
    return st.builds(VariantDocument, st.text(max_size=20), configs(format), provenances)
