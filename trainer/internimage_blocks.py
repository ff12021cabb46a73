"""What an InternImage is stacked from: stem, blocks, stages and downsampling, all channels-last (N, H, W, C) inside."""

from collections.abc import Callable, Sequence
from functools import reduce
from operator import mul

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from dcnv3.layer import ChannelsLast, DCNv3
from searchspace.model_config import STAGES, ModelConfig
from trainer.stochastic_depth import StochasticDepth

NORM_EPS = 1e-6


class ChannelsFirst(nn.Module):
    """A change of view between two layers."""

    def forward(self, x_nhwc: Tensor) -> Tensor:
        """(N, H, W, C) seen as (N, C, H, W), without a copy."""
        return x_nhwc.permute(0, 3, 1, 2)


def layer_norm(channels: int) -> nn.Sequential:
    """A LayerNorm over the last axis, nested as the published weights name it (`norm.0`)."""
    return nn.Sequential(nn.LayerNorm(channels, eps=NORM_EPS))


class Stem(nn.Module):
    """Two strided convolutions from images to the trunk."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, channels // 2, 3, stride=2, padding=1)
        self.norm1 = nn.Sequential(ChannelsLast(), nn.LayerNorm(channels // 2, eps=NORM_EPS), ChannelsFirst())
        self.act = nn.GELU()
        self.conv2 = nn.Conv2d(channels // 2, channels, 3, stride=2, padding=1)
        self.norm2 = nn.Sequential(ChannelsLast(), nn.LayerNorm(channels, eps=NORM_EPS))

    def forward(self, images: Tensor) -> Tensor:
        """(N, H/4, W/4, C1) from images (N, 3, H, W)."""
        # Three channels are cheap to reorder here; from now on every layer finds its input channels-last.
        x = self.conv1(images.contiguous(memory_format=torch.channels_last))
        return self.norm2(self.conv2(self.act(self.norm1(x))))


class Downsample(nn.Module):
    """Half the size and twice the channels by one strided convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 2 * channels, 3, stride=2, padding=1, bias=False)
        self.norm = nn.Sequential(ChannelsLast(), nn.LayerNorm(2 * channels, eps=NORM_EPS))

    def forward(self, x: Tensor) -> Tensor:
        """(N, H/2, W/2, 2C) from (N, H, W, C), odd sizes rounded up."""
        return self.norm(self.conv(x.permute(0, 3, 1, 2)))


class Mlp(nn.Module):
    """Two linear layers around a GELU, pixel by pixel."""

    def __init__(self, channels: int, ratio: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, ratio * channels)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(ratio * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(N, H, W, C) from (N, H, W, C)."""
        return self.fc2(self.act(self.fc1(x)))


class Block(nn.Module):
    """DCNv3 and MLP as residual branches, normalised before, after or on both sides as the configuration says."""

    def __init__(self, config: ModelConfig, stage: int, drop_path_rate: float) -> None:
        super().__init__()
        channels = config.widths[stage]
        self.post_norm = config.post_norm
        self.norm1 = layer_norm(channels)
        self.dcn = DCNv3(
            channels,
            config.groups[stage],
            kernel_size=config.kernel_size,
            dw_kernel_size=config.dw_kernel_size,
            offset_scale=config.offset_scale,
            center_feature_scale=config.center_feature_scale,
            remove_center=config.remove_center,
            mask_activation=config.mask_activation,
            unshared_weights=config.unshared_weights,
        )
        self.drop_path = StochasticDepth(drop_path_rate)
        self.norm2 = layer_norm(channels)
        self.mlp = Mlp(channels, config.mlp_ratio)
        self.gamma1, self.gamma2 = (_layer_scale(config.layer_scale, channels) for _ in range(2))
        self.res_post_norm1, self.res_post_norm2 = (layer_norm(channels) if config.res_post_norm else nn.Identity() for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        """(N, H, W, C) from (N, H, W, C)."""
        x = self._add(x, self._branch(x, self.dcn, self.norm1, self.res_post_norm1), self.gamma1)
        return self._add(x, self._branch(x, self.mlp, self.norm2, self.res_post_norm2), self.gamma2)

    def _branch(self, x: Tensor, body: nn.Module, norm: nn.Module, after: nn.Module) -> Tensor:
        return after(norm(body(x)) if self.post_norm else body(norm(x)))

    def _add(self, x: Tensor, branch: Tensor, gamma: Tensor | None) -> Tensor:
        """The residual sum, in one pass over the branch however many factors it has."""
        kept = self.drop_path.scale(x)
        scales = [scale for scale in (gamma, kept) if scale is not None]
        return torch.addcmul(x, branch, reduce(mul, scales)) if scales else x + branch


class Stage(nn.Module):
    """The blocks of one width and the way to the next; with `checkpointed`, training keeps only each block's input and runs it twice."""

    def __init__(self, config: ModelConfig, stage: int, drop_path_rates: Sequence[float], *, checkpointed: bool = False) -> None:
        super().__init__()
        channels = config.widths[stage]
        self.checkpointed = checkpointed
        self.blocks = nn.ModuleList(Block(config, stage, rate) for rate in drop_path_rates)
        self.norm = layer_norm(channels) if config.stage_norm else nn.Identity()
        self.post_norm_block_ids = config.level2_post_norm_block_ids if stage == 2 else ()
        self.post_norms = nn.ModuleList(layer_norm(channels) for _ in self.post_norm_block_ids)
        self.downsample = Downsample(channels) if stage < STAGES - 1 else nn.Identity()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The feature map (N, H, W, C) and the next stage's input (N, H/2, W/2, 2C); the last stage gives its map twice."""
        post_norms: dict[int, Callable[[Tensor], Tensor]] = dict(zip(self.post_norm_block_ids, self.post_norms, strict=True))
        for index, block in enumerate(self.blocks):
            x = self._run(block, x)
            if index in post_norms:
                x = post_norms[index](x)
        features = self.norm(x)
        return features, self.downsample(features)

    def _run(self, block: nn.Module, x: Tensor) -> Tensor:
        if self.checkpointed and self.training and torch.is_grad_enabled():
            return checkpoint(block, x, use_reentrant=False)
        return block(x)


def _layer_scale(value: float | None, channels: int) -> nn.Parameter | None:
    return None if value is None else nn.Parameter(torch.full((channels,), float(value)))
