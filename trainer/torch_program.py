"""A network as a PyTorch program that runs where this package is not installed."""

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dcnv3.reference import sampling_locations
from trainer.programs import Place, check_agreement, evaluating, traced
from trainer.whole_file import replacing

BOUND = 1e-4
SUFFIX = ".pt2"


def save_torch_program(model: nn.Module, path: Path, *, image_size: int) -> Path:
    """Write `model` in evaluation mode for `torch.export.load`: PyTorch's own operators only, any batch size, images of `image_size`².

    The file has been loaded again and compared before it appears at `path`; ValueError for logits that are further than 1e-4 of the
    largest from the network's, for a path that does not end in .pt2, and for parameters that are not float32 on the CPU.
    """
    if path.suffix != SUFFIX:
        raise ValueError(f"a PyTorch program's name must end in {SUFFIX}, got {path}")
    with evaluating(model):
        program = traced(model, image_size, Sampling)
        with replacing(path) as file:
            torch.export.save(program, file)
            check_agreement(model, torch.export.load(file).module(), image_size, bound=BOUND)
    return path


class Sampling(nn.Module):
    """The operator in few calls of PyTorch: every output pixel of a group is a weighted sum of table rows, four rows a point."""

    grid: Tensor
    lowest: Tensor
    highest: Tensor
    steps: Tensor
    first_rows: Tensor

    def __init__(self, place: Place) -> None:
        super().__init__()
        self.place, self.points = place, (place.geometry.groups, place.geometry.points)
        groups, (height, width) = place.geometry.groups, place.input_size
        resting = torch.zeros(1, *place.output_size, 2 * groups * place.geometry.points)
        grid = torch.stack(sampling_locations(resting, place.geometry), -1)[..., :1, :, :]
        # Rows of the table are (y, x, group); a border of zeros, one pixel before and two after, receives what lies off the plane.
        self.table_size = (height + 3) * (width + 3) * groups
        steps = torch.tensor([groups, (width + 3) * groups])
        corners = torch.tensor([[x, y] for y in (1, 2) for x in (1, 2)])
        self.register_buffer("grid", grid.clone(), persistent=False)
        self.register_buffer("lowest", torch.tensor([-1.0, -1.0]), persistent=False)
        self.register_buffer("highest", torch.tensor([float(width), float(height)]), persistent=False)
        self.register_buffer("steps", steps, persistent=False)
        self.register_buffer("first_rows", torch.arange(groups)[:, None, None] + corners @ steps, persistent=False)

    def forward(self, value: Tensor, offset: Tensor, mask: Tensor) -> Tensor:
        """(N, Ho, Wo, C) from value (N, H, W, C), offset (N, Ho, Wo, G·K·2) and mask (N, Ho, Wo, G·K)."""
        place = self.place
        mask = mask.unflatten(-1, self.points)
        mask = mask.softmax(-1) if place.softmax else mask
        location = torch.add(self.grid, offset.unflatten(-1, (*self.points, 2)), alpha=place.geometry.offset_scale)
        location = location.nan_to_num(-1.0).clamp(self.lowest, self.highest)
        pixel = location.floor()
        table = F.pad(value, (0, 0, 1, 2, 1, 2)).reshape(-1, place.channels // place.geometry.groups)
        sums = F.embedding_bag(
            self._rows(pixel), table, mode="sum", per_sample_weights=_weights(location - pixel, mask).reshape(-1, 4 * self.points[1])
        )
        return sums.reshape(-1, *place.output_size, place.channels)

    def _rows(self, pixel: Tensor) -> Tensor:
        """The table rows (N·Ho·Wo·G, 4·K) around points whose upper left neighbour is `pixel` (N, Ho, Wo, G, K, 2), as x, y."""
        image = torch.arange(pixel.shape[0], device=pixel.device) * self.table_size
        rows = (pixel.long() * self.steps).sum(-1, keepdim=True) + self.first_rows
        return (rows + image[:, None, None, None, None, None]).reshape(-1, 4 * self.points[1])


def _weights(share: Tensor, mask: Tensor) -> Tensor:
    """(N, Ho, Wo, G, K, 2, 2), rows before columns, from the shares (…, K, 2) of the neighbours to the right and below, and the mask."""
    right, below = torch.stack((1 - share, share), -1).unbind(-2)
    return mask[..., None, None] * below[..., None] * right[..., None, :]
