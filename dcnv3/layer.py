"""The DCNv3 layer: a depthwise convolution looks around, two projections say where to sample and how much each sample counts."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dcnv3.geometry import LARGEST_KERNEL, check_scale
from dcnv3.ops import dcnv3
from dcnv3.unshared import sampled_points

NORM_EPS = 1e-6
MASK_ACTIVATIONS = ("softmax", "sigmoid")


class ChannelsLast(nn.Module):
    """A change of view between two layers."""

    def forward(self, x_nchw: Tensor) -> Tensor:
        """(N, C, H, W) seen as (N, H, W, C), without a copy."""
        return x_nchw.permute(0, 2, 3, 1)


class DepthwiseConv(nn.Conv2d):
    """A convolution of every channel by itself that keeps the size of the map."""

    def __init__(self, channels: int, kernel_size: int) -> None:
        super().__init__(channels, channels, kernel_size, padding=kernel_size // 2, groups=channels)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) from (N, C, H, W)."""
        if self._is_faster_padded(x):
            return F.conv2d(F.pad(x, (1, 1, 1, 1)), self.weight, self.bias, groups=self.groups)
        return super().forward(x)

    def _is_faster_padded(self, x: Tensor) -> bool:
        """Where oneDNN's weight gradient in bfloat16 takes several times as long unless the map comes padded: one or two rows, 3 x 3."""
        trains = x.device.type == "cpu" and torch.is_grad_enabled() and self.weight.requires_grad
        narrow = torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") is torch.bfloat16
        return trains and narrow and self.kernel_size == (3, 3) and x.shape[-2] < 3


class DCNv3(nn.Module):
    """Deformable sampling whose offsets and weights depend on the input; when new, a zero-padded mean filter between two projections.

    Parameters carry the names of the published InternImage weights. `mask_activation` "sigmoid" weighs each point by itself. With
    `unshared_weights` each of the K sampling points has an output projection of its own, the columns of `output_proj` (C, K·C) being
    blocks of C in the order of the points, and `second_mask_proj` adds to the mask what it sees in the layer's input.
    """

    def __init__(
        self,
        channels: int,
        groups: int,
        *,
        kernel_size: int = 3,
        dw_kernel_size: int = 3,
        offset_scale: float = 1.0,
        center_feature_scale: bool = False,
        remove_center: bool = False,
        mask_activation: str = "softmax",
        unshared_weights: bool = False,
    ) -> None:
        super().__init__()
        _check_sizes(channels=channels, groups=groups, kernel_size=kernel_size, dw_kernel_size=dw_kernel_size)
        if remove_center and kernel_size == 1:
            raise ValueError("remove_center needs an odd kernel of more than one point, got kernel_size=1, remove_center=True")
        if mask_activation not in MASK_ACTIVATIONS:
            raise ValueError(f"mask_activation must be one of {', '.join(MASK_ACTIVATIONS)}, got {mask_activation!r}")
        _check_switches(remove_center=remove_center, center_feature_scale=center_feature_scale, unshared_weights=unshared_weights)
        check_scale(offset_scale)
        self.channels, self.groups, self.kernel_size = channels, groups, kernel_size
        self.offset_scale, self.center_feature_scale, self.remove_center = offset_scale, center_feature_scale, remove_center
        self.mask_activation, self.unshared_weights = mask_activation, unshared_weights
        self.points = points = kernel_size**2 - remove_center
        self.dw_conv = nn.Sequential(
            DepthwiseConv(channels, dw_kernel_size),
            nn.Sequential(ChannelsLast(), nn.LayerNorm(channels, eps=NORM_EPS)),
            nn.GELU(),
        )
        self.offset = nn.Linear(channels, groups * points * 2)
        self.mask = nn.Linear(channels, groups * points)
        self.input_proj = nn.Linear(channels, channels)
        self.output_proj = nn.Linear(channels * points if unshared_weights else channels, channels)
        if unshared_weights:
            self.second_mask_proj = nn.Linear(channels, groups * points, bias=False)
        if center_feature_scale:
            self.center_feature_scale_proj_weight = nn.Parameter(torch.empty(groups, channels))
            self.center_feature_scale_proj_bias = nn.Parameter(torch.empty(groups))
        self.become_mean_filter()

    def reset_parameters(self) -> None:
        """Draw all weights anew, those of the depthwise convolution as PyTorch does, and start as a mean filter."""
        for part in self.dw_conv.modules():
            if isinstance(part, nn.Conv2d | nn.LayerNorm):
                part.reset_parameters()
        self.become_mean_filter()

    def become_mean_filter(self) -> None:
        """No offsets, equal masks, Xavier-uniform projections, half of the center feature; the depthwise convolution stays as it is."""
        for linear in (self.offset, self.mask):
            nn.init.zeros_(linear.weight)
            nn.init.zeros_(linear.bias)
        for linear in (self.input_proj, self.output_proj):
            for matrix in linear.weight.split(self.channels, dim=1):  # one, or one for every sampling point
                nn.init.xavier_uniform_(matrix)
            nn.init.zeros_(linear.bias)
        if self.unshared_weights:
            nn.init.zeros_(self.second_mask_proj.weight)
        if self.center_feature_scale:
            nn.init.zeros_(self.center_feature_scale_proj_weight)
            nn.init.zeros_(self.center_feature_scale_proj_bias)

    def forward(self, x: Tensor) -> Tensor:
        """(N, H, W, C) from (N, H, W, C)."""
        value = self.input_proj(x)
        query = self.dw_conv(x.permute(0, 3, 1, 2))  # from here (N, H, W, C) again
        sampled = self._sample(value, self.offset(query), self._mask(query, x))
        if self.center_feature_scale:
            sampled = self._blend_center(sampled, value, query)
        return self.output_proj(sampled)

    def _sample(self, value: Tensor, offset: Tensor, mask: Tensor) -> Tensor:
        """The core: (N, H, W, C), or with unshared weights the points side by side, (N, H, W, K·C)."""
        sample = sampled_points if self.unshared_weights else dcnv3
        return sample(
            value,
            offset,
            mask,
            kernel_size=self.kernel_size,
            groups=self.groups,
            offset_scale=self.offset_scale,
            remove_center=self.remove_center,
            softmax=self.mask_activation == "softmax",
        )

    def _mask(self, query: Tensor, x: Tensor) -> Tensor:
        """Logits for the core's softmax, or finished weights: (N, H, W, G·K)."""
        logits = self.mask(query)
        if self.unshared_weights:
            logits = logits + self.second_mask_proj(x)
        return logits.sigmoid() if self.mask_activation == "sigmoid" else logits

    def _blend_center(self, sampled: Tensor, value: Tensor, query: Tensor) -> Tensor:
        share = F.linear(query, self.center_feature_scale_proj_weight, self.center_feature_scale_proj_bias).sigmoid()
        grouped: tuple[int, ...] = (self.groups, self.channels // self.groups)
        if self.unshared_weights:  # the points are summed by the output projection: each gets its part of the centre
            grouped, share = (self.points, *grouped), share.unsqueeze(-2)
            value = (value / self.points).unsqueeze(-2)
        value = value.unflatten(-1, grouped[-2:])
        return torch.lerp(sampled.unflatten(-1, grouped), value, share.unsqueeze(-1)).flatten(3)


def _check_switches(**switches: bool) -> None:
    for name, switch in switches.items():
        if type(switch) is not bool:
            raise ValueError(f"{name} must be True or False, got {name}={switch!r}")


def _check_sizes(**sizes: int) -> None:
    for name, size in sizes.items():
        if type(size) is not int:
            raise ValueError(f"{name} must be a whole number, got {name}={size!r}")
    channels, groups, kernel_size, dw_kernel_size = sizes.values()
    if groups < 1 or channels < 1 or channels % groups:
        raise ValueError(f"groups must divide channels, got channels={channels}, groups={groups}")
    for name, size in (("kernel_size", kernel_size), ("dw_kernel_size", dw_kernel_size)):
        if size < 1 or size % 2 == 0:
            raise ValueError(f"{name} must be odd, got {name}={size}")
    if kernel_size > LARGEST_KERNEL:
        raise ValueError(f"kernel_size must be at most {LARGEST_KERNEL}, got kernel_size={kernel_size}")
