"""Stacks whose stage 3 is still open, as arrays: which of them a network can be, and their sizes as functions of L3."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from searchspace.cost_arrays import Integers, TooLarge
from searchspace.depth_arrays import DepthArrays, depth_arrays
from searchspace.model_config import DEEPEST, LARGEST, LARGEST_KERNEL, ModelConfig
from searchspace.size_form import SizeForm, size_form, switches_of
from searchspace.styles import styled

if TYPE_CHECKING:
    from searchspace.space import SearchSpace

KERNEL = 3  # where a space does not choose it
KERNELS = range(1, LARGEST_KERNEL + 1, 2)


@dataclass(frozen=True, slots=True)
class Stacks:
    """(C1, C', L1) and a kernel of each, arrays (N,)."""

    channels: Integers
    group_channels: Integers
    l1: Integers
    kernel_size: Integers

    def __len__(self) -> int:
        return len(self.l1)

    def __getitem__(self, at: NDArray[np.bool_]) -> "Stacks":
        return Stacks(self.channels[at], self.group_channels[at], self.l1[at], self.kernel_size[at])

    @property
    def legal(self) -> NDArray[np.bool_]:
        """Whether a network can have these widths and depths, (N,)."""
        widths = (self.channels % self.group_channels == 0) & (self.channels % 2 == 0) & (self.channels <= LARGEST["channels"])
        legal: NDArray[np.bool_] = widths & (self.l1 <= DEEPEST)
        return legal

    def by_depth(self, metric: str, space: "SearchSpace") -> DepthArrays:
        """A size by L3 under a space's style and settings; ValueError names a stack too large to be counted."""
        kernels = [size for size in KERNELS if (self.kernel_size == size).any()]  # np.unique would import the whole of numpy.ma
        if len(kernels) == 1:
            return self._counted(metric, _form(metric, space, kernels[0]))
        rest, block, norm = np.zeros((3, len(self)), np.int64)
        every = 1
        for kernel in kernels:
            at = self.kernel_size == kernel
            part = self[at]._counted(metric, _form(metric, space, kernel))
            rest[at], block[at], norm[at], every = part.rest, part.block, part.norm, part.every
        return DepthArrays(rest, block, norm, every)

    def _counted(self, metric: str, form: SizeForm) -> DepthArrays:
        variables: Mapping[str, Integers] = {"half": self.channels // 2, "g1": self.channels // self.group_channels, "l1": self.l1}
        try:
            return depth_arrays(form, variables)
        except TooLarge as error:
            stack = f"C1={self.channels[error.index]}, C'={self.group_channels[error.index]}, L1={self.l1[error.index]}"
            raise ValueError(f"{metric} must stay below 2^61 to be counted in arrays, got more for {stack}; narrow the domains") from None


def stack_variant(channels: int, group_channels: int, l1: int, l3: int, *, style: str, kernel_size: int = KERNEL) -> ModelConfig:
    """The architecture of a choice; rule 4 (L1 ≤ L3) is not asked for, so that one that breaks it can be shown with its cost."""
    config = styled(channels=channels, group_channels=group_channels, depths=(l1, l1, l3, l1), style=style)
    return config if kernel_size == KERNEL else replace(config, kernel_size=kernel_size)


def _form(metric: str, space: "SearchSpace", kernel: int) -> SizeForm:
    style = space.style if kernel == KERNEL else switches_of(space.style, kernel)
    return size_form(metric, style, space.image_size, space.num_classes, space.batch_size)
