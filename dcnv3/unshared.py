"""The DCNv3 core without its last sum: every sampling point by itself, for layers whose points have weights of their own."""

import torch
from torch import Tensor

from dcnv3.ops import dcnv3


def sampled_points(
    value: Tensor,
    offset: Tensor,
    mask: Tensor,
    *,
    kernel_size: int,
    groups: int,
    offset_scale: float = 1.0,
    remove_center: bool = False,
    softmax: bool = True,
) -> Tensor:
    """(N, H, W, K·C), the K modulated samples side by side; arguments as `dcnv3`'s at stride 1, and their sum over K is its result."""
    grid = [(i, j) for i in range(kernel_size) for j in range(kernel_size)]
    if remove_center:
        del grid[len(grid) // 2]
    points, reach = len(grid), kernel_size // 2
    dtype = torch.promote_types(offset.dtype, torch.float32)  # a whole pixel more must not cost the offset its fraction
    offsets = offset.to(dtype).unflatten(-1, (groups, points, 2))
    offsets = offsets + (offsets.new_tensor(grid) - reach)
    weights = mask.unflatten(-1, (groups, points))
    weights = weights.softmax(-1) if softmax else weights
    samples = (
        dcnv3(value, place.flatten(-2), weight, kernel_size=1, groups=groups, offset_scale=offset_scale, softmax=False)
        for place, weight in zip(offsets.unbind(-2), weights.unbind(-1), strict=True)
    )
    return torch.cat(tuple(samples), dim=-1)
