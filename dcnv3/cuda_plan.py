"""Which CUDA kernels serve a call, what they are compiled for and on what grid they run: arithmetic only, the same for tests and device."""

from dataclasses import dataclass
from functools import cached_property, lru_cache

from dcnv3.geometry import Geometry, Pair

WORD_BYTES = 16  # the widest load or store of one thread
THREADS = 128  # of a block where blocks do not depend on each other
PLANE_THREADS = 512
# Blocks that a multiprocessor has registers for: 80 a thread at six of THREADS, 96 at five, 64 at two of PLANE_THREADS; none spills.
RESIDENT = {"forward": 6, "backward_parameters": 5, "backward_sums": 6, "backward_fixed": 6, "backward_plane": 2, "backward_tile": 2}
RESIDENT_DOUBLE = 4
UNROLLED_KERNEL = (3, 3)
INDEX_LIMIT = 2**31  # threads that are counted in 32 bits; more of them need slower divisions in 64
BLOCK_RESERVE = 1024  # shared memory that the system keeps for itself in every block
SCRATCH_BYTES = 48 * 1024  # shared memory that every device gives without being asked, and several blocks of it
LARGEST_PLANE = 2**30  # pixels within a plane are counted in 32 bits, elements of a tensor in 64
VECTOR_SUMS_SINCE = (9, 0)  # compute capability with 16-byte additions to global memory


@dataclass(frozen=True, slots=True)
class Element:
    """A type of tensor elements: its name in the kernels and its bytes."""

    name: str
    size: int

    @property
    def sum_size(self) -> int:
        """Bytes of the type that sums are kept in."""
        return max(self.size, 4)


FLOAT, DOUBLE = Element("float", 4), Element("double", 8)
BFLOAT16, FLOAT16 = Element("dcnv3::bfloat16", 2), Element("dcnv3::float16", 2)


@dataclass(frozen=True, slots=True)
class Device:
    """What the choice of kernels depends on: (major, minor), bytes of shared memory a block may ask for, multiprocessors."""

    capability: tuple[int, int]
    shared_optin: int
    multiprocessors: int


@dataclass(frozen=True)
class Problem:
    """The sizes of one call. `value` and `parameter` are the element types of value and of offset and mask."""

    geometry: Geometry
    images: int
    size: Pair
    channels: int
    value: Element
    parameter: Element

    def __post_init__(self) -> None:
        for name, (height, width) in (("input", self.size), ("output", self.outputs)):
            if height * width > LARGEST_PLANE:
                raise ValueError(f"an {name} plane may have {LARGEST_PLANE} pixels on a CUDA device, got {height} x {width}")

    @cached_property
    def outputs(self) -> Pair:
        """(Ho, Wo)."""
        return self.geometry.output_size(self.size)

    @cached_property
    def pixel_groups(self) -> int:
        """N·Ho·Wo·G."""
        return self.images * self.outputs[0] * self.outputs[1] * self.geometry.groups

    @property
    def group_channels(self) -> int:
        """C'."""
        return self.channels // self.geometry.groups


@dataclass(frozen=True, slots=True)
class Instance:
    """A kernel as it is compiled: its name, its C++ `Setup`, and the threads and blocks a multiprocessor must have registers for."""

    kernel: str
    setup: str
    threads: int
    blocks: int


@dataclass(frozen=True, slots=True)
class Launch:
    """One launch: blocks in a row, threads a block, bytes of dynamic shared memory."""

    instance: Instance
    blocks: int
    threads: int
    shared: int


@dataclass(frozen=True, slots=True)
class Lanes:
    """How `tile` channels of a group are shared out: `vector` a thread, `count` threads side by side."""

    tile: int
    vector: int
    count: int


@lru_cache(maxsize=1024)
def plan_forward(problem: Problem) -> Launch:
    """The one launch of a forward pass."""
    return _everywhere("forward", problem, WORD_BYTES // problem.value.size)


@lru_cache(maxsize=1024)
def plan_backward(problem: Problem, device: Device, *, deterministic: bool = False, strategy: str | None = None) -> tuple[Launch, ...]:
    """The launches of a backward pass; `strategy` ("fixed", "planes", "sums") overrides the choice for measurements."""
    chosen = strategy or choose_strategy(problem, device, deterministic=deterministic)
    if chosen != "planes":
        # 16 bytes of what a thread adds, not of what it reads: then the lanes of a pixel fill whole sectors of the gradient.
        return (_everywhere(f"backward_{chosen}", problem, WORD_BYTES // problem.value.sum_size),)
    tile = fitting_tile(problem, device)
    if not tile:
        raise ValueError(f"no plane of {problem.size} pixels fits {device.shared_optin} bytes of shared memory")
    if tile == problem.group_channels:
        return (_in_planes("backward_plane", problem, tile),)
    parameters = _everywhere("backward_parameters", problem, WORD_BYTES // problem.value.size)
    return _in_planes("backward_tile", problem, tile), parameters


def choose_strategy(problem: Problem, device: Device, *, deterministic: bool = False) -> str:
    """Where the input gradient is summed: "fixed" (integers in global memory), "planes" (shared memory) or "sums" (global memory).

    Planes need no zero-fill, no cast and no global additions, but a block for every plane: too few would leave the device idle.
    """
    if deterministic:
        return "fixed"
    tile = fitting_tile(problem, device)
    if not tile or problem.value.size == 8:
        return "sums"
    blocks = problem.images * problem.channels // tile
    whole = tile == problem.group_channels
    # A tile less than whole reads offsets and logits again for every tile: worth it only against additions of 4 bytes at a time.
    return "planes" if device.multiprocessors <= blocks < INDEX_LIMIT and (whole or device.capability < VECTOR_SUMS_SINCE) else "sums"


def fitting_tile(problem: Problem, device: Device) -> int:
    """The most channels of a group whose planes leave room for a second block on the multiprocessor; 0 if not even one does."""
    divisors = (tile for tile in range(problem.group_channels, 0, -1) if problem.group_channels % tile == 0)
    return next((tile for tile in divisors if 2 * plane_bytes(problem, tile) + BLOCK_RESERVE <= device.shared_optin), 0)


def plane_bytes(problem: Problem, tile: int) -> int:
    """Shared memory of a block that sums `tile` channels of one image."""
    stride = (problem.size[0] * problem.size[1] + 1) // 4 * 4 + 2
    whole = tile == problem.group_channels
    lanes = _plane_lanes(problem, tile)
    scratch = _scratch(problem, lanes, _plane_threads(problem, lanes)) if whole else 0
    return tile * stride * problem.value.sum_size + scratch


def share_out(tile: int, vector: int) -> Lanes:
    """`tile` channels in the widest equal vectors up to `vector`, over a power of two of lanes within a warp."""
    while tile % vector:
        vector //= 2
    return Lanes(tile, vector, min(32, 1 << (tile // vector - 1).bit_length()))


def _everywhere(kernel: str, problem: Problem, vector: int) -> Launch:
    lanes = share_out(problem.group_channels, vector)
    wanted = problem.pixel_groups * lanes.count
    index = "unsigned" if wanted < INDEX_LIMIT else "unsigned long long"
    unrolled = problem.geometry.kernel_size == UNROLLED_KERNEL and not problem.geometry.remove_center
    threads, shared = (THREADS, 0) if unrolled or kernel == "forward" else _with_scratch(problem, lanes)
    resident = RESIDENT_DOUBLE if problem.value.size == 8 else RESIDENT[kernel]
    instance = Instance(kernel, _setup(problem, lanes, UNROLLED_KERNEL if unrolled else (0, 0), index), THREADS, resident)
    return Launch(instance, -(-wanted // threads), threads, shared)


def _in_planes(kernel: str, problem: Problem, tile: int) -> Launch:
    lanes = _plane_lanes(problem, tile)
    # Unrolled, 36 loops of compare-and-swap a channel took 105 registers, rolled 57: two blocks to a multiprocessor instead of one.
    instance = Instance(kernel, _setup(problem, lanes, (0, 0), "unsigned"), PLANE_THREADS, RESIDENT[kernel])
    return Launch(instance, problem.images * problem.channels // tile, _plane_threads(problem, lanes), plane_bytes(problem, tile))


def _plane_lanes(problem: Problem, tile: int) -> Lanes:
    return share_out(tile, WORD_BYTES // problem.value.size)


def _plane_threads(problem: Problem, lanes: Lanes) -> int:
    threads = min(PLANE_THREADS, -(-problem.outputs[0] * problem.outputs[1] * lanes.count // 32) * 32)
    while threads > 32 and _scratch(problem, lanes, threads) > SCRATCH_BYTES:
        threads = threads // 64 * 32
    return threads


def _setup(problem: Problem, lanes: Lanes, kernel: Pair, index: str) -> str:
    numbers = (problem.group_channels, lanes.tile, lanes.vector, lanes.count, *kernel)
    return f"Setup<{problem.value.name}, {problem.parameter.name}, {', '.join(map(str, numbers))}, {index}>"


def _scratch(problem: Problem, lanes: Lanes, threads: int) -> int:
    """Bytes for the mask's slopes of every pixel-group of a block."""
    return threads // lanes.count * problem.geometry.points * problem.value.sum_size


def _with_scratch(problem: Problem, lanes: Lanes) -> tuple[int, int]:
    """The most threads a block whose scratch is small enough, and its bytes; the largest kernel in float64 leaves 64."""
    threads = next(threads for threads in (THREADS, THREADS // 2, 32) if _scratch(problem, lanes, threads) <= SCRATCH_BYTES)
    return threads, _scratch(problem, lanes, threads)
