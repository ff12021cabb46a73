"""Where DCNv3 samples before it deforms: kernel, stride, padding, dilation and groups as one record."""

import sys
from dataclasses import dataclass

Pair = tuple[int, int]  # (height, width)
LARGEST_KERNEL = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Geometry:
    """The lattice of a DCNv3 core, validated at birth; pairs are (height, width)."""

    kernel_size: Pair
    stride: Pair
    padding: Pair
    dilation: Pair
    groups: int
    offset_scale: float
    remove_center: bool

    def __post_init__(self) -> None:
        for name, least in (("kernel_size", 1), ("stride", 1), ("padding", 0), ("dilation", 1)):
            _check_pair(name, getattr(self, name), least)
        if max(self.kernel_size) > LARGEST_KERNEL:
            raise ValueError(f"kernel_size must be at most {LARGEST_KERNEL} in both directions, got kernel_size={self.kernel_size}")
        if type(self.groups) is not int or self.groups < 1:
            raise ValueError(f"groups must be whole and at least 1, got groups={self.groups!r}")
        # Two comparisons rather than math.isfinite, which a tracing compiler cannot follow when the scale is symbolic.
        number = isinstance(self.offset_scale, int | float) and not isinstance(self.offset_scale, bool)
        if not (number and -sys.float_info.max <= self.offset_scale <= sys.float_info.max):
            raise ValueError(f"offset_scale must be a finite number, got offset_scale={self.offset_scale!r}")
        if type(self.remove_center) is not bool:
            raise ValueError(f"remove_center must be True or False, got remove_center={self.remove_center!r}")
        self._check_center()

    @property
    def points(self) -> int:
        """K, the sampling points of one group."""
        return self.kernel_size[0] * self.kernel_size[1] - self.remove_center

    def output_size(self, size: Pair) -> Pair:
        """(Ho, Wo) for an input of `size`; ValueError when either would be below one."""
        height, width = (self._outputs(axis, size[axis]) for axis in (0, 1))
        if min(height, width) < 1:
            raise ValueError(
                f"output size must be at least one, got {(height, width)} for input size {size}, kernel_size={self.kernel_size}, "
                f"stride={self.stride}, padding={self.padding}, dilation={self.dilation}"
            )
        return height, width

    def _outputs(self, axis: int, size: int) -> int:
        span = self.dilation[axis] * (self.kernel_size[axis] - 1) + 1
        return (size + 2 * self.padding[axis] - span) // self.stride[axis] + 1

    def _check_center(self) -> None:
        height, width = self.kernel_size
        if self.remove_center and (height * width % 2 == 0 or height * width == 1):
            raise ValueError(
                f"remove_center needs an odd kernel of more than one point, got kernel_size={self.kernel_size}, remove_center=True"
            )


def pair(name: str, value: int | Pair) -> Pair:
    """`value` as (height, width); ValueError unless it is a whole number or two of them."""
    if type(value) is int:
        return value, value
    if isinstance(value, tuple | list) and len(value) == 2 and all(type(number) is int for number in value):
        return value[0], value[1]
    raise ValueError(f"{name} must be a whole number or a (height, width) pair, got {name}={value!r}")


def _check_pair(name: str, value: Pair, least: int) -> None:
    if len(value) != 2 or any(type(number) is not int or number < least for number in value):
        raise ValueError(f"{name} must be whole and at least {least} in both directions, got {name}={value!r}")
