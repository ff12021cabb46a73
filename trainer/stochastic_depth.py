"""Stochastic depth: residual branches that are skipped at random while training (Huang et al. 2016)."""

from torch import Tensor, nn


class StochasticDepth(nn.Module):
    """Drops the branch of whole samples with probability `rate` while training; the identity in evaluation."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        check_drop_path_rate(rate)
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """`x` (N, ...), its surviving samples scaled by 1 / (1 - rate) so that the mean is kept."""
        scale = self.scale(x)
        return x if scale is None else x * scale

    def scale(self, x: Tensor) -> Tensor | None:
        """What each sample of a branch is multiplied by, (N, 1, ...) for a branch like `x`; None where nothing is dropped."""
        if not self.training or self.rate == 0.0:
            return None
        keep = 1.0 - self.rate
        return x.new_empty((x.shape[0],) + (1,) * (x.dim() - 1)).bernoulli_(keep).div_(keep)

    def extra_repr(self) -> str:
        """The rate, for `print(model)`."""
        return f"rate={self.rate:g}"


def check_drop_path_rate(rate: float) -> None:
    """ValueError unless 0 <= rate < 1."""
    if not 0.0 <= rate < 1.0:
        raise ValueError(f"drop_path_rate must be at least 0 and below 1, got drop_path_rate={rate}")


def linear_rates(rate: float, blocks: int) -> list[float]:
    """One rate per block, linear from 0 at the first to `rate` at the last."""
    check_drop_path_rate(rate)
    return [rate * block / max(blocks - 1, 1) for block in range(blocks)]
