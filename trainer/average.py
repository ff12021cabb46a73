"""An exponential moving average of a network's weights, which is evaluated in the network's place."""

from copy import deepcopy
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

_Network = TypeVar("_Network", bound=nn.Module)


class Average(Generic[_Network]):
    """The average of a network, as a network of its own; it starts at the network's present weights."""

    def __init__(self, model: _Network, decay: float) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"decay must lie in [0, 1), got decay={decay}")
        self.decay = decay
        self.model = deepcopy(model).requires_grad_(False).eval()
        self._parameters = [p.detach() for p in model.parameters()]
        self._averaged: list[Tensor] = list(self.model.parameters())
        self._buffers, self._copied = list(model.buffers()), list(self.model.buffers())

    @torch.no_grad()
    def update(self) -> None:
        """Move towards the network by 1 - decay; its buffers are averages already, and counts, and are copied."""
        torch._foreach_lerp_(self._averaged, self._parameters, 1 - self.decay)
        if self._buffers:
            torch._foreach_copy_(self._copied, self._buffers)
