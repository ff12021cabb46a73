"""What autograd keeps of each layer for the backward pass, layer by layer, every storage counted once.

Layers that multiply (convolutions, linears, attention) work at the precision's width: under autocast they keep a narrow copy of their
weights and of every wider input. LayerNorm, softmax and sums of scaled branches keep their inputs' widths or, where `wide_norms` says so,
widen them to float32.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

FLOAT32 = 4  # bytes


@dataclass(frozen=True, slots=True, eq=False)
class Stored:
    """One tensor in memory: its elements and the bytes of each. Two of them are never equal; a view is the tensor itself."""

    elements: int
    width: int

    @property
    def nbytes(self) -> int:
        """Its size."""
        return self.elements * self.width


@dataclass(frozen=True, slots=True)
class Precision:
    """Bytes of an element in products, and what autocast does beside.

    `wide_norms`: norms, softmax and scaled sums are computed in float32 whatever comes in. `padded_maps`: depthwise 3 x 3 convolutions keep
    maps of one or two rows with their padding.
    """

    width: int
    wide_norms: bool = False
    padded_maps: bool = False


@dataclass(slots=True)
class Tape:
    """The tensors that the layers run so far keep; each method is a layer, from its inputs to its output."""

    precision: Precision
    kept: set[Stored] = field(default_factory=set)
    recomputed_peak: int = 0

    @property
    def nbytes(self) -> int:
        """Bytes kept so far."""
        return sum(stored.nbytes for stored in self.kept)

    @property
    def peak(self) -> int:
        """The most that is kept at once, now or while a checkpointed layer runs again."""
        return max(self.nbytes, self.recomputed_peak)

    def keep(self, *tensors: Stored) -> None:
        """Keep tensors, each once."""
        self.kept.update(tensors)

    def checkpointed(self, layer: "Layer", x: Stored) -> Stored:
        """Of `layer` only the input is kept; when it runs again, what it keeps comes on top of what was kept before it."""
        self.keep(x)
        again = Tape(self.precision, {x})
        y = layer(again, x)
        self.recomputed_peak = max(self.recomputed_peak, self.nbytes + again.nbytes - x.nbytes)
        return y

    def product(self, x: Stored, weights: int, elements: int) -> Stored:
        """A convolution or a linear with so many weights, writing so many elements."""
        self.keep(self.narrow(x))
        if self.precision.width < FLOAT32:
            self.keep(Stored(weights, self.precision.width))
        return Stored(elements, self.precision.width)

    def norm(self, x: Stored, channels: int) -> Stored:
        """LayerNorm over the channels: its input, means and reciprocal deviations."""
        x = self.widened(x)
        statistics = Stored(2 * x.elements // channels, FLOAT32)
        self.keep(x, statistics)
        return replace(x)

    def pointwise(self, x: Stored) -> Stored:
        """A function of one argument whose derivative is computed from the argument (GELU)."""
        self.keep(x)
        return replace(x)

    def sigmoid(self, x: Stored) -> Stored:
        """A function whose derivative is computed from its result."""
        y = replace(x)
        self.keep(y)
        return y

    def softmax(self, x: Stored) -> Stored:
        """As sigmoid, in the width of norms."""
        return self.sigmoid(self.widened(x))

    def scaled_sum(self, x: Stored, branch: Stored, scale: int, samples: int) -> Stored:
        """`x` plus `branch` times float32 parameters, `scale` of them, times a factor for each of `samples`; 0 stands for neither."""
        self.keep(factors := Stored(samples, x.width))
        if not scale:
            return added(x, branch)
        self.keep(self.widened(branch), Stored(factors.elements * scale, FLOAT32))
        return Stored(x.elements, FLOAT32)

    def narrow(self, x: Stored) -> Stored:
        """`x` in the width of products, a copy where it is wider."""
        return x if x.width == self.precision.width else Stored(x.elements, self.precision.width)

    def widened(self, x: Stored) -> Stored:
        """`x` in the width of norms, a copy where it is narrower."""
        return Stored(x.elements, FLOAT32) if self.precision.wide_norms and x.width < FLOAT32 else x


def added(x: Stored, y: Stored) -> Stored:
    """A sum, of which nothing is kept, in the wider width."""
    return Stored(x.elements, max(x.width, y.width))


Layer = Callable[[Tape, Stored], Stored]
