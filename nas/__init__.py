"""Neural-architecture scaling search: `nas.search(StudyConfig())` and what surrounds it, loaded when first used."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from studies.version import VERSION

__version__ = VERSION

if TYPE_CHECKING:
    from nas.api import Study, open_study, search
    from nas.budget import Budget
    from nas.config import StudyConfig
    from nas.errors import MissingExtra, NasError
    from nas.fidelity import Certificate, certificate
    from nas.measured_exponents import latency_exponents
    from nas.network import build
    from nas.training import full_proxy, train
    from searchspace.formats import load_variant
    from searchspace.spaces import scaling_space, stacking_space
    from studies.constraints import Constraint
    from studies.halving import Halving
    from trainer.proxy_config import ProxyConfig

_HOMES = {
    "Budget": "nas.budget",
    "Certificate": "nas.fidelity",
    "Constraint": "studies.constraints",
    "Halving": "studies.halving",
    "MissingExtra": "nas.errors",
    "NasError": "nas.errors",
    "ProxyConfig": "trainer.proxy_config",
    "Study": "nas.api",
    "StudyConfig": "nas.config",
    "build": "nas.network",
    "certificate": "nas.fidelity",
    "full_proxy": "nas.training",
    "latency_exponents": "nas.measured_exponents",
    "load_variant": "searchspace.formats",
    "open_study": "nas.api",
    "scaling_space": "searchspace.spaces",
    "search": "nas.api",
    "stacking_space": "searchspace.spaces",
    "train": "nas.training",
}

__all__ = [
    "Budget",
    "Certificate",
    "Constraint",
    "Halving",
    "MissingExtra",
    "NasError",
    "ProxyConfig",
    "Study",
    "StudyConfig",
    "__version__",
    "build",
    "certificate",
    "full_proxy",
    "latency_exponents",
    "load_variant",
    "open_study",
    "scaling_space",
    "search",
    "stacking_space",
    "train",
]


def __getattr__(name: str) -> Any:
    """Optuna, SQLAlchemy and Pydantic are loaded when a name that needs them is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module 'nas' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """What completion offers, loaded or not."""
    return sorted({*globals(), *__all__})
