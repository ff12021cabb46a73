"""What ImageNet training does to a batch of images and labels, on the device of the images, and what evaluation does."""

import math
from dataclasses import KW_ONLY, dataclass

import torch
from torch import Tensor

from searchspace.recipes import Augmentation
from trainer.augmentation import rand_augment
from trainer.augmentation.boxes import central_box, draw_boxes
from trainer.augmentation.erasing import erase
from trainer.augmentation.mixing import draw_mix, mix_images, mix_labels
from trainer.augmentation.resample import check_interpolation, resize

Channels = tuple[float, float, float]  # red, green, blue


@dataclass(frozen=True, slots=True)
class Augment:
    """From stored images and labels to a training batch: crop, flip, RandAugment, normalisation, erasing, mixup or cutmix, soft labels.

    `mean` and `std` are of images in [0, 1]. ValueError at birth for a policy, an interpolation or a mode of erasing that is not known.
    """

    augmentation: Augmentation
    _: KW_ONLY
    image_size: int
    num_classes: int
    label_smoothing: float
    mean: Channels
    std: Channels

    def __post_init__(self) -> None:
        rand_augment.parse_policy(self.augmentation.rand_augment)
        check_interpolation(self.augmentation.interpolation)
        if self.augmentation.erasing_mode != "pixel":
            raise ValueError(f"unknown erasing_mode {self.augmentation.erasing_mode!r}; known: pixel")
        if self.image_size < 1 or self.num_classes < 1:
            raise ValueError(f"image_size and num_classes must be at least 1, got {self.image_size} and {self.num_classes}")

    def __call__(self, images_uint8: Tensor, labels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """A batch float32 (N, 3, S, S) and targets float32 (N, num_classes) of images uint8 (N, 1 or 3, H, W) and labels (N).

        All chance comes from `generator`, one of the CPU: the same state gives the same batch to the bit on the same kind of device.
        """
        if generator.device.type != "cpu":
            raise ValueError(f"generator must be one of the CPU, so that no draw waits for a device, got one of {generator.device}")
        size = (self.image_size, self.image_size)
        images = self._drawn_crops(_colour(images_uint8), generator)
        drawn = rand_augment.draw(rand_augment.parse_policy(self.augmentation.rand_augment), len(images), generator)
        # What an image has been moved away from is grey as the mean, so 0 after normalisation.
        fill = torch.tensor([min(255, round(255 * value)) for value in self.mean], dtype=torch.uint8).to(images.device, non_blocking=True)
        images = rand_augment.apply(images, drawn, fill=fill, interpolation=self.augmentation.interpolation)
        batch = erase(_normalised(images, self.mean, self.std), self.augmentation, generator)
        mix = draw_mix(self.augmentation, size, generator)
        return mix_images(batch, mix), mix_labels(labels, mix, num_classes=self.num_classes, smoothing=self.label_smoothing)

    def _drawn_crops(self, images: Tensor, generator: torch.Generator) -> Tensor:
        kind, count, source = self.augmentation, len(images), (images.shape[2], images.shape[3])
        boxes, found = draw_boxes(count, source, area=kind.crop_scale, ratio=kind.crop_ratio, generator=generator)
        boxes = boxes.where(found[:, None], central_box(source, kind.crop_ratio))
        mirrored = torch.rand(count, generator=generator) < kind.flip_probability
        return resize(images, boxes, (self.image_size, self.image_size), interpolation=kind.interpolation, mirrored=mirrored)


def evaluation_batch(
    images_uint8: Tensor, image_size: int, *, interpolation: str, mean: Channels, std: Channels, crop_ratio: float = 1.0
) -> Tensor:
    """The middle of images uint8 (N, 1 or 3, H, W) as float32 (N, 3, image_size, image_size), without any chance.

    The shorter side is resized to image_size / crop_ratio, then a square of `image_size` is cut out of the middle.
    """
    if image_size < 1 or not 0 < crop_ratio <= 1:
        raise ValueError(f"image_size must be at least 1 and crop_ratio lie in (0, 1], got {image_size=}, {crop_ratio=}")
    images = _colour(images_uint8)
    height, width = images.shape[2:]
    short = math.floor(image_size / crop_ratio)
    size = (short * height // min(height, width), short * width // min(height, width))
    boxes = torch.tensor([[0, 0, width, height]]).expand(len(images), 4)
    resized = resize(images, boxes, size, interpolation=interpolation)
    top, left = (round((side - image_size) / 2) for side in size)
    return _normalised(resized[:, :, top : top + image_size, left : left + image_size], mean, std)


def _colour(images: Tensor) -> Tensor:
    """Images with three channels; ValueError for what is not a batch of images."""
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] not in (1, 3):
        raise ValueError(f"images must be uint8 (N, 1 or 3, H, W), got {images.dtype} {tuple(images.shape)}")
    return images.expand(-1, 3, -1, -1)


def _normalised(images: Tensor, mean: Channels, std: Channels) -> Tensor:
    middle, spread = torch.tensor([mean, std])[..., None, None].to(images.device, non_blocking=True)
    return (images.float() / 255 - middle) / spread
