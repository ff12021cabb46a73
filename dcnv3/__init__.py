"""The DCNv3 operator and its layer, useful alone; nothing is imported before it is asked for."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dcnv3.backends import Backend, backend
    from dcnv3.layer import DCNv3
    from dcnv3.ops import dcnv3
    from dcnv3.reference import dcnv3_reference

__all__ = ["Backend", "DCNv3", "backend", "dcnv3", "dcnv3_reference"]

_HOMES = {
    "Backend": "dcnv3.backends",
    "DCNv3": "dcnv3.layer",
    "backend": "dcnv3.backends",
    "dcnv3": "dcnv3.ops",
    "dcnv3_reference": "dcnv3.reference",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
