"""What has been searched: records, the SQL store, Pareto fronts and data frames."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from studies.database import StoreError
    from studies.pareto import pareto_front
    from studies.records import METRICS, Artifact, Lease, Objective, Report, StudyRecord, Trial, TrialState
    from studies.store import Store, StudyMismatch
    from studies.trial_changes import Taken

_HOMES = {
    "Artifact": "records",
    "Lease": "records",
    "METRICS": "records",
    "Objective": "records",
    "Report": "records",
    "Store": "store",
    "StoreError": "database",
    "StudyMismatch": "store",
    "StudyRecord": "records",
    "Taken": "trial_changes",
    "Trial": "records",
    "TrialState": "records",
    "pareto_front": "pareto",
}

__all__ = [
    "METRICS",
    "Artifact",
    "Lease",
    "Objective",
    "Report",
    "Store",
    "StoreError",
    "StudyMismatch",
    "StudyRecord",
    "Taken",
    "Trial",
    "TrialState",
    "pareto_front",
]


def __getattr__(name: str) -> Any:
    """SQLAlchemy and moocore are loaded when a name that needs them is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module 'studies' has no attribute {name!r}")
    return getattr(import_module(f"studies.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    """What completion offers, loaded or not."""
    return sorted({*globals(), *__all__})
