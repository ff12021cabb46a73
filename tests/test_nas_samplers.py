"""Samplers: only what is feasible and untried is asked, by each of them, before and after a restart; and what they learn from."""

import itertools
import math
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from importlib.util import find_spec
from typing import Any

import moocore
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.trial import TrialState as OptunaState

import nas.samplers.choice
import nas.samplers.optuna_study
from benchmarks.samplers import FRONT, Play, play
from benchmarks.tabular import EPOCHS, table
from nas.config import StudyConfig
from nas.samplers import Sampler, check_sampler, params_key
from nas.samplers.expected_improvement import expected_hypervolume_improvement, staircase
from nas.samplers.gaussian_process import Surrogate
from nas.samplers.learned_metrics import LearnedMetrics
from nas.samplers.outcomes import outcome
from nas.samplers.problem import Problem
from searchspace.space import Candidate, SearchSpace
from searchspace.spaces import scaling_space, stacking_space
from studies.constraints import Constraint
from studies.pareto import hypervolume
from studies.records import Objective, Trial, TrialState
from trainer.proxy_config import ProxyConfig

ONE, TWO = ("top1",), ("top1", "flops")
FAST = ["exhaustive", "random", "qmc", "tpe", "nsga2", "nsga3", "known-cost"]
ENDS = [TrialState.COMPLETE, TrialState.PRUNED, TrialState.INFEASIBLE, TrialState.FAILED]
SPACE = stacking_space(channels=range(16, 129, 16), group_channels=(8, 16), l1=range(1, 5), l3=range(1, 13))


def config(space: SearchSpace, sampler: str, metrics: Sequence[str] = TWO, **settings: Any) -> StudyConfig:
    objectives = tuple(Objective.of(metric) for metric in metrics)
    return StudyConfig(space=space, sampler=sampler, objectives=objectives, proxy=ProxyConfig(epochs=9), **settings)


def accuracy(candidate: Candidate) -> float:
    """Better with size, best where L3 is a quarter of C1's tenth: smooth, and not to be read off the costs."""
    assert candidate.cost is not None
    shape = math.log(int(candidate.params["l3"]) / int(candidate.params["channels"]) * 10)
    return 0.9 - 0.1 * (candidate.cost.flops / 1e9) ** -0.3 - 0.02 * shape**2


def ended(candidate: Candidate, number: int, state: TrialState = TrialState.COMPLETE, epochs: int = 9, **metrics: float) -> Trial:
    assert candidate.cost is not None
    measured = {"top1": accuracy(candidate), **metrics} if state in (TrialState.COMPLETE, TrialState.PRUNED) else {}
    record: dict[str, Any] = {"id": number, "params": candidate.params, "model": None, "cost": asdict(candidate.cost), "seed": 0}
    return Trial(number=number, state=state, metrics=measured, fidelity={"epochs": epochs}, **record)


def searched(config: StudyConfig, n: int, stored: Sequence[Trial] = (), **settings: Any) -> list[Trial]:
    """The next `n` trials of a study, one at a time."""
    sampler, found = Sampler(config, config.space.feasible_set(), stored, trials=n, **settings), list(stored)
    for _ in range(n):
        candidate = sampler.ask()
        assert candidate is not None
        found.append(ended(candidate, len(found)))
        sampler.tell(found[-1])
    return found[len(stored) :]


small_spaces = st.builds(
    lambda channels, groups, l1, l3: stacking_space(channels=sorted(channels), group_channels=groups, l1=range(1, l1 + 1), l3=l3),
    st.sets(st.sampled_from([16, 32, 48, 96]), min_size=1, max_size=2),
    st.sampled_from([(8,), (8, 16), (16, 8)]),
    st.integers(1, 3),
    st.sampled_from([(3,), (3, 4, 8), (5, 2, 9)]),
)


@pytest.mark.parametrize("sampler", FAST)
@settings(max_examples=8)
@given(space=small_spaces, ends=st.lists(st.sampled_from([*ENDS, None]), min_size=1), restart=st.integers(1, 30), seed=st.integers(0, 99))
def test_every_feasible_candidate_is_asked_once_and_nothing_else_across_a_restart_and_beside_others(
    sampler: str, space: SearchSpace, ends: list[TrialState | None], restart: int, seed: int
) -> None:
    study, feasible = config(space, sampler, seed=seed), space.feasible_set()
    elsewhere = feasible.candidate(seed % len(feasible))
    stored: list[Trial] = []
    asking = Sampler(study, feasible, stored, trials=3)
    asking.take(elsewhere.params)
    for number, state in zip(range(len(feasible) - 1), itertools.cycle(ends)):
        if number == restart:
            asking = Sampler(study, feasible, stored, trials=3)
            asking.take(elsewhere.params)
        candidate = asking.ask()
        assert candidate is not None
        assert candidate.feasible
        stored.append(ended(candidate, number, state or TrialState.QUEUED))
        if state is not None:
            asking.tell(stored[-1])
    assert asking.ask() is None
    assert len({params_key(trial.params) for trial in stored} | {params_key(elsewhere.params)}) == len(feasible) == len(stored) + 1


@pytest.mark.parametrize("sampler", ["exhaustive", "qmc"])
def test_an_order_that_learns_nothing_goes_on_after_a_restart_as_if_it_had_never_stopped(sampler: str) -> None:
    whole = [trial.params for trial in searched(config(SPACE, sampler), 40)]
    begun = searched(config(SPACE, sampler), 17)
    assert [trial.params for trial in [*begun, *searched(config(SPACE, sampler), 23, begun)]] == whole


@pytest.mark.parametrize("sampler", ["random", "tpe", "nsga2", "known-cost"])
def test_a_restarted_sampler_is_determined_by_the_seed_and_what_is_stored(sampler: str) -> None:
    begun = searched(config(SPACE, sampler), 15)
    again = [[trial.params for trial in searched(config(SPACE, sampler), 5, begun)] for _ in range(2)]
    other = [trial.params for trial in searched(config(SPACE, sampler, seed=7), 5, begun)]
    assert again[0] == again[1]
    assert again[0] != other or sampler == "known-cost"  # once it has a model it draws nothing


def generations(sampler: Sampler) -> dict[Any, int]:
    """The generation of each complete trial, as Optuna's study holds it."""
    trials = sampler._suggester._study.get_trials(deepcopy=False, states=[OptunaState.COMPLETE])  # type: ignore[attr-defined]
    return {tuple(trial.params.items()): trial.system_attrs["NSGAIISampler:generation"] for trial in trials}


def test_a_rebuilt_nsga2_has_the_generations_of_the_one_that_never_stopped() -> None:
    study, feasible = config(SPACE, "nsga2"), SPACE.feasible_set()
    living, stored = Sampler(study, feasible, [], trials=64), []
    for number in range(45):
        candidate = living.ask()
        assert candidate is not None
        stored.append(ended(candidate, number, TrialState.PRUNED if number % 9 == 8 else TrialState.COMPLETE))
        living.tell(stored[-1])
    found = generations(Sampler(study, feasible, stored, trials=64))
    assert found == generations(living)
    assert set(found.values()) == {0, 1, 2, 3, 4}  # eight of each


def many(n: int, space: SearchSpace) -> Iterator[Trial]:
    feasible, rng = space.feasible_set(), np.random.default_rng(0)
    domains, flops = list(space.domains.items()), feasible.costs("flops")
    for number, index in enumerate(rng.permutation(len(feasible))[:n].tolist()):
        places = feasible.positions()[index].tolist()
        params = {name: values[place] for (name, values), place in zip(domains, places, strict=True)}
        metrics = {"top1": 1 - float(flops[index]) ** -0.1 + 0.01 * float(rng.normal())}
        record: dict[str, Any] = {"params": params, "model": None, "cost": {"flops": int(flops[index])}, "seed": 0}
        yield Trial(id=number, number=number, state=TrialState.COMPLETE, metrics=metrics, fidelity={"epochs": 9}, **record)


@pytest.mark.parametrize("sampler", ["nsga2", "known-cost"])
def test_ten_thousand_stored_trials_are_taken_up_and_the_next_is_a_new_one(sampler: str) -> None:
    space = stacking_space(channels=range(16, 161, 8), group_channels=(8, 16), l1=range(1, 9), l3=range(1, 65))
    stored = list(many(10_000, space))
    candidate = Sampler(config(space, sampler), space.feasible_set(), stored, trials=None).ask()
    assert candidate is not None
    assert params_key(candidate.params) not in {params_key(trial.params) for trial in stored}


def test_nsga2_goes_on_after_more_generations_than_python_recurses() -> None:
    space = stacking_space(channels=range(16, 161, 16), group_channels=(8, 16), l1=range(1, 9), l3=range(1, 33))
    sampler = Sampler(config(space, "nsga2"), space.feasible_set(), list(many(2800, space)), trials=64)
    assert max(generations(sampler).values()) == 349
    assert sampler.ask() is not None


def test_what_others_found_is_learned_once() -> None:
    study, feasible = config(SPACE, "nsga2"), SPACE.feasible_set()
    sampler, other = Sampler(study, feasible, [], trials=64), feasible.candidate(5)
    sampler.take(other.params)
    for _ in range(2):
        sampler.tell(ended(other, 0))
    assert list(generations(sampler).values()) == [0]


def test_auto_says_what_it_chose_and_why() -> None:
    feasible = SPACE.feasible_set()

    def chosen(trials: int | None, *metrics: str) -> tuple[str, str]:
        sampler = Sampler(config(SPACE, "auto", metrics), feasible, [], trials=trials)
        return sampler.name, sampler.why

    n = len(feasible)
    assert chosen(n, *TWO) == ("exhaustive", f"all {n} feasible candidates are tried")
    assert chosen(n - 1, *TWO) == ("known-cost", "only one objective is unknown before training")
    assert chosen(None, *TWO)[0] == "known-cost"
    assert chosen(50, "top1", "loss") == ("tpe", "2 objectives, 2 of them unknown before training")
    assert chosen(50, "flops") == ("tpe", "one objective")
    wide = config(SPACE, "auto", ("top1", "seconds"))
    assert nas.samplers.choice.choose(wide, 10**6, 5000)[0] == "nsga2"
    asked = config(SPACE, "random", require=(Constraint.parse("top1>=0.5"),))
    assert Sampler(asked, feasible, [], trials=9).why == "asked for; it does not learn from top1>=0.5"


PAIRS = scaling_space(pairs="paper")
REFUSED = [
    (SPACE, "cmaes", TWO, None, "sampler cmaes serves one objective, got top1, flops; use tpe or nsga2"),
    (PAIRS, "cmaes", ONE, None, "sampler cmaes needs domains of numbers in order, which pair is not; use tpe or gp"),
    (SPACE, "gp", TWO, 401, "sampler gp takes seconds for each suggestion beyond 400 trials, got 401; use known-cost, tpe or nsga2"),
    (SPACE, "nsga3", ONE, None, "sampler nsga3 serves two to four objectives, got top1; use tpe or nsga2"),
    (SPACE, "known-cost", ("top1", "loss"), None, "needs exactly one objective that only training tells, and top1, loss are such; use tpe"),
    (SPACE, "known-cost", ("flops", "params"), None, "needs exactly one objective that only training tells, and none is such; use tpe"),
]


@pytest.mark.parametrize(("space", "sampler", "metrics", "trials", "message"), REFUSED)
def test_a_sampler_that_cannot_serve_is_refused_with_one_that_can(
    space: SearchSpace, sampler: str, metrics: tuple[str, ...], trials: int | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        check_sampler(config(space, sampler, metrics), trials)


def test_cmaes_without_its_package_is_refused_before_anything_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nas.samplers.choice, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"needs the package cmaes \(pip install cmaes\); without it use tpe or gp"):
        check_sampler(config(SPACE, "cmaes", ONE))


@pytest.mark.skipif(find_spec("cmaes") is None, reason="the package cmaes is not installed")
def test_cmaes_goes_on_where_the_stored_trials_lead() -> None:
    begun = searched(config(SPACE, "cmaes", ONE), 40)
    values = [[trial.metrics["top1"] for trial in trials] for trials in (begun[:20], searched(config(SPACE, "cmaes", ONE), 20, begun))]
    assert np.median(values[1]) > np.median(values[0])


def test_optuna_is_told_each_end_as_it_can_take_it() -> None:
    study = config(SPACE, "tpe", TWO, require=(Constraint.parse("top1>=0.7"), Constraint.parse("loss<=1")))
    candidate = SPACE.feasible_set().candidate(0)
    assert candidate.cost is not None
    told = outcome("tpe", study, ended(candidate, 0, top1=0.5))
    assert told == {
        "state": OptunaState.COMPLETE,
        "values": [0.5, candidate.cost.flops],
        "constraints": {"feasible": 0.0, "top1>=0.7": pytest.approx(0.2), "loss<=1": 1.0},
    }
    infeasible = outcome("tpe", study, ended(candidate, 0, TrialState.INFEASIBLE))
    assert infeasible is not None
    assert infeasible["values"] == [-1e30, 1e30]
    assert infeasible["constraints"].keys() == told["constraints"].keys()
    assert min(infeasible["constraints"].values()) > 0
    pruned = ended(candidate, 0, TrialState.PRUNED, epochs=3, top1=0.4)
    assert outcome("tpe", study, pruned) == {"state": OptunaState.PRUNED}
    assert outcome("tpe", config(SPACE, "tpe", ONE), pruned) == {"state": OptunaState.PRUNED, "intermediate_values": {3: 0.4}}
    assert outcome("tpe", study, ended(candidate, 0, TrialState.FAILED)) is None


def test_the_gaussian_process_of_optuna_survives_infeasible_trials_and_gives_up_in_time(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(nas.samplers.optuna_study, "GP_TRIALS", 11)
    sampler = Sampler(config(SPACE, "gp", ONE), SPACE.feasible_set(), [], trials=20)
    for number in range(13):
        candidate = sampler.ask()
        assert candidate is not None
        sampler.tell(ended(candidate, number, TrialState.INFEASIBLE if number == 2 else TrialState.COMPLETE))
    assert "beyond 11 trials: tpe goes on from here" in caplog.text


def volume(points: np.ndarray[Any, Any], reference: np.ndarray[Any, Any]) -> float:
    padded = np.column_stack([points, np.zeros(len(points))])  # moocore knows no single objective
    return float(moocore.hypervolume(padded, ref=np.append(reference, 1.0))) if len(points) else 0.0


coordinate = st.integers(0, 8).map(lambda eighths: eighths / 8)  # so that equal coordinates are common


@settings(max_examples=60)
@given(known=st.integers(0, 3), data=st.data())
def test_a_certain_outcome_adds_the_hypervolume_that_moocore_counts(known: int, data: st.DataObject) -> None:
    point = st.lists(coordinate, min_size=1 + known, max_size=1 + known)
    front = np.array(data.draw(st.lists(point, max_size=7)), dtype=float).reshape(-1, 1 + known)
    added = np.array(data.draw(point), dtype=float)
    reference = np.full(1 + known, 0.9)
    expected = volume(np.vstack([front, added]), reference) - volume(front, reference)
    found = expected_hypervolume_improvement(added[:1], np.zeros(1), added[None, 1:], staircase(front, reference))
    assert found[0] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("known", [0, 1, 2, 3])
def test_the_expected_improvement_is_the_mean_over_drawn_outcomes(known: int) -> None:
    rng, reference = np.random.default_rng(known), np.ones(1 + known)
    front, mean, std, at = rng.random((6, 1 + known)), rng.normal(0.4, 0.4, 5), rng.random(5) * 0.4, rng.random((5, known)) * 0.8
    found = expected_hypervolume_improvement(mean, std, at, staircase(front, reference))
    before = volume(front, reference)
    for i in range(5):
        outcomes = mean[i] + std[i] * rng.standard_normal(1000)
        gains = np.array([volume(np.vstack([front, [y, *at[i]]]), reference) - before for y in outcomes])
        assert found[i] == pytest.approx(gains.mean(), abs=5 * gains.std() / math.sqrt(len(gains)) + 1e-4)


def test_running_trials_are_believed_at_their_expectation() -> None:
    rng = np.random.default_rng(0)
    seen, running = rng.random((30, 2)), np.array([[0.9, 0.9]])
    posterior = Surrogate(rng).learned(seen, np.sin(4 * seen[:, 0]) + seen[:, 1] + 0.05 * rng.normal(size=30))
    believed = posterior.believing(running)
    assert posterior.mean(running) == pytest.approx(np.sin(3.6) + 0.9, abs=0.2)
    assert believed.mean(running) == pytest.approx(posterior.mean(running), abs=0.02)
    assert believed.predict(running)[1] < 0.9 * posterior.predict(running)[1]


def test_a_trial_that_was_stopped_early_counts_at_the_effort_that_it_reached() -> None:
    study, feasible = config(SPACE, "known-cost"), SPACE.feasible_set()
    problem = Problem(study, feasible, np.ones(len(feasible), dtype=bool), 0)
    learned, rng = LearnedMetrics(problem, study.objectives[0], np.random.default_rng(0)), np.random.default_rng(0)
    drawn = rng.permutation(len(feasible))[:80]
    for number, index in enumerate(drawn[:60].tolist()):
        candidate = feasible.candidate(index)
        stopped = {"state": TrialState.PRUNED, "epochs": 1, "top1": accuracy(candidate) - 0.3} if number % 3 else {}
        learned.add(index, ended(candidate, number, **stopped))  # type: ignore[arg-type]
    expected = -learned.posterior(np.zeros(0, dtype=np.int64)).mean(learned.at(drawn[60:]))
    assert np.abs(expected - [accuracy(feasible.candidate(i)) for i in drawn[60:].tolist()]).mean() < 0.03
    assert len(learned.complete()) == 20


def test_known_cost_finds_more_of_the_front_than_random() -> None:
    def reached(sampler: str, seed: int) -> float:
        trials = searched(config(SPACE, sampler, seed=seed), 30)
        points = np.array([[trial.metrics["top1"], trial.cost["flops"]] for trial in trials])
        return hypervolume(points, config(SPACE, sampler).objectives, (0.5, float(SPACE.feasible_set().costs("flops").max())))

    assert all(reached("known-cost", seed) > reached("random", seed) for seed in range(3))


def test_known_cost_asks_first_for_what_can_meet_the_constraints() -> None:
    flops = SPACE.feasible_set().costs("flops")
    cheap = float(np.quantile(flops, 0.3))
    asked = (Constraint("flops", "<=", cheap), Constraint("top1", ">=", 0.8), Constraint("loss", "<=", 0.2))
    study, feasible = config(SPACE, "known-cost", require=asked), SPACE.feasible_set()

    def loss(candidate: Candidate) -> float:
        return abs(math.log2(int(candidate.params["l1"])))

    sampler, found = Sampler(study, feasible, [], trials=40), []
    for number in range(40):
        candidate = sampler.ask()
        assert candidate is not None
        found.append(ended(candidate, number, loss=loss(candidate)))
        sampler.tell(found[-1])
    met = [all(constraint.violation(trial) <= 0 for constraint in asked) for trial in found[8:]]
    everywhere = [ended(feasible.candidate(i), 0, loss=loss(feasible.candidate(i))) for i in range(len(feasible))]
    share = np.mean([all(constraint.violation(trial) <= 0 for constraint in asked) for trial in everywhere])
    assert all(trial.cost["flops"] <= cheap for trial in found)
    assert np.mean(met) > 2 * share > 0


def test_known_cost_uses_what_was_measured_beforehand_and_says_what_it_lacks() -> None:
    study, feasible = config(SPACE, "known-cost", ("top1", "latency_ms")), SPACE.feasible_set()
    measured = {params_key(feasible.candidate(i).params): {"latency_ms": 1.0 + i} for i in range(len(feasible))}
    assert len(searched(study, 10, premeasured=measured)) == 10
    del measured[params_key(feasible.candidate(3).params)]
    with pytest.raises(ValueError, match="needs latency_ms of every candidate, and it is unknown of 1; use tpe or nsga2"):
        searched(study, 1, premeasured=measured)


def test_samplers_are_imported_without_what_only_some_of_them_need() -> None:
    heavy = "[name for name in ('optuna', 'sklearn', 'torch') if name in sys.modules]"
    done = subprocess.run([sys.executable, "-c", f"import sys, nas.samplers; print({heavy})"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_synthetic_table_is_fixed_by_its_seed_and_a_simulated_search_only_gains() -> None:
    known = table()
    assert known.measured(5, EPOCHS, 0) == known.measured(5, EPOCHS, 0) != known.measured(5, EPOCHS, 1)
    assert known.measured(5, 1, 0) < known.measured(5, EPOCHS, 0)
    for halving in (False, True):
        played = play(Play(FRONT, "random", halving, seed=0, trials=12))
        assert min(played.shares) >= 0
        assert list(played.shares) == sorted(played.shares)
        assert 0.3 < played.shares[-1] <= 1
        assert played.completed < played.began
