"""What tells two choices of a space apart."""

from collections.abc import Mapping

from searchspace.space import Value

Key = tuple[tuple[str, Value], ...]


def params_key(params: Mapping[str, Value]) -> Key:
    """A choice as something that can be looked up."""
    return tuple(sorted(params.items()))
