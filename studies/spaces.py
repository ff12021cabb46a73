"""The search space that a stored study was made with."""

from collections.abc import Mapping
from typing import Any

from searchspace.space import SearchSpace
from searchspace.spaces import space_from_dict


def space_of(config: Mapping[str, Any]) -> SearchSpace | None:
    """The space of a study's configuration; None where there is none that this program can read."""
    try:
        return space_from_dict(config["space"])
    except (KeyError, TypeError, ValueError):
        return None
