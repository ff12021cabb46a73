"""The parts of a space as a study file writes them: domains as lists or ranges, sizes as text, each error naming its key."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from searchspace.quantity import parse_integers
from searchspace.sizes import Limit, Target

Domain = tuple[Any, ...]
RANGES = ("channels", "group_channels", "l1", "l3", "kernel_size")  # the domains of whole numbers


@contextmanager
def naming(key: str) -> Iterator[None]:
    """Put a key before what is said to be wrong with its value."""
    try:
        yield
    except (ValueError, TypeError) as error:
        raise ValueError(f"{key}: {error}") from None


def read_domains(value: Any) -> dict[str, Domain]:
    """The domains of a mapping; ValueError names the one that cannot be read."""
    if not isinstance(value, Mapping):
        raise ValueError(f"domains must map names to lists or ranges, got {value!r}")
    domains = {}
    for name, values in value.items():
        with naming(f"domains.{name}"):
            domains[name] = _domain(name, values)
    return domains


def read_target(value: Any) -> Target | None:
    """The target that `30M` or `flops=5G` writes, or `Target.to_dict` has written."""
    with naming("target"):
        if value is None or isinstance(value, Target):
            return value
        if isinstance(value, str):
            return Target.parse(value)
        if isinstance(value, Mapping):
            return Target(**value)
        raise ValueError(f"write a text such as 30M or flops=5G, or a mapping of value, metric and tolerance; got {value!r}")


def read_limits(values: Any) -> tuple[Limit, ...]:
    """The limits that a list of texts such as `flops<=5G` writes, or of what `Limit.to_dict` has written."""
    with naming("limits"):
        if not isinstance(values, Sequence) or isinstance(values, str):
            raise ValueError(f'write a list such as ["flops<=5G"], got {values!r}')
        return tuple(map(_limit, values))


def _limit(value: Any) -> Limit:
    if isinstance(value, Mapping):
        return Limit(**value)
    if isinstance(value, str):
        return Limit.parse(value)
    raise ValueError(f"write a text such as flops<=5G, or a mapping of metric and value; got {value!r}")


def _domain(name: str, values: Any) -> Domain:
    if isinstance(values, str) and name in RANGES:
        return parse_integers(values)
    if isinstance(values, Sequence) and not isinstance(values, str):
        return tuple(values)
    # A range needs its quotes: YAML takes an unquoted 1:8 for a number in base 60.
    ranges = ' such as [48, 64, 80] or a range in quotes such as "16:160:16"' if name in RANGES else ""
    raise ValueError(f"write a list{ranges}, got {values!r}")
