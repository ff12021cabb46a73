"""Where a network looks: the points that its DCNv3 layers sample, and which input pixels reach one pixel of a stage's map."""

import math
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from dcnv3.geometry import Geometry
from dcnv3.layer import DCNv3
from dcnv3.reference import sampling_locations
from searchspace.model_config import STAGES
from trainer.internimage import InternImage
from trainer.internimage_blocks import Block, Stage

# Every strided convolution is 3×3 with a padding of one, so its output pixel o is centred on its input pixel 2·o, and pixel p of a stage's
# map on pixel p·stride of the image: no half pixels, in x as in y.
STRIDES = tuple(4 * 2**stage for stage in range(STAGES))
DRAWS = 8
Place = tuple[int, int]  # x, y


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sampling:
    """What one DCNv3 layer samples: `x` and `y` in pixels of its stage's map and `modulation`, each (N, H, W, G, K).

    Stage and block count from 0. Point q of a 3×3 kernel starts in column q // 3 and row q % 3; the modulation is what its value is
    multiplied with, after the softmax or sigmoid.
    """

    stage: int
    block: int
    x: Tensor
    y: Tensor
    modulation: Tensor

    @property
    def stride(self) -> int:
        """Input pixels from one pixel of the map to the next."""
        return STRIDES[self.stage]

    def in_input_pixels(self) -> tuple[Tensor, Tensor]:
        """x and y of the points as places in the image, whose pixels are centred on whole numbers."""
        return self.x * self.stride, self.y * self.stride

    def distances(self) -> Tensor:
        """From each output pixel to its points in input pixels, (N, H, W, G, K)."""
        height, width = self.x.shape[1:3]
        across = self.x - torch.arange(width, device=self.x.device)[:, None, None]
        down = self.y - torch.arange(height, device=self.y.device)[:, None, None, None]
        return torch.hypot(across, down) * self.stride


@torch.no_grad()
def sampling_points(model: InternImage, images: Tensor, *, stages: Collection[int] = range(STAGES)) -> list[Sampling]:
    """The points of every block of `stages` (0 to 3) for normalised images (N, 3, H, W), as the network samples them in evaluation.

    Only layers are listened to; the network is left as it was. Paper, equation 2: p0 + p_k + Δp_gk, and m_gk.
    """
    blocks = {stage: cast(Stage, model.levels[stage]).blocks for stage in sorted(stages)}
    layers = {(stage, index): cast(Block, block).dcn for stage in blocks for index, block in enumerate(blocks[stage])}
    with _evaluating(model), _listening(layers) as heard:
        model.forward_features(images)
    return [_sampling(place, layer, heard[place]) for place, layer in layers.items()]


def receptive_fields(model: InternImage, images: Tensor, *, at: Place | None = None, draws: int = DRAWS, seed: int = 0) -> Tensor:
    """The effective receptive field (4, H, W) of the pixel of each stage's map nearest to `at`, the image's middle by default.

    The absolute gradient of a sum of the pixel's channels with random signs, averaged over colours, images (N, 3, H, W) and `draws` of the
    signs. (Without signs there is nothing to see behind a LayerNorm: its channels always sum to the same.)
    """
    if draws < 1 or not len(images):
        raise ValueError(f"draws and the number of images must be at least 1, got draws={draws}, images={len(images)}")
    generator = torch.Generator().manual_seed(seed)
    fields = images.new_zeros(STAGES, *images.shape[2:])
    with _evaluating(model):
        for image in images.detach().split(1):
            image.requires_grad_()
            for stage, features in enumerate(model.forward_features(image)):
                column, row = map_pixel(at, stage, (images.shape[3], images.shape[2]))
                for _ in range(draws):
                    signs = torch.randint(0, 2, (features.shape[1],), generator=generator).to(features) * 2 - 1
                    (gradient,) = torch.autograd.grad(features[0, :, row, column] @ signs, image, retain_graph=True)
                    fields[stage] += gradient[0].abs().mean(0)
    return fields / (draws * len(images))


def map_pixel(at: Place | None, stage: int, size: Place) -> Place:
    """Column and row of the pixel of a stage's map nearest to the place `at` in an image of `size` (width, height); None is its middle.

    ValueError for a place outside the image.
    """
    if at is not None and not (0 <= at[0] < size[0] and 0 <= at[1] < size[1]):
        raise ValueError(f"at must lie in the image of {size[0]} × {size[1]} pixels, counted from 0, got {at[0]},{at[1]}")
    stride = STRIDES[stage]
    wanted = [(side - 1) / 2 for side in size] if at is None else at
    column, row = (min(math.floor(place / stride + 0.5), -(-side // stride) - 1) for place, side in zip(wanted, size, strict=True))
    return column, row


def mass_radius(field: Tensor, centre: Place, share: float) -> float:
    """The radius in pixels of the smallest circle around `centre` (x, y) that holds this share of a field (H, W); NaN of an empty one."""
    height, width = field.shape
    across, down = torch.arange(width) - centre[0], torch.arange(height) - centre[1]
    distances, order = torch.hypot(across.double(), down.double()[:, None]).flatten().sort()
    mass = field.double().cpu().flatten()[order].cumsum(0)
    if not mass[-1] > 0:
        return math.nan
    return float(distances[int((mass < share * mass[-1]).sum())])


def _sampling(place: tuple[int, int], layer: DCNv3, heard: Mapping[str, Tensor]) -> Sampling:
    stage, block = place
    kernel = (layer.kernel_size, layer.kernel_size)
    geometry = Geometry(
        kernel_size=kernel,
        stride=(1, 1),
        padding=(kernel[0] // 2, kernel[1] // 2),
        dilation=(1, 1),
        groups=layer.groups,
        offset_scale=layer.offset_scale,
        remove_center=layer.remove_center,
    )
    x, y = sampling_locations(heard["offset"], geometry)
    logits = heard["mask"] + heard.get("second_mask_proj", 0.0)
    by_point = logits.unflatten(-1, (layer.groups, layer.points))
    modulation = by_point.softmax(-1) if layer.mask_activation == "softmax" else by_point.sigmoid()
    return Sampling(stage=stage, block=block, x=x, y=y, modulation=modulation)


@contextmanager
def _listening(layers: Mapping[tuple[int, int], DCNv3]) -> Iterator[Mapping[tuple[int, int], Mapping[str, Tensor]]]:
    """What the projections of layers that decide where to sample said last, by their names."""
    heard: dict[tuple[int, int], dict[str, Tensor]] = {place: {} for place in layers}
    hooks = []

    def listen(place: tuple[int, int], name: str, projection: nn.Module) -> None:
        hooks.append(projection.register_forward_hook(lambda _layer, _inputs, output: heard[place].__setitem__(name, output)))

    try:
        for place, layer in layers.items():
            for name in ("offset", "mask", *(["second_mask_proj"] if layer.unshared_weights else [])):
                listen(place, name, getattr(layer, name))
        yield heard
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Without stochastic depth; each part's mode is put back."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
