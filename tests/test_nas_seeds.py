"""Several seeds for each candidate: who is trained when, what survives a restart, and what stands on the means."""

import json
import multiprocessing
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import typer
from typer.testing import CliRunner

import nas
from nas.budget import Budget
from nas.cli import studies as commands
from nas.compare import compare
from nas.job import weights_file
from nas.progress import ProgressView
from nas.progress_record import Progress
from nas.roster import wanted_trials
from nas.samplers import sampler
from nas.samplers.problem import Problem
from studies.constraints import Constraint
from studies.records import NewTrial, Objective, Report, Trial, TrialState
from studies.store import Store
from tests.driven import Found, Search, depths_study
from trainer.proxy_config import ProxyResult

DEPTHS, SEEDS = (1, 2, 3, 4), 3
EVERY = [(depth, seed) for depth in DEPTHS for seed in range(5, 5 + SEEDS)]
ENGINES = ["local", pytest.param("ray", marks=[pytest.mark.cluster, pytest.mark.xdist_group("ray")])]
drivers = multiprocessing.get_context("forkserver")
drivers.set_forkserver_preload(["tests.driven", "nas.driver"])
Values = Callable[[int, int], float]


def drawn(depth: int, seed: int) -> float:
    """A top-1 that grows with the depth, with as much noise."""
    return float(0.5 + 0.02 * depth + np.random.default_rng([depth, seed]).normal(0, 0.03))


def training(log: Path, top1: Values = drawn, before: Callable[[int, int], None] | None = None, *, weights: bool = False) -> Any:
    """Two epochs, the last with `top1(L3, seed)`; each call adds `L3.seed` to `log`, `before(L3, seed)` may do worse."""

    def answer(config: Any, proxy: Any, seed: int) -> Iterator[ProxyResult]:
        depth = config.depths[2]
        with log.open("a") as file:
            file.write(f"{depth}.{seed}\n")
        if before is not None:
            before(depth, seed)
        for epoch in range(1, proxy.epochs + 1):
            metrics = {"top1": top1(depth, seed) * epoch / proxy.epochs, "loss": 1.0, "seconds": 2.0}
            yield ProxyResult(epoch=epoch, metrics=metrics, fidelity=proxy.fidelity(epochs=epoch, seed=seed))

    def evaluate(config: Any, proxy: Any, *, seed: int) -> Iterator[ProxyResult]:
        yield from answer(config, proxy, seed)

    def writing(config: Any, proxy: Any, *, seed: int, weights: Path) -> Iterator[ProxyResult]:
        for result in answer(config, proxy, seed):
            weights.parent.mkdir(parents=True, exist_ok=True)
            weights.write_text(f"{config.short_name} {seed}")
            yield result

    return writing if weights else evaluate


def study(**settings: Any) -> nas.StudyConfig:
    return depths_study(DEPTHS, **{"epochs": 2, "seed": 5, "seeds": SEEDS, "objectives": ["top1", "flops"], **settings})


def worked(log: Path) -> list[tuple[int, ...]]:
    """Which depth and seed was trained, in order."""
    return [tuple(map(int, line.split("."))) for line in log.read_text().split()]


def pairs(found: Found) -> list[tuple[int, int]]:
    return [(trial.params["l3"], trial.seed) for trial in found.trials]


def mean(depth: int, top1: Values = drawn) -> float:
    return float(np.mean([top1(depth, seed) for seed in range(5, 5 + SEEDS)]))


@pytest.mark.parametrize("engine", ENGINES)
def test_an_exhaustive_search_trains_every_candidate_with_every_seed_once(engine: str, store_url: str, tmp_path: Path) -> None:
    values, workers = {pair: drawn(*pair) for pair in EVERY}, 2 if engine == "ray" else 1
    evaluate = training(tmp_path / "log", lambda depth, seed: values[depth, seed])  # Ray's workers know nothing of this module
    found = Search(config=study(), url=store_url, evaluate=evaluate, engine=engine, workers=workers).run()
    assert Counter(worked(tmp_path / "log")) == Counter(EVERY)
    assert pairs(found) == EVERY  # all seeds of a candidate are begun before the next candidate
    assert found.count(TrialState.COMPLETE) == len(EVERY)
    assert [trial.fidelity["seed"] for trial in found.trials] == [trial.seed for trial in found.trials]
    assert [trial.metrics["top1"] for trial in found.trials] == list(values.values())


@pytest.mark.parametrize("trials", range(1, len(EVERY)))
def test_a_budget_counts_trials_and_the_next_run_takes_up_the_seeds_that_are_missing(trials: int, store_url: str, tmp_path: Path) -> None:
    search = partial(Search, config=study(sampler="random"), url=store_url, evaluate=training(tmp_path / "log"))
    part = search(budget=Budget(trials=trials)).run()
    assert len(part.trials) == trials
    whole = search().run()
    assert Counter(pairs(whole)) == Counter(EVERY) == Counter(worked(tmp_path / "log"))
    assert [len(set(depths)) for depths in np.array(pairs(whole))[:, 0].reshape(-1, SEEDS).tolist()] == [1] * len(DEPTHS)
    assert whole.trials[:trials] == part.trials


def kill_after(log: Path, times: int, depth: int, seed: int) -> None:
    """Kill this process, once, as it begins its training number `times`."""
    if len(worked(log)) == times:
        os.kill(os.getpid(), signal.SIGKILL)


def drive(config: nas.StudyConfig, url: str, make: Callable[[], Any]) -> None:
    Search(config=config, url=url, evaluate=make()).run()


@pytest.mark.parametrize("times", [2, 6])
def test_a_driver_killed_between_the_seeds_of_a_candidate_is_gone_on_from(times: int, store_url: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    killed = drivers.Process(target=drive, args=(study(), store_url, partial(training, log, before=partial(kill_after, log, times))))
    killed.start()
    killed.join(60)
    assert killed.exitcode == -signal.SIGKILL
    found = Search(config=study(), url=store_url, evaluate=training(log)).run()
    assert pairs(found) == EVERY
    assert worked(log) == [*EVERY[:times], *EVERY[times - 1 :]]  # what ran is trained again, and nothing else
    assert found.count(TrialState.COMPLETE) == len(EVERY)
    undisturbed = Search(config=study(), url=store_url, name="other", evaluate=training(tmp_path / "other")).run()
    assert found.table() == undisturbed.table()


def wait_for_both(folder: Path, depth: int, seed: int) -> None:
    """Let a driver wait until the other one trains too, so that neither does all alone."""
    import time

    folder.mkdir(exist_ok=True)
    (folder / str(os.getpid())).touch()
    patience = time.monotonic() + 60
    while len(list(folder.iterdir())) < 2:
        if time.monotonic() > patience:
            raise SystemExit("the other driver has trained nothing within 60 s")  # the end of this driver, not of its trial alone
        time.sleep(0.01)
    time.sleep(0.02)


def test_two_drivers_share_the_seeds_of_a_candidate_and_do_none_twice(shared_store_url: str, tmp_path: Path) -> None:
    config, log = study(sampler="random"), tmp_path / "log"
    Store(shared_store_url).open("s", config.to_dict())
    make = partial(training, log, before=partial(wait_for_both, tmp_path / "crew"))
    crew = [drivers.Process(target=drive, args=(config, shared_store_url, make)) for _ in range(2)]
    for driver in crew:
        driver.start()
    for driver in crew:
        driver.join(120)
    assert [driver.exitcode for driver in crew] == [0, 0]
    found = Search(config=config, url=shared_store_url, evaluate=None).found()
    assert Counter(pairs(found)) == Counter(EVERY) == Counter(worked(log))
    assert {trial.state for trial in found.trials} == {TrialState.COMPLETE}
    by_depth = {depth: {trial.driver for trial in found.trials if trial.params["l3"] == depth} for depth in DEPTHS}
    assert max(map(len, by_depth.values())) == 2


class Recording:
    """Suggests candidates in their order, and keeps what it is told of them."""

    def __init__(self, told: list[tuple[int, Trial]], problem: Problem) -> None:
        self._told, self._free = told, problem.free

    def suggest(self) -> int:
        return int(np.argmax(self._free))

    def begin(self, index: int) -> None:
        """Nothing to note."""

    def learn(self, index: int, trial: Trial) -> None:
        self._told.append((index, trial))


def test_the_sampler_learns_the_mean_of_each_candidate_once_and_the_same_after_a_restart(
    store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[int, Trial]] = []
    monkeypatch.setattr(sampler, "SUGGESTERS", {"random": partial(Recording, told)})
    search = partial(Search, config=study(sampler="random"), url=store_url, evaluate=training(tmp_path / "log"))
    search(budget=Budget(trials=8)).run()
    assert [(index, trial.state) for index, trial in told] == [(0, TrialState.COMPLETE), (1, TrialState.COMPLETE)]
    assert [trial.metrics["top1"] for _, trial in told] == pytest.approx([mean(1), mean(2)])
    told.clear()
    search().run()
    assert [trial.metrics["top1"] for _, trial in told] == pytest.approx([mean(depth) for depth in DEPTHS])
    assert [index for index, _ in told] == [0, 1, 2, 3]


def test_memory_that_runs_out_gives_up_the_other_seeds_and_a_failed_seed_leaves_the_mean_of_the_rest(
    store_url: str, tmp_path: Path
) -> None:
    def trouble(depth: int, seed: int) -> None:
        if depth == 2:
            raise MemoryError
        if (depth, seed) == (3, 5):
            raise RuntimeError("no such kernel")

    heard: list[Progress] = []
    evaluate = training(tmp_path / "log", before=trouble)
    Search(config=study(), url=store_url, evaluate=evaluate, options={"listener": heard.append}).run()
    expected = [pair for pair in EVERY if pair[0] != 2 or pair[1] == 5]
    assert worked(tmp_path / "log") == expected
    assert (heard[-1].done, heard[-1].total) == (9, 9)
    means = {trial.params["l3"]: trial for trial in nas.open_study("s", store=store_url).averages()}
    assert {depth: trial.state.value for depth, trial in means.items()} == {1: "COMPLETE", 2: "INFEASIBLE", 3: "COMPLETE", 4: "COMPLETE"}
    assert means[3].metrics["top1"] == pytest.approx(np.mean([drawn(3, 6), drawn(3, 7)]))
    assert means[3].seed == 6


def lucky(depth: int, seed: int) -> float:
    """The cheapest candidate is the best; the second has one training that looks better than all."""
    return 0.88 if (depth, seed) == (2, 6) else 0.8 - 0.1 * depth


def test_front_progress_target_and_kept_weights_stand_on_the_means(store_url: str, tmp_path: Path) -> None:
    heard: list[Progress] = []
    found = nas.search(
        study(),
        name="s",
        store=store_url,
        engine="local",
        evaluate=training(tmp_path / "log", lucky, weights=True),
        listener=heard.append,
        budget=Budget(until=(Constraint.parse("top1>=85%"),)),
    )
    assert len(found.trials()) == len(EVERY)  # the lucky seed has not ended the search
    assert [(trial.number, trial.metrics["top1"]) for trial in found.front()] == [(0, pytest.approx(0.7))]
    best = [progress.best for progress in heard if progress.best is not None]
    assert {trial.number for trial in best} == {0}
    assert all(progress.best is None for progress in heard if progress.done < SEEDS)
    kept = {weights_file("s", number) for number in range(SEEDS)}
    assert {path.name for path in (tmp_path / "nas-weights" / "s").glob("*.safetensors")} == kept
    assert [artifact.trial for artifact in found.artifacts()] == [0, 1, 2]
    frame = found.frame()
    assert frame[frame.on_front].number.tolist() == [0, 1, 2]


def test_weights_of_a_candidate_are_kept_until_its_last_seed_has_ended(store_url: str, tmp_path: Path) -> None:
    search = partial(nas.search, study(), name="s", store=store_url, engine="local", evaluate=training(tmp_path / "l", lucky, weights=True))
    part = search(trials=5)
    assert [artifact.trial for artifact in part.artifacts()] == [0, 1, 2, 3, 4]
    assert [trial.number for trial in part.front()] == [0]
    assert [artifact.trial for artifact in search(trials=6).artifacts()] == [0, 1, 2]


def printed(command: Callable[..., None], *arguments: str) -> str:
    app = typer.Typer()
    app.command()(command)
    result = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    return result.stdout


def test_the_front_is_printed_with_seeds_and_spread_and_every_trial_with_its_seed(store_url: str, tmp_path: Path) -> None:
    nas.search(study(), name="s", store=store_url, engine="local", evaluate=training(tmp_path / "log"), trials=10)
    rows = json.loads(printed(commands.pareto, "s", "--store", store_url, "--format", "json"))
    front = nas.open_study("s", store=store_url).front()
    assert [(row["trial"], row["top1"], row["seeds"]) for row in rows] == [(one.number, one.metrics["top1"], SEEDS) for one in front]
    stds = {depth: np.std([drawn(depth, seed) for seed in (5, 6, 7)], ddof=1) for depth in DEPTHS}
    assert [row["top1_std"] for row in rows] == pytest.approx([stds[row["l3"]] for row in rows])
    table = printed(commands.pareto, "s", "--store", store_url)
    assert "top1 (maximize) against flops (minimize), means over 3 seeds" in table
    assert " ± " in table
    assert f"{len(front)} of 3 candidates that have all of their 3 seeds" in table
    assert "points of top-1 between means over 3 seeds are noise" in table
    shown = json.loads(printed(commands.show, "s", "--store", store_url, "--format", "json"))
    assert [(row["l3"], row["seed"]) for row in shown] == EVERY[:10]


def test_progress_names_the_seed_of_each_trial_and_calls_the_best_a_mean(
    store_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for seeds in (SEEDS, 1):
        name, view = f"of {seeds}", ProgressView(Objective.of("top1"))
        config = study(seeds=seeds)
        nas.search(config, name=name, store=store_url, engine="local", evaluate=training(tmp_path / name, lucky), listener=view)
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("[")]
    assert lines[1].startswith("[2/12] trial 1 complete: 16,8,1,1 seed 6, top-1 70.0% after epoch 2; best none yet")
    assert "; best top-1 70.0% (16,8,1,1, mean over its seeds)" in lines[4]
    assert lines[12].startswith("[1/4] trial 0 complete: 16,8,1,1, top-1 70.0% after epoch 2; best top-1 70.0% (16,8,1,1)")


def test_a_study_of_one_seed_says_nothing_of_seeds(store_url: str, tmp_path: Path) -> None:
    config = study(seeds=1)
    assert "seeds" not in config.to_dict()
    nas.search(config, name="s", store=store_url, engine="local", evaluate=training(tmp_path / "log"))
    for command in (commands.pareto, commands.show):
        (row, *_) = json.loads(printed(command, "s", "--store", store_url, "--format", "json"))
        assert not {"seed", "seeds", "top1_std"} & set(row)
        assert "±" not in printed(command, "s", "--store", store_url)
    assert "seeds" not in nas.open_study("s", store=store_url).frame().columns


def test_results_are_taken_over_from_trainings_with_the_same_seed_only(store_url: str, tmp_path: Path) -> None:
    def run(name: str, **settings: Any) -> nas.Study:
        options = {"store": store_url, "engine": "local", "evaluate": training(tmp_path / name), "reuse": settings.pop("reuse", ())}
        return nas.search(study(**settings), name=name, **options)

    run("six", seed=6, seeds=1)
    run("two", seed=7, seeds=2)
    taken = run("all", reuse=["six", "two"])
    assert Counter(worked(tmp_path / "all")) == Counter((depth, 5) for depth in DEPTHS)
    origins = {(trial.params["l3"], trial.seed): trial.reason for trial in taken.trials()}
    assert origins[3, 6] == "taken over from study six, trial 2"
    assert origins[3, 7] == "taken over from study two, trial 4"
    assert [trial.metrics["top1"] for trial in taken.averages()] == pytest.approx([mean(depth) for depth in DEPTHS])


def recorded(url: str, name: str, config: nas.StudyConfig, top1: Values, seconds: float) -> nas.Study:
    """A study whose trials have ended in the order of the depths, each after `seconds`."""
    store = Store(url)
    stored = store.open(name, config.to_dict())
    for candidate in config.space.feasible():
        assert candidate.config is not None
        assert candidate.cost is not None
        for seed in config.trial_seeds:
            new = NewTrial(params=dict(candidate.params), seed=seed, model=candidate.config.to_dict(), cost={"flops": candidate.cost.flops})
            (trial,) = store.add(stored, [new])
            store.start(trial)
            metrics = {"top1": top1(int(str(candidate.params["l3"])), seed), "seconds": seconds}
            store.report(trial, Report(2, metrics), fidelity=config.proxy.fidelity(epochs=2, seed=seed))
            store.finish(trial, TrialState.COMPLETE)
    return nas.Study(store, stored)


def test_a_comparison_counts_candidates_by_their_means_and_by_what_all_seeds_spent(store_url: str, tmp_path: Path) -> None:
    several = compare(recorded(store_url, "several", study(sampler="random"), drawn, 2.0), orders=199)
    single = compare(recorded(store_url, "single", study(sampler="random", seeds=1), lambda depth, _: mean(depth), 6.0), orders=199)
    assert (several.candidates, several.trials, several.seeds) == (4, 4, 3)
    assert several.budget == pytest.approx(single.budget)
    assert (several.own.mean, several.own.final) == pytest.approx((single.own.mean, single.own.final))
    assert several.chance.p == single.chance.p
    one = nas.search(study(), name="one", store=store_url, engine="local", evaluate=training(tmp_path / "log"), trials=2)
    with pytest.raises(nas.NasError, match="study 'one' has no candidate that has all of its 3 seeds to compare"):
        compare(one, orders=199)
    with pytest.raises(ValueError, match="differ in seeds"):
        compare(nas.open_study("several", store=store_url), [nas.open_study("single", store=store_url)], orders=199)


def test_a_table_answers_each_seed_and_one_that_knows_no_seeds_is_refused(store_url: str, tmp_path: Path) -> None:
    frame = recorded(store_url, "base", study(), drawn, 2.0).frame()
    path = tmp_path / "base.csv"
    frame.to_csv(path, index=False)
    found = nas.search(study(evaluator=f"table:{path}"), name="s", store=store_url, engine="local")
    assert [trial.metrics["top1"] for trial in found.averages()] == pytest.approx([mean(depth) for depth in DEPTHS])
    part = compare(nas.search(study(evaluator=f"table:{path}"), name="p", store=store_url, engine="local", trials=7), orders=199)
    assert (part.candidates, part.trials) == (4, 3)  # the third one's further seeds are to come: it has spent, and brings nothing
    frame.drop_duplicates("param_l3").drop(columns="seed").to_csv(path, index=False)
    with pytest.raises(ValueError, match=r"base\.csv has no column seed and would answer all 3 seeds alike"):
        nas.search(study(evaluator=f"table:{path}"), name="t", store=store_url, engine="local")


def test_a_table_that_lacks_a_seed_is_told_before_the_search(store_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    frame = recorded(store_url, "base", study(), drawn, 2.0).frame()
    path = tmp_path / "base.csv"
    frame.iloc[1:].to_csv(path, index=False)
    nas.search(study(evaluator=f"table:{path}"), name="s", store=store_url, engine="local")
    assert "base.csv lacks 1 of 4 feasible candidates, of the seeds 5 to 7 each: channels=16" in caplog.text
    assert pd.read_csv(path)["seed"].tolist()[:2] == [6, 7]


def test_further_seeds_leave_the_number_of_candidates_as_it_is_unless_trials_are_asked_for() -> None:
    assert wanted_trials(study(), Budget(), 1000) == 64 * SEEDS
    assert wanted_trials(study(seeds=1), Budget(), 1000) == 64
    assert wanted_trials(study(), Budget(trials=10), 1000) == 10
    with pytest.raises(ValueError, match=r"seeds lie below 2\^32, got 3 of them from seed 4294967294 on; give a smaller seed"):
        study(seed=2**32 - 2)
    assert study(seed=2**32 - SEEDS).trial_seeds[-1] == 2**32 - 1
