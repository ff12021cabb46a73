"""Small architectures that differ in every switch, drawn from a seeded generator."""

from random import Random
from typing import Any

from searchspace.model_config import LARGEST_KERNEL, STAGES, ModelConfig
from searchspace.styles import STYLES

KERNELS = tuple(range(1, LARGEST_KERNEL + 1, 2))


def drawn_architecture(random: Random, *, attention_heads: float = 1.0) -> ModelConfig:
    """A style with some of its switches changed; only this share of the heads that pool by attention, with their many weights, stays."""
    group = random.choice((1, 2, 3, 4, 8))
    channels = 2 * group * random.randint(1, 3)
    depths = tuple(random.choice((1, 1, 2)) for _ in range(STAGES))
    values = {key: value for key, value in STYLES[random.choice(sorted(STYLES))].items() if key != "level2_post_norm"}
    values.update({key: random.choice(choices) for key, choices in _changes(values).items() if random.random() < 0.4})
    values["clip_projector"] = values.get("clip_projector", False) and random.random() < attention_heads
    values["remove_center"] = values.get("kernel_size") != 1 and random.random() < 0.4
    values["level2_post_norm_block_ids"] = [block for block in range(depths[2]) if random.random() < 0.3]
    return ModelConfig(channels=channels, group_channels=channels if values.get("one_group") else group, depths=depths, **values)


def _changes(values: dict[str, Any]) -> dict[str, tuple[Any, ...]]:
    return {
        "kernel_size": KERNELS,
        "dw_kernel_size": KERNELS,
        "mlp_ratio": (1, 2, 3),
        "layer_scale": (None,) if values.get("res_post_norm") else (None, 1.0),
        "center_feature_scale": (False, True),
        "clip_projector": (False, True),
        "one_group": (True,),
        "mask_activation": ("sigmoid",),
        "unshared_weights": (True,),
    }


def fitting_image_size(random: Random, config: ModelConfig, largest: int) -> int:
    """Any side that the head can serve: the attention pool needs a stage-3 map of exactly twice stage 4."""
    side = random.randint(1, largest)
    if not config.clip_projector:
        return side
    return next(size for size in range(side, side + 33) if -(-size // 32) * 2 == -(-size // 16))
