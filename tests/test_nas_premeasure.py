"""What is measured of candidates before training: once, together, kept over kills, and what a screen makes of it."""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import nas
from dashboard.charts import front_figure
from nas.config import LatencyConfig, Screen
from nas.flags import study_config
from nas.premeasure import LISTED, MAX_MEASURED, Measures, Plan, Premeasuring, screened
from nas.progress_record import Progress
from searchspace.cost import COST_METRICS
from searchspace.model_config import ModelConfig
from searchspace.score_table import SCORE_TABLE
from searchspace.sizes import Limit
from searchspace.space import SearchSpace
from searchspace.spaces import stacking_space, wide_stacking_space
from studies.provenance import provenance
from studies.records import METRICS, TrialState
from studies.store import Store, StudyMismatch
from trainer.latency_setting import Latency, LatencySetting, OutOfMemory
from trainer.proxy_config import ProxyConfig, ProxyResult

DEPTHS = range(1, 9)
SPACE = stacking_space(channels=[16], group_channels=[8], l1=[1], l3=DEPTHS)
PROXY = ProxyConfig(epochs=1)


def study_of(*objectives: str, **settings: Any) -> nas.StudyConfig:
    return nas.StudyConfig(space=SPACE, proxy=PROXY, objectives=objectives, **settings)


class Bench:
    """Made-up scores and latencies by L3, and a record of who was measured, trained and in which order."""

    def __init__(self, score: Callable[[int], float] = lambda l3: l3 * 7 % 5 + l3 / 100) -> None:
        self.log: list[tuple[str, Any]] = []
        self._score = score
        self.measures = Measures(self.scores, self.latency_ms)

    def scores(self, config: ModelConfig, proxy: ProxyConfig, names: Sequence[str], *, seed: int) -> Mapping[str, float]:
        self.log.append(("score", config.depths[2]))
        return {name: self._score(config.depths[2]) for name in names}

    def latency_ms(self, configs: Sequence[ModelConfig], setting: LatencySetting) -> Sequence[float]:
        self.log.append(("latency", [config.depths[2] for config in configs]))
        self.setting = setting
        return [100.0 - config.depths[2] for config in configs]

    def evaluate(self, config: ModelConfig, proxy: ProxyConfig, *, seed: int) -> Iterator[ProxyResult]:
        self.log.append(("train", config.depths[2]))
        yield ProxyResult(epoch=1, metrics={"top1": config.depths[2] / 10}, fidelity=proxy.fidelity(epochs=1, seed=seed))

    def search(self, config: nas.StudyConfig, url: str, **options: Any) -> nas.Study:
        return nas.search(config, store=url, **{"engine": "local", "evaluate": self.evaluate, "measures": self.measures, **options})

    def plan(self, config: nas.StudyConfig, url: str) -> Plan:
        store = Store(url)
        return Premeasuring(store, store.open("planned", config.to_dict()), config, self.measures, None).plan()

    def logged(self, kind: str) -> list[Any]:
        return [what for known, what in self.log if known == kind]


def test_everything_is_measured_before_the_first_trial_trains(store_url: str) -> None:
    bench = Bench()
    study = bench.search(study_of("top1", "latency_ms", "naswot"), store_url)
    assert [kind for kind, _ in bench.log] == ["score"] * 8 + ["latency"] + ["train"] * 8
    assert bench.logged("latency") == [list(DEPTHS)]
    assert (bench.setting.device, bench.setting.batch_size, bench.setting.image_size) == ("cpu", 1, 224)
    for trial in study.trials():
        l3 = trial.params["l3"]
        assert trial.premeasured == {"latency_ms": 100.0 - l3, "naswot": l3 * 7 % 5 + l3 / 100}
        assert (trial.value("latency_ms"), trial.value("top1"), trial.value("params")) == (100.0 - l3, l3 / 10, trial.cost["params"])
        assert trial.fidelity["latency"] == {"device": "cpu", "batch_size": 1, "image_size": 224, "precision": "float32"}
    assert study.frame().latency_ms.tolist() == [100.0 - l3 for l3 in DEPTHS]
    assert study.front()[0].params["l3"] == 8


def test_a_front_is_drawn_against_what_was_measured_before_training(store_url: str) -> None:
    study = Bench().search(study_of("top1", "latency_ms", screen=Screen(score="zen", keep=1)), store_url)
    figure = front_figure(study.frame(), study.objectives)
    assert (figure.layout.xaxis.title.text, figure.layout.yaxis.title.text) == ("latency (ms)", "top-1 (%)")
    assert sorted(x for trace in figure.data for x in trace.x) == [100.0 - l3 for l3 in reversed(DEPTHS)]
    assert "latency 92.00\u202fms" in figure.data[-1].hovertext[0]
    assert "Zen" in figure.data[-1].hovertext[0]


def test_a_killed_pass_goes_on_and_measures_nothing_twice(any_store_url: str) -> None:
    bench = Bench()
    config = study_of("top1", "latency_ms", "zen")

    def kill(progress: Progress) -> None:
        if len(bench.logged("score")) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bench.search(config, any_store_url, listener=kill)
    for _ in range(2):
        study = bench.search(config, any_store_url)
    assert Counter(bench.logged("score")) == dict.fromkeys(DEPTHS, 1)
    assert len(bench.logged("latency")) == 1
    assert all(set(trial.premeasured) == {"latency_ms", "zen"} for trial in study.trials())


def test_a_listener_hears_what_is_measured_and_how_far_it_is(store_url: str) -> None:
    heard: list[Progress] = []
    Bench().search(study_of("top1", "zen", "latency_ms"), store_url, listener=heard.append, trials=1)
    stages = [(progress.stage, progress.done, progress.total) for progress in heard if progress.stage]
    assert stages[:8] == [("measuring zen", done, 8) for done in range(8)]
    assert stages[8:] == [("measuring latency on cpu at batch 1, 224 px, float32", done, 8) for done in (0, 8)]
    assert heard[-1].stage is None


def test_a_screen_trains_the_best_share_and_gives_the_rest_its_reason(store_url: str) -> None:
    bench = Bench(score=lambda l3: 800 + l3 + 0.125)
    config = study_of("top1", "flops", screen=Screen(score="naswot", keep=0.3))
    for trials in (1, None):
        study = bench.search(config, store_url, trials=trials)
        trained = [trial for trial in study.trials() if trial.state is TrialState.COMPLETE]
        assert len(trained) == (trials or 3)
    assert sorted(bench.logged("train")) == [6, 7, 8]
    left_out = {trial.params["l3"]: trial for trial in study.trials() if trial.state is TrialState.INFEASIBLE}
    assert set(left_out) == {1, 2, 3, 4, 5}
    assert left_out[5].reason == "screened: naswot 805.125 is not among the best 3 of 8 (needs 806.125)"
    assert left_out[5].premeasured == {"naswot": 805.125}
    assert len(bench.logged("score")) == 8


def test_a_screen_measures_the_latency_only_of_those_that_pass(store_url: str) -> None:
    bench = Bench(score=lambda l3: -l3)
    bench.search(study_of("top1", "latency_ms", screen=Screen(score="zen")), store_url)
    assert bench.logged("latency") == [[1, 2, 3, 4]]


def test_a_constant_score_screens_nothing_and_says_so(store_url: str, caplog: pytest.LogCaptureFixture) -> None:
    heard: list[Progress] = []
    bench = Bench(score=lambda l3: 5.0)
    bench.search(study_of("top1", screen=Screen(score="zen", keep=0.1)), store_url, listener=heard.append)
    assert len(bench.logged("train")) == 8
    note = "zen is 5 for all 8 candidates, so it screens none of them"
    assert caplog.messages == [note]
    assert note in [progress.stage for progress in heard]


def test_a_screen_by_cost_measures_nothing(store_url: str) -> None:
    bench = Bench()
    study = bench.search(study_of("top1", screen=Screen(score="params", keep=0.25)), store_url)
    assert bench.logged("score") == []
    assert sorted(bench.logged("train")) == [7, 8]  # more parameters promise more
    assert "screened: params" in (study.trial(0).reason or "")


values = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=40)


@given(values, st.floats(0.001, 1), st.sampled_from(["naswot", "zen"]), st.randoms(use_true_random=False))
def test_who_passes_a_screen_is_no_worse_than_who_does_not(scores: list[float], keep: float, score: str, random: Any) -> None:
    screen = Screen(score=score, keep=keep)
    reasons = screened(scores, screen)
    passed = sorted(value for value, reason in zip(scores, reasons, strict=True) if reason is None)
    out = [value for value, reason in zip(scores, reasons, strict=True) if reason is not None]
    best = math.ceil(keep * len(scores) - 1e-6)
    assert len(passed) >= best
    assert all(value > other for value in passed for other in out)
    assert len(passed) - passed.count(passed[0]) < best  # only ties with the last make it more
    shuffled = random.sample(scores, len(scores))
    assert sorted(v for v, reason in zip(shuffled, screened(shuffled, screen), strict=True) if reason is None) == passed


def test_a_share_is_rounded_up_without_what_floats_add() -> None:
    assert [screened([*map(float, range(10))], Screen(score="zen", keep=keep)).count(None) for keep in (0.7, 0.71, 0.001, 1)] == [
        7,
        8,
        1,
        10,
    ]


@pytest.mark.parametrize("engine", ["local", "ray"])
def test_a_study_without_a_trained_objective_trains_nothing(engine: str, store_url: str) -> None:
    bench = Bench()
    study = bench.search(study_of("naswot", "latency_ms", "flops"), store_url, engine=engine, evaluate=pytest.fail)
    assert {trial.state for trial in study.trials()} == {TrialState.COMPLETE}
    assert len(study.trials()) == 8
    assert {trial.fidelity["epochs"] for trial in study.trials()} == {0}
    assert study.store.reports(study.record) == {}
    assert bench.logged("train") == []
    assert not (study.store.artifacts.of(study.record))
    assert provenance(study.name, study.trial(0))["premeasured"] == study.trial(0).premeasured
    assert {trial.params["l3"] for trial in study.front()} == set(DEPTHS)  # each later one is faster and dearer


def test_a_study_of_costs_alone_takes_every_candidate_and_says_that_nothing_was_trained(store_url: str) -> None:
    space = stacking_space(channels=[16, 32], group_channels=[8], l1=[1], l3=range(1, 36))
    study = nas.search(nas.StudyConfig(space=space, objectives=["params", "activations"]), store=store_url)
    assert sum(trial.state is TrialState.COMPLETE for trial in study.trials()) == 70
    assert study.trials()[0].fidelity == {"epochs": 0}
    assert len(study.front()) == 1


def test_a_candidate_that_cannot_be_measured_is_left_out_with_the_reason(store_url: str) -> None:
    def score(l3: int) -> float:
        if l3 == 2:
            raise MemoryError("tried to allocate 9 GiB")
        return -math.inf if l3 == 3 else l3

    bench = Bench(score)
    for _ in range(2):
        study = bench.search(study_of("top1", "naswot"), store_url)
    found = {trial.params["l3"]: trial.reason for trial in study.trials() if trial.state is TrialState.INFEASIBLE}
    assert found == {2: "out of memory while measuring naswot: tried to allocate 9 GiB", 3: "naswot is -inf"}
    assert Counter(bench.logged("train")) == dict.fromkeys([1, 4, 5, 6, 7, 8], 1)


def test_candidates_of_which_none_can_be_measured_are_one_clear_error(store_url: str) -> None:
    with pytest.raises(nas.NasError, match="none of the 8 candidates can be measured; the first: zen is nan"):
        Bench(lambda l3: math.nan).search(study_of("zen"), store_url)


def test_a_network_too_large_for_its_latency_leaves_the_others_to_be_measured(store_url: str) -> None:
    bench = Bench()

    def latency_ms(configs: Sequence[ModelConfig], setting: LatencySetting) -> Sequence[float]:
        for config in configs:
            if config.depths[2] in (2, 5):
                raise OutOfMemory(config, "no room")
        return bench.latency_ms(configs, setting)

    config = study_of("latency_ms", latency=LatencyConfig(batch_size=64))
    study = bench.search(config, store_url, measures=Measures(bench.scores, latency_ms))
    assert bench.logged("latency") == [[1, 3, 4, 6, 7, 8]]
    assert {trial.params["l3"]: trial.reason for trial in study.trials() if trial.reason} == dict.fromkeys(
        [2, 5], "out of memory while measuring latency on cpu at batch 64, 224 px, float32"
    )


def test_too_many_candidates_to_measure_are_refused_before_there_is_a_store(store_url: str, tmp_path: Any) -> None:
    space = stacking_space(channels=[16], group_channels=[8], l1=[1], l3=range(1, MAX_MEASURED + 2))
    config = nas.StudyConfig(space=space, objectives=["top1", "latency_ms"])
    with pytest.raises(ValueError, match=r"2,001 feasible candidates are too many to measure latency of each .* narrow the domains"):
        Bench().search(config, store_url)
    assert list(tmp_path.iterdir()) == []


def test_every_score_is_a_metric_under_its_own_label_and_direction() -> None:
    scores = {name: facts for name, facts in SCORE_TABLE.items() if name not in COST_METRICS}
    premeasured = {name: metric for name, metric in METRICS.items() if metric.origin == "premeasured"}
    assert set(premeasured) == {*scores, "latency_ms"}
    for name, facts in scores.items():
        assert (METRICS[name].label, METRICS[name].direction) == (facts.label, facts.direction)
    assert {name for name, metric in METRICS.items() if metric.origin == "cost"} == {*COST_METRICS, "memory"}


OLD = {  # as version 0.3.0 stored it
    "space": stacking_space().to_dict(),
    "proxy": {
        "dataset": "digits", "image_size": 32, "epochs": 4, "train_fraction": 0.5, "channel_divisor": 4, "batch_size": 32,
        "recipe": "proxy", "device": "cpu", "threads": 1,
    },
    "objectives": [{"metric": "top1", "direction": "maximize"}, {"metric": "flops", "direction": "minimize"}],
    "sampler": "auto",
    "seed": 0,
}  # fmt: skip


def test_a_study_of_version_0_3_0_opens_and_is_the_same_study(store_url: str) -> None:
    as_then = nas.StudyConfig(proxy=ProxyConfig(epochs=4))
    assert nas.StudyConfig.from_dict(OLD) == as_then
    assert as_then.to_dict() == OLD


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"screen": Screen(score="zen")}, r"screen is null, asked \{"),
        ({"latency": LatencyConfig(batch_size=8)}, r"latency is null, asked \{"),
    ],
)
def test_a_screen_and_a_latency_s_terms_are_part_of_a_study(store_url: str, changes: dict[str, Any], difference: str) -> None:
    plain, other = study_of("top1", "latency_ms"), study_of("top1", "latency_ms", **changes)
    assert nas.StudyConfig.from_dict(other.to_dict()) == other
    Bench().search(plain, store_url, trials=1)
    with pytest.raises(StudyMismatch, match=difference):
        Bench().search(other, store_url)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"screen": {"score": "beauty"}}, "screen: unknown score 'beauty'; known: synflow"),
        ({"screen": {"score": "zen", "keep": 0}}, r"screen: keep must lie in \(0, 1\], got 0"),
        ({"latency": {"batch_size": 0}}, "latency: batch_size must be whole and at least 1, got 0"),
        ({"latency": {"device": "tpu"}}, "latency: device must be cpu or cuda"),
        ({"screen": {"sieve": 1}}, "screen: unknown key 'sieve'; known: score, keep"),
    ],
)
def test_a_screen_or_a_latency_that_makes_no_sense_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        nas.StudyConfig.from_dict(values)


def test_flags_say_what_is_screened_and_at_what_latency_is_measured() -> None:
    flags = {"screen": "naswot", "keep": "25%", "objective": ["top1", "latency_ms"], "latency_batch": 8, "latency_size": 64}
    config = study_config(None, {**flags, "precision": "bfloat16", "recipe": "published"})
    assert config.screen == Screen(score="naswot", keep=0.25)
    assert config.latency == LatencyConfig(batch_size=8, image_size=64)
    assert (config.proxy.precision, config.proxy.recipe) == ("bfloat16", "published")
    for wrong, message in (
        ({"keep": "0.5"}, "--keep goes with --screen SCORE"),
        ({"latency_size": 64}, "--latency-size goes with --objective latency_ms"),
        ({"screen": "zen", "keep": "0"}, r"a fraction must lie in \(0, 1\]"),
    ):
        with pytest.raises(ValueError, match=message):
            study_config(None, wrong)


def test_the_real_scores_and_latency_are_what_is_measured_by_default(store_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[LatencySetting] = []

    def measure_latency(configs: Sequence[ModelConfig], setting: LatencySetting) -> list[Latency]:
        asked.append(setting)
        interval = {"ratio": 1.0, "ratio_low": 1.0, "ratio_high": 1.0, "rounds": 30}
        return [Latency(median_ms=config.depths[2], low_ms=0.0, high_ms=9.0, **interval) for config in configs]

    monkeypatch.setattr("trainer.latency.measure_latency", measure_latency)  # it takes a minute
    space = stacking_space(channels=[16], group_channels=[8], l1=[1], l3=[1, 2])
    latency = LatencyConfig(batch_size=2, image_size=32, precision="bfloat16", rounds=30)
    config = nas.StudyConfig(space=space, objectives=["zen", "latency_ms", "params"], latency=latency, seed=3)
    shallow, deep = nas.search(config, store=store_url).trials()
    assert shallow.premeasured["zen"] < deep.premeasured["zen"]
    assert (shallow.premeasured["latency_ms"], deep.premeasured["latency_ms"]) == (1.0, 2.0)
    assert asked == [LatencySetting(device="cpu", batch_size=2, image_size=32, precision="bfloat16", rounds=30, seed=3)]


def test_a_small_space_is_planned_with_every_candidate_that_is_not_trained(store_url: str) -> None:
    plan = Bench().plan(nas.StudyConfig(space=stacking_space(), screen=Screen(score="flops", keep=0.5)), store_url)
    assert (len(plan.feasible), len(plan.rejected)) == (10, 20)
    assert [candidate.params for candidate in stacking_space().enumerate() if plan.feasible.index(candidate.params) is None] == [
        candidate.params for candidate in plan.rejected
    ]
    reasons = Counter((candidate.reason or "").split(":")[0].split(",")[0] for candidate in plan.rejected)
    assert reasons == {"channels must be a multiple of group_channels": 10, "L1 must not exceed L3 (rule 4)": 1, "screened": 9}


def test_a_large_space_is_planned_and_screened_by_cost_without_building_a_candidate(
    store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = wide_stacking_space(limits=[Limit.parse("flops<=8G")])
    monkeypatch.setattr(SearchSpace, "candidate", pytest.fail)
    monkeypatch.setattr(SearchSpace, "enumerate", pytest.fail)
    whole = Bench().plan(nas.StudyConfig(space=space), store_url)
    assert len(whole.feasible) == len(space.feasible_set()) > LISTED
    half = Bench().plan(nas.StudyConfig(space=space, objectives=["top1"], screen=Screen(score="params", keep=0.5)), store_url + "half")
    assert len(half.feasible) == pytest.approx(len(whole.feasible) / 2, abs=20)  # ties pass together
    assert half.feasible.costs("params").min() >= sorted(whole.feasible.costs("params"))[len(whole.feasible) // 2]
    assert not whole.rejected
    assert not half.rejected


def test_what_is_measured_in_vain_has_its_reason_in_a_large_space_too(store_url: str) -> None:
    space = stacking_space(channels=[16], group_channels=[8], l1=[1], l3=range(1, LISTED + 2), limits=[Limit.parse("params<=2M")])
    deepest = len(space.feasible_set())
    assert deepest > 10
    bench = Bench(score=lambda l3: math.nan if l3 == 2 else l3)
    plan = bench.plan(nas.StudyConfig(space=space, screen=Screen(score="zen", keep=0.25)), store_url)
    assert bench.logged("score") == list(range(1, deepest + 1))
    passed = [plan.feasible.candidate(index).params["l3"] for index in range(len(plan.feasible))]
    assert passed == list(range(deepest + 1 - math.ceil((deepest - 1) / 4), deepest + 1))
    reasons = {candidate.params["l3"]: candidate.reason or "" for candidate in plan.rejected}
    assert list(reasons) == [l3 for l3 in range(1, deepest + 1) if l3 not in passed]
    assert reasons.pop(2) == "zen is nan"
    assert all(f"screened: zen {l3} is not among the best" in reason for l3, reason in reasons.items())
    assert plan.premeasured(plan.rejected[0]) == {"zen": 1.0}
    assert plan.premeasured(plan.feasible.candidate(0)) == {"zen": passed[0]}
