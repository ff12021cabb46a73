"""The parts of a study file as people write them: records by their keys, domains and sizes as text, each error naming its key."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import MISSING, fields
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, TypeVar

from searchspace.quantity import parse_fraction, parse_integers
from searchspace.sizes import Limit, Target

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Domain = tuple[Any, ...]
Record = TypeVar("Record", bound="DataclassInstance")
RANGES = ("channels", "group_channels", "l1", "l3", "kernel_size")  # the domains of whole numbers


@contextmanager
def naming(key: str) -> Iterator[None]:
    """Put a key before what is said to be wrong with its value."""
    try:
        yield
    except (ValueError, TypeError) as error:
        raise ValueError(f"{key}: {error}") from None


def check_keys(values: Mapping[Any, Any], known: Collection[str]) -> None:
    """ValueError for the first unknown key, with the known ones and the one that it was perhaps meant to be."""
    for key in values:
        if key not in known:
            near = get_close_matches(str(key), known, n=1)
            hint = f" (did you mean {near[0]}?)" if near else ""
            raise ValueError(f"unknown key {key!r}{hint}; known: {', '.join(known)}")


def from_mapping(kind: type[Record], values: Any) -> Record:
    """The record that a mapping of its fields writes; ValueError for anything else, and for keys that are unknown or missing."""
    names = [field.name for field in fields(kind)]
    if not isinstance(values, Mapping):
        raise ValueError(f"write a mapping of {', '.join(names)}; got {values!r}")
    check_keys(values, names)
    needed = [field.name for field in fields(kind) if field.default is MISSING and field.default_factory is MISSING]
    if missing := [name for name in needed if name not in values]:
        raise ValueError(f"the key {missing[0]} is missing, got {', '.join(values) or 'none'}")
    return kind(**values)


def with_fraction(values: Any, key: str) -> Any:
    """A mapping with the fraction in (0, 1] that may stand under a key as text, such as `50%`, read; all else as it is."""
    if not isinstance(values, Mapping) or not isinstance(values.get(key), str):
        return values
    with naming(key):
        return {**values, key: parse_fraction(values[key], whole=True)}


def read_domains(value: Any) -> dict[str, Domain]:
    """The domains of a mapping; ValueError names the one that cannot be read."""
    if not isinstance(value, Mapping):
        raise ValueError(f"domains must map names to lists or ranges, got {value!r}")
    domains = {}
    for name, values in value.items():
        with naming(f"domains.{name}"):
            domains[name] = read_domain(name, values)
    return domains


def read_target(value: Any) -> Target | None:
    """The target that `30M` or `flops=5G` writes, or `Target.to_dict` has written."""
    with naming("target"):
        if value is None or isinstance(value, Target):
            return value
        if isinstance(value, str):
            return Target.parse(value)
        if isinstance(value, Mapping):
            return from_mapping(Target, value)
        raise ValueError(f"write a text such as 30M or flops=5G, or a mapping of value, metric and tolerance; got {value!r}")


def read_limits(values: Any) -> tuple[Limit, ...]:
    """The limits that a list of texts such as `flops<=5G` writes, or of what `Limit.to_dict` has written."""
    with naming("limits"):
        if not isinstance(values, Sequence) or isinstance(values, str):
            raise ValueError(f'write a list such as ["flops<=5G"], got {values!r}')
        return tuple(map(_limit, values))


def _limit(value: Any) -> Limit:
    if isinstance(value, Limit):
        return value
    if isinstance(value, Mapping):
        return from_mapping(Limit, value)
    if isinstance(value, str):
        return Limit.parse(value)
    raise ValueError(f"write a text such as flops<=5G, or a mapping of metric and value; got {value!r}")


def read_domain(name: str, values: Any) -> Domain:
    """The values of one domain: a list, or the range that a text writes for whole numbers."""
    if isinstance(values, str) and name in RANGES:
        return parse_integers(values)
    if isinstance(values, Iterable) and not isinstance(values, str | Mapping):
        return tuple(values)
    # A range needs its quotes: YAML takes an unquoted 1:8 for a number in base 60.
    ranges = ' such as [48, 64, 80] or a range in quotes such as "16:160:16"' if name in RANGES else ""
    raise ValueError(f"write a list{ranges}, got {values!r}")
