"""BatchNorm whose statistics are those of the global batch of several processes, on CPU as on CUDA."""

from typing import Any, Self

import torch
import torch.distributed as dist
from torch import Tensor, nn


class GlobalBatchNorm2d(nn.BatchNorm2d):
    """BatchNorm2d over the images of all processes, whose shares may differ in size; in evaluation there is no difference."""

    num_batches_tracked: Tensor
    running_mean: Tensor
    running_var: Tensor
    momentum: float

    @classmethod
    def of(cls, norm: nn.BatchNorm2d) -> Self:
        """The same layer, its parameters and statistics copied, on the same device."""
        own = cls(norm.num_features, norm.eps, norm.momentum).to(norm.weight.device)
        own.load_state_dict(norm.state_dict())
        return own

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) from (N, C, H, W)."""
        if not self.training:
            return super().forward(x)
        images = x.float()
        count = _summed(images.new_full((1,), images[:, 0].numel()))
        mean = _summed(images.sum((0, 2, 3))) / count
        centred = images - mean[:, None, None]
        variance = _summed(centred.square().sum((0, 2, 3))) / count
        self._track(mean.detach(), variance.detach(), count)
        scale = torch.rsqrt(variance + self.eps) * self.weight
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(x.dtype)

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor, count: Tensor) -> None:
        self.num_batches_tracked.add_(1)
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance * count / (count - 1), self.momentum)


def over_processes(model: nn.Module) -> None:
    """Put a `GlobalBatchNorm2d` in the place of every BatchNorm2d; the names in the state dict stay."""
    for name, child in model.named_children():
        if type(child) is nn.BatchNorm2d:
            setattr(model, name, GlobalBatchNorm2d.of(child))
        else:
            over_processes(child)


class _Summed(torch.autograd.Function):
    """The sum over processes; what each makes of the sum counts, so gradients are summed in turn."""

    @staticmethod
    def forward(ctx: Any, part: Tensor) -> Tensor:
        whole = part.clone()
        dist.all_reduce(whole)
        return whole

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        whole = grad.contiguous().clone()
        dist.all_reduce(whole)
        return whole


def _summed(part: Tensor) -> Tensor:
    whole: Tensor = _Summed.apply(part)  # type: ignore[no-untyped-call]
    return whole
