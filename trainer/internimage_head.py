"""From the last feature maps to one vector per image: a convolution and an average, or the attention pool of the largest variants."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainer.internimage_blocks import layer_norm

POOL_WIDTH = 1024
POOL_HEADS = 16
POOL_OUTPUT = 768


def conv_head(channels: int) -> nn.Sequential:
    """(N, C, H, W) to (N, 3C/2, H, W), to be averaged over the pixels."""
    width = channels * 3 // 2
    return nn.Sequential(nn.Conv2d(channels, width, 1, bias=False), nn.Sequential(nn.BatchNorm2d(width)), nn.GELU())


def upsampling_head(channels: int) -> nn.Sequential:
    """(N, C, H, W) to (N, 1024, 2H, 2W)."""
    return nn.Sequential(nn.Conv2d(channels, 4 * POOL_WIDTH, 1), nn.PixelShuffle(2))


def fused_tokens(stage3: Tensor, stage4: Tensor) -> Tensor:
    """Tokens (N, H·W, C) of the sum of two NCHW maps; ValueError unless the upsampled stage-4 map is as large as stage 3's."""
    if stage3.shape[2:] != stage4.shape[2:]:
        raise ValueError(
            "this head needs a stage-3 map of exactly twice stage 4's size, "
            f"got {tuple(stage3.shape[2:])} and {tuple(size // 2 for size in stage4.shape[2:])}; use image sides that are multiples of 32"
        )
    return (stage3 + stage4).flatten(2).transpose(1, 2)


class BiasedAttention(nn.Module):
    """Multi-head attention whose biases are parameters of their own."""

    def __init__(self, width: int, heads: int, output: int) -> None:
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(width, width, bias=False)
        self.k = nn.Linear(width, width, bias=False)
        self.v = nn.Linear(width, width, bias=False)
        self.q_bias = nn.Parameter(torch.zeros(width))
        self.k_bias = nn.Parameter(torch.zeros(width))
        self.v_bias = nn.Parameter(torch.zeros(width))
        self.proj = nn.Linear(width, output)

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """(N, Q, output) from queries (N, Q, C) and keys and values (N, T, C)."""
        q = self._heads(F.linear(query, self.q.weight, self.q_bias))
        k = self._heads(F.linear(key, self.k.weight, self.k_bias))
        v = self._heads(F.linear(value, self.v.weight, self.v_bias))
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))

    def _heads(self, tokens: Tensor) -> Tensor:
        return tokens.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class AttentionPool(nn.Module):
    """One vector per image: the mean token asks all tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1_q = layer_norm(POOL_WIDTH)
        self.norm1_k = layer_norm(POOL_WIDTH)
        self.norm1_v = layer_norm(POOL_WIDTH)
        self.cross_dcn = BiasedAttention(POOL_WIDTH, POOL_HEADS, POOL_OUTPUT)

    def forward(self, tokens: Tensor) -> Tensor:
        """(N, 768) from tokens (N, T, 1024)."""
        query = tokens.mean(1, keepdim=True)
        return self.cross_dcn(self.norm1_q(query), self.norm1_k(tokens), self.norm1_v(tokens)).squeeze(1)
