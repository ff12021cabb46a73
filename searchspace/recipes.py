"""Training recipes as numbers: InternImage's published ones (paper, appendix; released configurations) and the proxy's."""

from collections.abc import Mapping
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Augmentation:
    """What ImageNet training does to images and labels; mixup and cutmix are the parameters of their Beta distributions."""

    rand_augment: str = "rand-m9-mstd0.5-inc1"  # magnitude 9, its noise 0.5, every operation stronger with the magnitude
    mixup: float = 0.8
    cutmix: float = 1.0
    mix_probability: float = 1.0
    cutmix_share: float = 0.5
    erasing_probability: float = 0.25
    erasing_mode: str = "pixel"
    erasing_count: int = 1
    interpolation: str = "bicubic"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageNetRecipe:
    """Classification from scratch; the three rates hold at `lr_batch_size` images a step and grow in proportion to the batch."""

    optimizer: Recipe
    lr_batch_size: int = 512
    batch_size: int = 4096
    image_size: int = 224
    num_classes: int = 1000
    epochs: int = 300
    warmup_epochs: int = 20  # as released; the paper writes 5, which `optimizer.warmup` keeps
    warmup_lr: float = 5e-7
    min_lr: float = 5e-6
    ema_decay: float = 0.9999  # as released; the paper names no average
    augmentation: Augmentation = Augmentation()

    @property
    def lr(self) -> float:
        """The learning rate at `batch_size`."""
        return self.optimizer.lr * self.batch_size / self.lr_batch_size


@dataclass(frozen=True, slots=True, kw_only=True)
class DenseRecipe:
    """What detection and segmentation share: AdamW from ImageNet weights, without decay of norms, biases and 1-D tensors."""

    lr: float
    batch_size: int = 16
    weight_decay: float = 0.05
    betas: tuple[float, float] = (0.9, 0.999)
    layer_decay: float = 1.0
    layer_scale: float = 1.0  # in place of the classifier's, T included; H and G have none
    clip_norm: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectionRecipe(DenseRecipe):
    """Mask R-CNN 1× on COCO; sides in pixels."""

    epochs: int = 12
    short_side: int = 800
    long_side: int = 1333


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentationRecipe(DenseRecipe):
    """UperNet on ADE20K: a polynomial schedule of `steps` after a linear warm-up; crop in pixels."""

    crop: int = 512
    steps: int = 160_000
    power: float = 1.0
    warmup_steps: int = 1500
    warmup_ratio: float = 1e-6


IMAGENET = ImageNetRecipe(optimizer=RECIPES["published"])
DETECTION = DetectionRecipe(lr=1e-4)
SEGMENTATION: Mapping[str, SegmentationRecipe] = {
    "T, S, B": SegmentationRecipe(lr=6e-5),
    "L, XL": SegmentationRecipe(lr=2e-5, crop=640, layer_decay=0.94, clip_norm=0.1),
}
# Stochastic depth in detection and segmentation; L and XL have B's in segmentation. The classifiers' rates stand in the presets.
DENSE_DROP_PATH_RATES: Mapping[str, float] = {"T": 0.2, "S": 0.3, "B": 0.4}
