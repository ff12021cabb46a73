"""What Ray Tune with its own OptunaSearch and ASHA makes of five trials, and what our engine on Ray Tune makes of the same ones.

Trials that survive a killed driver, and rungs that a restart finds as they were, are in test_nas_faults.py and test_nas_halving.py.
"""

import logging
import math
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from studies.halving import Halving
from studies.pareto import pareto_front
from studies.records import Objective, TrialState
from tests.driven import Found, Search, depths_study

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("ray")]
GOOD, STOPPED, NAN, INFINITE, LATER = DEPTHS = (9, 1, 3, 4, 8)
EPOCHS = 4
TWO = (Objective.of("top1"), Objective.of("flops"))


def accuracy(depth: int) -> float:
    return {NAN: math.nan, INFINITE: math.inf}.get(depth, depth / 100)


def evaluator() -> Any:
    values = {depth: accuracy(depth) for depth in DEPTHS}

    def evaluate(config: Any, proxy: Any, *, seed: int) -> Iterator[Any]:
        from trainer.proxy_config import ProxyResult

        for epoch in range(1, proxy.epochs + 1):
            metrics = {"top1": values[config.depths[2]], "loss": 1 / epoch}
            yield ProxyResult(epoch=epoch, metrics=metrics, fidelity=proxy.fidelity(epochs=epoch, seed=seed))

    return evaluate


def stock_trainable() -> type:
    from ray import tune

    values = {depth: accuracy(depth) for depth in DEPTHS}

    class Stock(tune.Trainable):  # type: ignore[misc,name-defined]
        def setup(self, config: dict[str, Any]) -> None:
            self.depth = config["l3"]

        def reset_config(self, config: dict[str, Any]) -> bool:
            self.depth = config["l3"]
            return True

        def step(self) -> dict[str, Any]:
            epoch = self.iteration + 1
            return {"top1": values[self.depth], "flops": self.depth, "epoch": epoch, "done": epoch >= EPOCHS}

    return Stock


def space(trial: Any) -> None:
    trial.suggest_int("l3", 1, 9)


def stock_trials(folder: Path, metric: Any, mode: Any, scheduler: Any = None) -> dict[int, Any]:
    """Optuna's trials by depth after a search of stock Ray Tune."""
    from ray import tune
    from ray.tune.search.optuna import OptunaSearch

    searcher = OptunaSearch(space=space, metric=metric, mode=mode, points_to_evaluate=[{"l3": depth} for depth in DEPTHS])
    how = tune.TuneConfig(search_alg=searcher, scheduler=scheduler, num_samples=len(DEPTHS), max_concurrent_trials=1, reuse_actors=True)
    quiet = tune.CheckpointConfig(checkpoint_at_end=False)
    run = tune.RunConfig(storage_path=str(folder), name="stock", verbose=0, checkpoint_config=quiet)
    tune.Tuner(stock_trainable(), tune_config=how, run_config=run).fit()
    return {trial.params["l3"]: trial for trial in searcher._ot_study.trials}


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Sequence[dict[int, Any]]:
    """What Optuna holds after a search for one objective with ASHA, and after one for two objectives."""
    import optuna
    from ray.tune.schedulers import ASHAScheduler

    from nas.engine.cluster import cluster
    from nas.packing import Slots

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    asha = ASHAScheduler(time_attr="epoch", metric="top1", mode="max", max_t=EPOCHS, grace_period=1, reduction_factor=2)
    with cluster(Slots(workers=1)), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NumPy's and Optuna's, about the values that are the point here
        logging.getLogger("optuna").setLevel(logging.ERROR)
        single = stock_trials(tmp_path_factory.mktemp("single"), "top1", "max", asha)
        return single, stock_trials(tmp_path_factory.mktemp("two"), ["top1", "flops"], ["max", "min"])


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Found:
    """What the store holds after a search for two objectives with early stopping."""
    config = depths_study(DEPTHS, epochs=EPOCHS, halving=Halving(eta=2), objectives=TWO)
    return Search(config=config, url=f"sqlite:///{tmp_path_factory.mktemp('ours')}/nas.db", evaluate=evaluator(), engine="ray").run()


def test_stock_calls_a_trial_complete_that_was_stopped_after_one_epoch_of_four(stock: Sequence[dict[int, Any]]) -> None:
    stopped = stock[0][STOPPED]
    assert stopped.state.name == "COMPLETE"
    assert stopped.values == [accuracy(STOPPED)]
    assert len(stopped.intermediate_values) < EPOCHS - 1  # the only trace of it


def test_ours_calls_a_stopped_trial_pruned_at_its_own_fidelity_and_keeps_it_off_the_front(ours: Found) -> None:
    found = ours.by_depth()
    assert found[GOOD].state is TrialState.COMPLETE
    for depth in (STOPPED, LATER):
        assert found[depth].state is TrialState.PRUNED
        assert found[depth].fidelity["epochs"] == 1
    assert pareto_front(ours.trials, TWO) == [found[GOOD]]  # though each of the others has fewer FLOPs


def test_stock_leaves_a_trial_with_nan_running_for_ever_and_calls_one_with_infinity_complete(stock: Sequence[dict[int, Any]]) -> None:
    for trials in stock:
        assert trials[NAN].state.name == "RUNNING"
        assert trials[INFINITE].state.name == "COMPLETE"
        assert math.isinf(trials[INFINITE].values[0])


def test_ours_ends_both_with_the_reason_and_stores_neither_value(ours: Found) -> None:
    for depth in (NAN, INFINITE):
        trial = ours.by_depth()[depth]
        assert trial.state is TrialState.FAILED
        assert trial.reason == f"top1 is {accuracy(depth)} after epoch 1"
        assert trial.metrics == {}
        assert trial.number not in ours.reports


def test_stock_keeps_no_report_of_a_search_for_two_objectives(stock: Sequence[dict[int, Any]]) -> None:
    assert stock[0][GOOD].intermediate_values
    assert all(not trial.intermediate_values for trial in stock[1].values())


def test_ours_keeps_every_report_whatever_the_number_of_objectives(ours: Found) -> None:
    for trial in ours.trials:
        steps = [report.step for report in ours.reports.get(trial.number, [])]
        assert steps == list(range(1, trial.fidelity.get("epochs", 0) + 1))
