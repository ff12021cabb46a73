"""DCNv3 by softmax and `F.grid_sample`, the route that PyTorch offers without a kernel of its own, in several spellings."""

from collections.abc import Callable
from functools import lru_cache, partial

import torch
from torch import Tensor
from torch.nn import functional as F

SIDE = 3  # of the kernel; stride 1, same padding
POINTS = SIDE**2
RELEASED = "released"
Spelling = Callable[[Tensor, Tensor, Tensor, int], Tensor]


def released(value: Tensor, offset: Tensor, logits: Tensor, groups: int) -> Tensor:
    """(N, H, W, C) with pixels as rows and points as columns of the sampling grid, as InternImage's own PyTorch route has them."""
    height, width = value.shape[1:3]
    steps, scale = _lattice(height, width)
    pairs = offset.flatten(1, 2).unflatten(-1, (groups, POINTS, 2)).transpose(1, 2)
    grid = torch.addcmul(steps.permute(2, 1, 0), pairs, scale).flatten(0, 1)
    weights = logits.unflatten(-1, (groups, POINTS)).softmax(-1).flatten(1, 2).transpose(1, 2).flatten(0, 1)
    samples = F.grid_sample(_planes(value, groups), grid, align_corners=False)
    return _pixels_last((samples * weights[:, None]).sum(-1), value)


def by_planes(value: Tensor, offset: Tensor, logits: Tensor, groups: int, *, channels_last: bool = False) -> Tensor:
    """(N, H, W, C) with a row of the grid for each point: x and y apart, softmax and sum across rows, long runs of pixels everywhere."""
    samples = F.grid_sample(_planes(value, groups, channels_last), _grid(value, offset, groups), align_corners=False)
    return _pixels_last((samples * _weights(logits, groups)[:, None]).sum(2), value)


def by_points(value: Tensor, offset: Tensor, logits: Tensor, groups: int, *, points: int, channels_last: bool = True) -> Tensor:
    """`by_planes`, some points at a time: on large maps the samples of all points would leave the caches."""
    planes, grid, weights = _planes(value, groups, channels_last), _grid(value, offset, groups), _weights(logits, groups)
    parts = (
        (F.grid_sample(planes, grid[:, k : k + points], align_corners=False) * weights[:, None, k : k + points]).sum(2)
        for k in range(0, POINTS, points)
    )
    total = next(parts)
    for part in parts:
        total = total + part
    return _pixels_last(total, value)


# Tried without gain: einsum or matmul over the points (slower but for 1x1 maps, where equal), one image at a time (equal at 56x56,
# several times slower on small maps), softmax before the permutation (up to twice slower forward).
SPELLINGS: dict[str, Spelling] = {
    RELEASED: released,
    "planes": by_planes,
    "channels last": partial(by_planes, channels_last=True),
    "three points": partial(by_points, points=3),
    "one point": partial(by_points, points=1),
}


def _planes(value: Tensor, groups: int, channels_last: bool = False) -> Tensor:
    """(N·G, C', H, W), kept in memory as it is written or with channels last."""
    grouped = value.unflatten(-1, (groups, -1))
    if channels_last:
        return grouped.permute(0, 3, 1, 2, 4).flatten(0, 1).permute(0, 3, 1, 2)
    return grouped.permute(0, 3, 4, 1, 2).flatten(0, 1)


def _grid(value: Tensor, offset: Tensor, groups: int) -> Tensor:
    """(N·G, K, H·W, 2) in [-1, 1], x and y each contiguous."""
    steps, scale = _lattice(*value.shape[1:3])
    pairs = offset.flatten(1, 2).unflatten(-1, (groups, POINTS, 2)).permute(0, 2, 4, 3, 1).contiguous()
    return torch.addcmul(steps, pairs, scale[:, None, None]).flatten(0, 1).permute(0, 2, 3, 1)


def _weights(logits: Tensor, groups: int) -> Tensor:
    """(N·G, K, H·W)"""
    return logits.flatten(1, 2).unflatten(-1, (groups, POINTS)).permute(0, 2, 3, 1).flatten(0, 1).softmax(1)


def _pixels_last(sums: Tensor, value: Tensor) -> Tensor:
    """(N, H, W, C) from (N·G, C', H·W)."""
    return sums.unflatten(0, (value.shape[0], -1)).permute(0, 3, 1, 2).reshape(value.shape)


@lru_cache
def _lattice(height: int, width: int) -> tuple[Tensor, Tensor]:
    """Points before their offsets, (2, K, H·W) in [-1, 1], and the size of one pixel there; made once, as a careful user would."""
    order = torch.arange(POINTS)
    x = torch.arange(width) + (order // SIDE - 1)[:, None, None]
    y = torch.arange(height)[:, None] + (order % SIDE - 1)[:, None, None]
    scale = torch.tensor((2 / width, 2 / height))
    steps = torch.stack(torch.broadcast_tensors(x, y)).flatten(2)
    return (steps + 0.5) * scale[:, None, None] - 1, scale
