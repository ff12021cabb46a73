"""The DCNv3 core in plain PyTorch and pixel coordinates: the specification that a faster kernel is compared with."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor
from torch.nn import functional as F

from dcnv3.geometry import Geometry, Pair

# Planes of up to this many pixels (border of one included) per channel of a group are mixed by a matrix product, larger ones by gathers.
# Time of matrix over gathers, forward and backward, 4 channels a group: 0.6 at 4x4, 0.8 at 8x8, 1.5 at 10x10; 16 channels: 0.5 at 14x14.
MATRIX_CELLS_PER_CHANNEL = 25


def dcnv3_reference(
    value: Tensor,
    offset: Tensor,
    mask: Tensor,
    *,
    kernel_size: Pair,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
    offset_scale: float,
    remove_center: bool,
) -> Tensor:
    """(N, Ho, Wo, C) in `value`'s dtype from value (N, H, W, C), offset (N, Ho, Wo, G·K·2) and normalised mask (N, Ho, Wo, G·K).

    InternImage paper (arXiv 2211.05778), equation 2. `value` is taken to be finite; an offset may be anything: a point that it takes
    off the plane, NaN and infinity included, adds nothing and has zero gradient. At whole pixels the right-hand derivative is used.
    """
    geometry = Geometry(
        kernel_size=kernel_size,
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
        offset_scale=offset_scale,
        remove_center=remove_center,
    )
    dtype = torch.promote_types(value.dtype, torch.float32)
    x, y = sampling_locations(offset, geometry)
    height, width = value.shape[1:3]
    cells, weights = _neighbours(x, y, mask.unflatten(-1, (groups, -1)).to(dtype), (height, width))
    planes = F.pad(value.to(dtype), (0, 0, 1, 1, 1, 1)).flatten(1, 2).unflatten(-1, (groups, -1))
    small = planes.shape[1] <= MATRIX_CELLS_PER_CHANNEL * planes.shape[-1]
    mix = _mix_by_matrix if small else _mix_by_gather
    return mix(planes, cells, weights).to(value.dtype)


def sampling_locations(offset: Tensor, geometry: Geometry) -> tuple[Tensor, Tensor]:
    """x and y of every sampling point in input pixels, each (N, Ho, Wo, G, K), float64 for float64 offsets and float32 otherwise.

    Point q = i · kernel height + j, with i along x. The offset scale multiplies the fixed grid as well as the offset.
    """
    # Never narrower than float32: bfloat16 resolves a quarter of a pixel at x = 40.
    pairs = offset.to(torch.promote_types(offset.dtype, torch.float32)).unflatten(-1, (geometry.groups, geometry.points, 2))
    height, width = offset.shape[1:3]
    x_grid, y_grid = _grid(geometry, 1, width, pairs), _grid(geometry, 0, height, pairs)
    scale = geometry.offset_scale
    x = torch.add(x_grid[:, None, :], pairs[..., 0], alpha=scale)
    return x, torch.add(y_grid[:, None, None, :], pairs[..., 1], alpha=scale)


def _grid(geometry: Geometry, axis: int, outputs: int, like: Tensor) -> Tensor:
    """Coordinates (outputs, K) along one axis (0: y, 1: x) of the points before their offsets."""
    kernel_height, kernel_width = geometry.kernel_size
    order = torch.arange(kernel_height * kernel_width, device=like.device)
    if geometry.remove_center:
        middle = len(order) // 2
        order = torch.cat((order[:middle], order[middle + 1 :]))
    steps = order // kernel_height if axis else order % kernel_height
    center = geometry.dilation[axis] * (geometry.kernel_size[axis] - 1) // 2
    origin = torch.arange(outputs, device=like.device) * geometry.stride[axis] + (center - geometry.padding[axis])
    reach = steps * geometry.dilation[axis] - center
    return origin.to(like.dtype)[:, None] + reach.to(like.dtype) * geometry.offset_scale


def _neighbours(x: Tensor, y: Tensor, mask: Tensor, size: Pair) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
    """The four pixels around every point, as cells of the plane with a border of zeros, and what each of them weighs."""
    (left, right_share), (top, lower_share) = _split(x, size[1]), _split(y, size[0])
    lower = mask * lower_share.to(mask.dtype)
    upper = mask - lower
    right_share = right_share.to(mask.dtype)
    lower_right, upper_right = lower * right_share, upper * right_share
    row = size[1] + 2
    first = torch.add(left, top, alpha=row)
    cells = tuple(first + shift for shift in (row + 1, row + 2, 2 * row + 1, 2 * row + 2))
    return cells, (upper - upper_right, upper_right, lower - lower_right, lower_right)


def _split(location: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """The last pixel at or before `location`, from -1 to size - 1, and the share of the pixel after it."""
    # hardtanh is a clamp whose gradient is zero on its bounds too, as it must be: there the point has left the plane.
    location = F.hardtanh(location.nan_to_num(nan=-1.0), -1.0, float(size))
    before = location.detach().floor().clamp(max=size - 1)
    return before.long(), location - before


def _mix_by_matrix(planes: Tensor, cells: Sequence[Tensor], weights: Sequence[Tensor]) -> Tensor:
    """Sums through a matrix (output pixels, cells) for each image and group: quickest while that matrix is small."""
    n, height, width, groups, _ = cells[0].shape
    matrix = planes.new_zeros(n, height, width, groups, planes.shape[1])
    for cell, weight in zip(cells, weights, strict=True):
        matrix.scatter_add_(-1, cell, weight)
    with without_autocast(planes.device.type):
        mixed = torch.matmul(matrix.flatten(1, 2).transpose(1, 2), planes.transpose(1, 2))
    return mixed.transpose(1, 2).reshape(n, height, width, groups * planes.shape[-1])


def without_autocast(device_type: str) -> AbstractContextManager[object]:
    """Products keep their operands' precision in here; the meta device knows no autocast."""
    return torch.autocast(device_type, enabled=False) if torch.amp.is_autocast_available(device_type) else nullcontext()


def _mix_by_gather(planes: Tensor, cells: Sequence[Tensor], weights: Sequence[Tensor]) -> Tensor:
    """Sums over the points as gathered: memory stays linear in the pixels."""
    n, height, width, groups, points = cells[0].shape
    channels = planes.shape[-1]
    flat = planes.permute(0, 2, 3, 1).contiguous()
    mixed = planes.new_zeros(())
    for cell, weight in zip(cells, weights, strict=True):
        picked = flat.gather(-1, _planar(cell).expand(-1, -1, channels, -1))
        mixed = torch.addcmul(mixed, picked, _planar(weight))
    summed = mixed.unflatten(-1, (points, height * width)).sum(-2)
    return summed.permute(0, 3, 1, 2).reshape(n, height, width, groups * channels)


def _planar(points: Tensor) -> Tensor:
    """(N, Ho, Wo, G, K) as (N, G, 1, K·Ho·Wo)."""
    return points.permute(0, 3, 4, 1, 2).flatten(2).unsqueeze(2)
