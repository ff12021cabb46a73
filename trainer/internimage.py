"""The InternImage network of a `ModelConfig`, with the parameter names of the published weights."""

from collections.abc import Collection
from itertools import accumulate

from torch import Tensor, nn

from dcnv3.layer import DCNv3
from searchspace.model_config import STAGES, ModelConfig
from trainer.internimage_blocks import Stage, Stem, layer_norm
from trainer.internimage_head import POOL_OUTPUT, POOL_WIDTH, AttentionPool, conv_head, fused_tokens, upsampling_head
from trainer.stochastic_depth import linear_rates


class InternImage(nn.Module):
    """A classifier and backbone in one; stochastic depth grows linearly from 0 to `drop_path_rate` at the last block.

    Training keeps only the inputs of the blocks of `checkpointed_stages` (0 to 3) and computes the rest again in the backward pass.
    """

    def __init__(
        self, config: ModelConfig, *, num_classes: int = 1000, drop_path_rate: float = 0.0, checkpointed_stages: Collection[int] = ()
    ) -> None:
        super().__init__()
        if type(num_classes) is not int or num_classes < 1:
            raise ValueError(f"num_classes must be whole and at least 1, got num_classes={num_classes!r}")
        if unknown := sorted(set(checkpointed_stages) - set(range(STAGES))):
            raise ValueError(f"checkpointed_stages holds stages from 0 to {STAGES - 1}, got {unknown}")
        self.config = config
        rates = linear_rates(drop_path_rate, sum(config.depths))
        ends = list(accumulate(config.depths))
        self.patch_embed = Stem(config.channels)
        self.levels = nn.ModuleList(
            Stage(config, stage, rates[end - depth : end], checkpointed=stage in checkpointed_stages)
            for stage, (end, depth) in enumerate(zip(ends, config.depths, strict=True))
        )
        features = self._add_pooling(config)
        self.head = nn.Linear(features, num_classes)
        self.apply(_reset)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, num_classes) from images (N, 3, H, W)."""
        maps = self.forward_features(images)
        pooled = self._attention_pooled(maps) if self.config.clip_projector else self.conv_head(maps[-1]).mean((2, 3))
        return self.head(pooled)

    def forward_features(self, images: Tensor) -> list[Tensor]:
        """The four stage maps as NCHW views: widths C1 to 8·C1 at 1/4 to 1/32 of the image side, rounded up."""
        x = self.patch_embed(images)
        maps = []
        for level in self.levels:
            features, x = level(x)
            maps.append(features.permute(0, 3, 1, 2))
        return maps

    def _add_pooling(self, config: ModelConfig) -> int:
        """Register what turns the maps into one vector and return its length; the published weights name these parts at the top level."""
        if not config.clip_projector:
            self.conv_head = conv_head(config.widths[3])
            return config.widths[3] * 3 // 2
        self.dcnv3_head_x4 = upsampling_head(config.widths[3])
        self.dcnv3_head_x3 = nn.Conv2d(config.widths[2], POOL_WIDTH, 1)
        self.clip_projector = AttentionPool()
        self.fc_norm = layer_norm(POOL_OUTPUT)
        return POOL_OUTPUT

    def _attention_pooled(self, maps: list[Tensor]) -> Tensor:
        tokens = fused_tokens(self.dcnv3_head_x3(maps[2]), self.dcnv3_head_x4(maps[3]))
        return self.fc_norm(self.clip_projector(tokens))


def _reset(module: nn.Module) -> None:
    """Initial weights of one module; `apply` reaches a DCNv3 after its own linear layers, so its start as a mean filter stands."""
    if isinstance(module, DCNv3):
        module.become_mean_filter()
    elif isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
