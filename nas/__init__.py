"""Neural-architecture scaling search: `nas.search(StudyConfig())` and what surrounds it, loaded when first used."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.3.0"

if TYPE_CHECKING:
    from nas.api import Study, open_study, search
    from nas.config import StudyConfig
    from nas.errors import MissingExtra, NasError
    from nas.network import build
    from searchspace.formats import load_variant
    from searchspace.spaces import scaling_space, stacking_space
    from trainer.proxy_config import ProxyConfig

_HOMES = {
    "MissingExtra": "nas.errors",
    "NasError": "nas.errors",
    "ProxyConfig": "trainer.proxy_config",
    "Study": "nas.api",
    "StudyConfig": "nas.config",
    "build": "nas.network",
    "load_variant": "searchspace.formats",
    "open_study": "nas.api",
    "scaling_space": "searchspace.spaces",
    "search": "nas.api",
    "stacking_space": "searchspace.spaces",
}

__all__ = [
    "MissingExtra",
    "NasError",
    "ProxyConfig",
    "Study",
    "StudyConfig",
    "__version__",
    "build",
    "load_variant",
    "open_study",
    "scaling_space",
    "search",
    "stacking_space",
]


def __getattr__(name: str) -> Any:
    """Optuna, SQLAlchemy and Pydantic are loaded when a name that needs them is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module 'nas' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
