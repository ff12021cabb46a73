"""A search held against chance: what can be claimed from a store, and what is refused with advice."""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import moocore
import numpy as np
import pandas as pd
import pytest
import typer
from typer.testing import CliRunner

from nas.api import Study
from nas.cli.compare import compare as command
from nas.compare import compare
from nas.config import StudyConfig
from nas.errors import NasError
from searchspace.space import Candidate
from searchspace.spaces import stacking_space
from studies.frames import trials_frame
from studies.records import NewTrial, Report, TrialState
from studies.store import Store
from trainer.proxy_config import ProxyConfig

SPACE = stacking_space(channels=(48, 64, 80), group_channels=(16,), l1=(1, 2), l3=(3, 5, 7, 9))
CANDIDATES = SPACE.feasible()
LARGEST = max(candidate.cost.flops for candidate in CANDIDATES if candidate.cost)
PROXY = ProxyConfig(epochs=2)
ORDERS = 199


@pytest.fixture
def store(store_url: str) -> Store:
    return Store(store_url)


def config(**changes: Any) -> StudyConfig:
    return StudyConfig(**{"space": SPACE, "proxy": PROXY, "sampler": "random", **changes})


def accuracy(candidate: Candidate) -> float:
    """Larger is better on the whole, with exceptions."""
    params = candidate.params
    luck = np.random.default_rng([int(value) for value in params.values()]).normal(0, 0.1)
    return float(np.clip(0.4 + 0.3 * (flops(candidate) / LARGEST) ** 0.5 + luck, 0, 1))


def flops(candidate: Candidate) -> int:
    assert candidate.cost is not None
    return candidate.cost.flops


def seconds(candidate: Candidate) -> float:
    return 5 + 10 * flops(candidate) / LARGEST


def best_first() -> list[Candidate]:
    """In the order of the fronts left when those before are taken away."""
    points = np.array([[-accuracy(candidate), flops(candidate)] for candidate in CANDIDATES])
    return [CANDIDATES[i] for i in np.argsort(moocore.pareto_rank(points), kind="stable")]


def shuffled(seed: int) -> list[Candidate]:
    return [CANDIDATES[i] for i in np.random.default_rng(seed).permutation(24)]


def searched(
    store: Store,
    name: str,
    order: Sequence[Candidate],
    config: StudyConfig,
    *,
    states: Mapping[int, TrialState] | None = None,
    timed: bool = True,
    fingerprint: str | None = None,
    last_ends_first: bool = False,
) -> Study:
    """A study that trained `order`, each candidate for as long as its FLOPs say; `states` are of those that are not complete."""
    study = store.open(name, config.to_dict())
    endings: list[Callable[[], object]] = []
    for i, candidate in enumerate(order):
        assert candidate.config is not None
        assert candidate.cost is not None
        cost = {"params": candidate.cost.params, "flops": candidate.cost.flops}
        new = NewTrial(params=dict(candidate.params), seed=config.seed, model=candidate.config.to_dict(), cost=cost)
        (trial,) = store.add(study, [new])
        state = (states or {}).get(i, TrialState.COMPLETE)
        store.start(trial)
        for epoch in range(1, (config.proxy.epochs if state is TrialState.COMPLETE else 1) + 1):
            spent = {"seconds": seconds(candidate) * epoch / config.proxy.epochs} if timed else {}
            fidelity = config.proxy.fidelity(epochs=epoch, seed=config.seed, fingerprint=fingerprint)
            store.report(trial, Report(epoch, {"top1": accuracy(candidate), "loss": 1.0, **spent}), fidelity=fidelity)
        endings.append(partial(store.finish, trial, state))
    for end in endings[::-1] if last_ends_first else endings:
        end()
    return Study(store, study)


def test_a_study_that_finds_the_best_first_is_better_than_random_orders_of_its_trials(store: Store) -> None:
    good = compare(searched(store, "good", best_first(), config()), orders=ORDERS)
    bad = compare(searched(store, "bad", best_first()[::-1], config()), orders=ORDERS)
    assert (good.verdict, bad.verdict) == ("better than random", "worse than random")
    assert good.candidates == good.trials == 24
    assert (good.own.final, good.random.final) == pytest.approx((1, 1))
    assert good.chance.difference.low > 0 > bad.chance.difference.high
    assert good.unit == "device-seconds"
    assert good.budget == pytest.approx(sum(map(seconds, CANDIDATES)))


def test_a_study_in_random_order_is_not_better_than_random(store: Store) -> None:
    found = compare(searched(store, "study", shuffled(0), config()), orders=ORDERS)
    assert found.verdict == "not better than random"
    assert found.chance.difference.low < 0 < found.chance.difference.high


def test_the_same_seed_gives_the_same_comparison(store: Store) -> None:
    study = searched(store, "study", shuffled(0), config())
    assert compare(study, orders=ORDERS, seed=3) == compare(study, orders=ORDERS, seed=3)
    assert compare(study, orders=ORDERS, seed=3).chance != compare(study, orders=ORDERS, seed=4).chance


def test_trials_count_in_the_order_in_which_they_ended_not_in_which_they_were_numbered(store: Store) -> None:
    in_order = searched(store, "in-order", best_first(), config())
    backwards = searched(store, "backwards", best_first()[::-1], config(), last_ends_first=True)
    one, two = (compare(study, orders=ORDERS).own for study in (in_order, backwards))
    assert two.mean == pytest.approx(one.mean)


def test_every_candidate_that_could_be_trained_must_have_been(store: Store) -> None:
    study = searched(store, "part", shuffled(0)[:20], config())
    with pytest.raises(NasError, match=r"trained 20 of 24 feasible candidates.* --name part-random and compare with --against part-random"):
        compare(study, orders=ORDERS)
    failed = searched(store, "failed", shuffled(0), config(), states={3: TrialState.FAILED})
    with pytest.raises(NasError, match="trained 23 of 24"):
        compare(failed, orders=ORDERS)
    without = searched(store, "without", shuffled(0), config(), states={3: TrialState.INFEASIBLE})
    assert compare(without, orders=ORDERS).candidates == 23


def table(store: Store, folder: Path, drop: str | None = None) -> str:
    full = searched(store, "recorded", CANDIDATES, config())
    frame = trials_frame(full.trials())
    path = folder / "recorded.csv"
    (frame if drop is None else frame.drop(columns=drop)).to_csv(path, index=False)
    return f"table:{path}"


def test_a_study_that_asks_a_table_is_compared_with_random_orders_of_the_table(store: Store, tmp_path: Path) -> None:
    asks = config(evaluator=table(store, tmp_path))
    part = best_first()[:6]
    found = compare(searched(store, "part", part, asks), orders=ORDERS)
    assert (found.candidates, found.trials) == (24, 6)
    assert found.budget == pytest.approx(sum(map(seconds, part)))
    assert found.verdict == "better than random"
    assert found.random.final < found.own.final == pytest.approx(1)


def test_a_table_that_lacks_a_candidate_is_no_pool_of_random_orders(store: Store, tmp_path: Path) -> None:
    asks = config(evaluator=table(store, tmp_path))
    path = Path(asks.evaluator.removeprefix("table:"))
    pd.read_csv(path).iloc[1:].to_csv(path, index=False)
    with pytest.raises(ValueError, match=r"recorded\.csv has no complete result of channels=48"):
        compare(searched(store, "part", CANDIDATES[1:5], asks), orders=ORDERS)


def test_without_training_times_every_training_costs_the_same_and_a_pruned_one_its_share(store: Store, tmp_path: Path) -> None:
    asks = config(evaluator=table(store, tmp_path, drop="seconds"))
    pruned = {1: TrialState.PRUNED, 2: TrialState.PRUNED}
    found = compare(searched(store, "part", shuffled(1)[:6], asks, states=pruned, timed=False), orders=ORDERS)
    assert found.unit == "trainings"
    assert found.budget == pytest.approx(4 + 2 * 0.5)


def test_a_pruned_trial_spends_and_brings_nothing(store: Store) -> None:
    order = best_first()
    random = searched(store, "random", shuffled(2), config())
    full = searched(store, "full", order[1:3], config())
    pruned = searched(store, "pruned", [order[0], *order[1:3]], config(), states={0: TrialState.PRUNED})
    one, two = (compare(study, [random], orders=ORDERS) for study in (full, pruned))
    assert two.budget - one.budget == pytest.approx(seconds(order[0]) / 2)
    assert two.own.final == pytest.approx(one.own.final)
    assert two.own.mean < one.own.mean


def test_a_trial_that_breaks_a_bound_counts_for_nothing(store: Store) -> None:
    bounded = config(require=("top1<=0.6",))
    study = searched(store, "study", shuffled(0), bounded)
    found = compare(study, orders=ORDERS)
    kept = [accuracy(candidate) for candidate in CANDIDATES if accuracy(candidate) <= 0.6]
    assert found.reference[0] == pytest.approx(max(kept) - 1.1 * (max(kept) - min(kept)))
    none = searched(store, "none", shuffled(0), config(require=("top1>=0.99",)))
    with pytest.raises(NasError, match=r"no complete trial keeps top1>=0\.99"):
        compare(none, orders=ORDERS)


def test_against_random_studies_all_stop_where_the_shortest_does(store: Store) -> None:
    good = searched(store, "good", best_first()[:8], config(sampler="tpe"))
    random = [searched(store, f"random-{i}", shuffled(i)[: 8 + i], config(seed=i)) for i in range(3)]
    found = compare(good, random, orders=ORDERS)
    assert found.against == ("random-0", "random-1", "random-2")
    assert found.candidates is None
    totals = [sum(trial.metrics["seconds"] for trial in study.trials()) for study in (good, *random)]
    assert found.budget == pytest.approx(min(totals))
    assert found.verdict == "better than random"
    assert found.chance.difference.value == pytest.approx(found.own.mean - found.random.mean)
    assert compare(random[0], random[1:], orders=ORDERS).verdict == "not better than random"


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"sampler": "tpe"}, "study 'other' was searched with the sampler tpe; compare with one of --sampler random"),
        ({"objectives": ("top1", "params")}, "differ in objectives"),
        ({"proxy": ProxyConfig(epochs=2, threads=2)}, "differ in proxy"),
        ({"require": ("top1>=0.1",)}, "differ in require"),
        ({"space": stacking_space(channels=(48, 64, 80), group_channels=(16,), l1=(1, 2), l3=(3, 5, 7, 9), style="s")}, "differ in space"),
    ],
)
def test_a_study_that_cannot_be_compared_is_refused_with_what_differs(store: Store, changes: dict[str, Any], rule: str) -> None:
    study = searched(store, "study", shuffled(0)[:6], config(sampler="tpe"))
    other = searched(store, "other", shuffled(1)[:6], config(**changes))
    with pytest.raises(ValueError, match=rule):
        compare(study, [other], orders=ORDERS)


def test_other_data_itself_and_empty_studies_are_refused(store: Store) -> None:
    study = searched(store, "study", shuffled(0)[:6], config(), fingerprint="a")
    with pytest.raises(ValueError, match="cannot be compared with itself"):
        compare(study, [study], orders=ORDERS)
    with pytest.raises(ValueError, match="the files have changed between them"):
        compare(study, [searched(store, "changed", shuffled(1)[:6], config(), fingerprint="b")], orders=ORDERS)
    with pytest.raises(NasError, match="study 'empty' has no complete trial"):
        compare(searched(store, "empty", [], config()), orders=ORDERS)
    with pytest.raises(ValueError, match="study 'costs' trains nothing"):
        compare(searched(store, "costs", [], config(objectives=("params", "flops"))), orders=ORDERS)
    with pytest.raises(ValueError, match="orders must be at least 100"):
        compare(study, orders=99)


def run(store: Store, *arguments: str) -> str:
    app = typer.Typer()
    app.command()(command)
    result = CliRunner().invoke(app, [*arguments, "--store", store.url, "--orders", "199"])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.stdout


def test_the_command_prints_both_sides_and_the_verdict(store: Store) -> None:
    study = searched(store, "study", best_first(), config())
    printed = run(store, "study", "--against", "random")
    assert "random orders of 24 candidates" in printed
    assert "better than random: mean hypervolume less that of chance +" in printed
    assert "exhaustive" not in printed
    searched(store, "in order", CANDIDATES, config(sampler="auto"))
    assert run(store, "in order", "--against", "random").endswith("; an exhaustive study tries all in the space's order\n")
    document = json.loads(run(store, "study", "--against", "random", "--format", "json"))
    assert document["verdict"] == "better than random"
    assert document["own"]["mean"] == pytest.approx(compare(study, orders=199).own.mean)
    rows = run(store, "study", "--against", "random", "--format", "csv").splitlines()
    assert rows[0] == "side,mean,final"
    assert len(rows) == 3


def test_the_command_takes_random_orders_or_random_studies(store: Store) -> None:
    searched(store, "study", shuffled(0)[:6], config(sampler="tpe"))
    searched(store, "chance", shuffled(1)[:6], config())
    assert "not better than random" in run(store, "study", "--against", "chance")
    with pytest.raises(ValueError, match="random orders or random studies, not both: got random, chance"):
        run(store, "study", "--against", "random", "--against", "chance")
