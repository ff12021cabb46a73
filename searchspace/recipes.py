"""Training recipes as numbers; the published one is InternImage-T/S/B's on ImageNet-1K (paper, appendix; released configurations)."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """AdamW with a cosine schedule: `lr` holds at batch 512 and scales with the batch; warm-up is a fraction of all steps."""

    lr: float
    weight_decay: float = 0.05
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    warmup: float = 0.0
    min_lr_ratio: float = 0.0
    clip_norm: float = 5.0
    label_smoothing: float = 0.1
    drop_path_rate: float = 0.0


RECIPES = {
    # 300 epochs, 5 of them warm-up; 5e-4 per 512 images from 5e-7 down to 5e-6.
    "published": Recipe(lr=5e-4, warmup=5 / 300, min_lr_ratio=0.01, drop_path_rate=0.1),
    # A few epochs on small images: a higher rate and a longer warm-up reach further; no stochastic depth in networks this thin.
    "proxy": Recipe(lr=1e-2, warmup=0.15),
}
