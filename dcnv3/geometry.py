"""Where DCNv3 samples before it deforms: kernel, stride, padding, dilation and groups as one record."""

from dataclasses import dataclass

Pair = tuple[int, int]  # (height, width)
LARGEST_KERNEL = 7
LARGEST_NUMBER = 2**24  # float32 coordinates skip pixels beyond, and CUDA's are counted in 32 bits
LARGEST_SCALE = (2 - 2**-23) * 2.0**127  # of float32


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
        _check_pair("kernel_size", self.kernel_size, 1, LARGEST_KERNEL)
        for name, least in (("stride", 1), ("dilation", 1), ("padding", 0)):
            _check_pair(name, getattr(self, name), least, LARGEST_NUMBER)
        if type(self.groups) is not int or self.groups < 1:
            raise ValueError(f"groups must be whole and at least 1, got groups={self.groups!r}")
        check_scale(self.offset_scale)
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


def check_scale(offset_scale: float) -> None:
    """ValueError unless it is a number that float32 holds."""
    # Two comparisons rather than math.isfinite, which a tracing compiler cannot follow when the scale is symbolic.
    number = isinstance(offset_scale, int | float) and not isinstance(offset_scale, bool)
    if not (number and -LARGEST_SCALE <= offset_scale <= LARGEST_SCALE):
        raise ValueError(f"offset_scale must be a finite number, got offset_scale={offset_scale!r}; float32 ends at 3.4e38")


def pair(name: str, value: int | Pair) -> Pair:
    """`value` as (height, width); ValueError unless it is a whole number or two of them."""
    if type(value) is int:
        return value, value
    if isinstance(value, tuple | list) and len(value) == 2 and all(type(number) is int for number in value):
        return value[0], value[1]
    raise ValueError(f"{name} must be a whole number or a (height, width) pair, got {name}={value!r}")


def _check_pair(name: str, value: Pair, least: int, most: int) -> None:
    if len(value) != 2 or any(type(number) is not int or number < least for number in value):
        raise ValueError(f"{name} must be whole and at least {least} in both directions, got {name}={value!r}")
    if max(value) > most:
        raise ValueError(f"{name} must be at most {most} in both directions, got {name}={value!r}")
