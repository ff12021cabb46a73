"""Stores for the whole dashboard to show, filled without any training."""

from searchspace.spaces import stacking_space
from studies.records import Report, StudyRecord, Trial, TrialState
from studies.store import Store
from tests.dashboard_views import FIDELITY, OBJECTIVES, add

CONFIG = {"objectives": OBJECTIVES}


def train(store: Store, trial: Trial, *, top1: float, finish: bool = True) -> None:
    """Three epochs that end at an accuracy, and the end of the trial unless it is to run on."""
    store.start(trial, worker="worker 0")
    for epoch in (1, 2, 3):
        store.report(trial, Report(epoch, {"top1": top1 * epoch / 3, "loss": 3.0 - top1 * epoch}), fidelity=FIDELITY)
    if finish:
        store.finish(trial, TrialState.COMPLETE)


def fill(store: Store, name: str = "stacking") -> StudyRecord:
    """A study with the 19 feasible variants complete, the others infeasible, and one failed trial."""
    study = store.open(name, CONFIG)
    for i, candidate in enumerate(stacking_space().enumerate()):
        trial = add(store, study, candidate)
        if candidate.feasible:
            train(store, trial, top1=0.5 + i * 7 % 13 / 100)
    store.finish(add(store, study, stacking_space().feasible()[0], seed=1), TrialState.FAILED, reason="the worker was lost <b>twice</b>")
    return study
