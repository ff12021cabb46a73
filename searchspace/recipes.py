"""Training recipes as numbers: InternImage's published ones (paper, appendix; released configurations) and the proxy's."""

from collections.abc import Mapping
from dataclasses import dataclass

PUBLISHED_EPOCHS = 300
PUBLISHED_BATCH = 4096
PUBLISHED_STEPS = PUBLISHED_EPOCHS * 1_281_167 // PUBLISHED_BATCH  # the last number: ImageNet-1K's training images


@dataclass(frozen=True, slots=True, kw_only=True)
class Augmentation:
    """What ImageNet training does to images and labels; mixup and cutmix are the parameters of their Beta distributions."""

    crop_scale: tuple[float, float] = (0.08, 1.0)  # share of the image's area
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)  # width / height
    flip_probability: float = 0.5
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
class Recipe:
    """AdamW with a cosine schedule: `lr` holds at batch 512 and scales with the batch; warm-up is a fraction of all steps.

    Without `augmentation`, images are only resized and normalised by `mean` and `std` (of images in [0, 1]), and labels smoothed.
    """

    lr: float
    weight_decay: float = 0.05
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    warmup: float = 0.0
    warmup_lr_ratio: float | None = None  # where the warm-up starts, as a share of the peak; None: one step's worth above nothing
    min_lr_ratio: float = 0.0
    clip_norm: float = 5.0
    label_smoothing: float = 0.1
    drop_path_rate: float = 0.0  # of an architecture that has none of its own: the published variants' stand in the presets
    augmentation: Augmentation | None = None
    ema_decay: float | None = None  # of a training of `ema_steps` steps, see `scaled_ema_decay`; None: no average of the weights
    ema_steps: int = PUBLISHED_STEPS
    # One mean and deviation for every data set and channel: images in [0, 1] come out in [-2, 2].
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.25, 0.25, 0.25)


RECIPES = {
    # 5 epochs of warm-up as the paper writes; 5e-4 per 512 images down to a hundredth. The average is released, the paper names none.
    "published": Recipe(
        lr=5e-4,
        warmup=5 / PUBLISHED_EPOCHS,
        warmup_lr_ratio=1e-3,
        min_lr_ratio=0.01,
        drop_path_rate=0.1,
        augmentation=Augmentation(),
        ema_decay=0.9999,
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
    ),
    # A few epochs on small images: a higher rate reaches further, and a warm-up of 40 % keeps deep networks from never leaving chance, as
    # some did after 15 %; no stochastic depth in networks this thin.
    "proxy": Recipe(lr=1e-2, warmup=0.4),
}


def scaled_ema_decay(decay: float, steps: int, published_steps: int) -> float:
    """The decay for a training of `steps` steps whose average looks back over the same share of it as `decay` over `published_steps`.

    An average remembers about 1 / (1 - decay) steps. That horizon grows and shrinks with the training; where it falls to a step or
    less, the decay is 0 and the average is the network itself. ValueError for a decay outside [0, 1) and numbers of steps below 1.
    """
    if not 0 <= decay < 1:
        raise ValueError(f"decay must lie in [0, 1), got decay={decay}")
    if steps < 1 or published_steps < 1:
        raise ValueError(f"steps and published_steps must be at least 1, got steps={steps}, published_steps={published_steps}")
    return max(0.0, 1 - (1 - decay) * published_steps / steps)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageNetRecipe:
    """Classification from scratch; the three rates hold at `lr_batch_size` images a step and grow in proportion to the batch."""

    optimizer: Recipe
    lr_batch_size: int = 512
    batch_size: int = PUBLISHED_BATCH
    image_size: int = 224
    num_classes: int = 1000
    epochs: int = PUBLISHED_EPOCHS
    warmup_epochs: int = 20  # as released; the paper writes 5, which `optimizer.warmup` keeps

    @property
    def lr(self) -> float:
        """The learning rate at `batch_size`."""
        return self.optimizer.lr * self.batch_size / self.lr_batch_size

    @property
    def warmup_lr(self) -> float:
        """The rate at which the warm-up starts."""
        assert self.optimizer.warmup_lr_ratio is not None
        return self.optimizer.lr * self.optimizer.warmup_lr_ratio

    @property
    def min_lr(self) -> float:
        """The rate at which the schedule ends."""
        return self.optimizer.lr * self.optimizer.min_lr_ratio

    @property
    def ema_decay(self) -> float:
        """The decay of the weights' average."""
        assert self.optimizer.ema_decay is not None
        return self.optimizer.ema_decay

    @property
    def augmentation(self) -> Augmentation:
        """What happens to images and labels."""
        assert self.optimizer.augmentation is not None
        return self.optimizer.augmentation


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
