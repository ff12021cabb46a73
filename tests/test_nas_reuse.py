"""Results of other studies stand for a training only where it would be the same training."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nas.config import StudyConfig
from nas.reuse import Reuse
from searchspace.space import Candidate
from searchspace.spaces import stacking_space
from studies.database import StoreError
from studies.records import NewTrial, Report, TrialState
from studies.store import Store
from trainer.dataset_spec import parse_dataset
from trainer.packing.cache import opened
from trainer.proxy_config import ProxyConfig

SPACE = stacking_space(channels=(48, 64), group_channels=(16,), l1=(1,), l3=(3, 5))
PROXY = {"epochs": 2}


@pytest.fixture
def store(store_url: str) -> Store:
    return Store(store_url)


def config(proxy: Mapping[str, Any] | None = None, **changes: Any) -> StudyConfig:
    return StudyConfig(**{"space": SPACE, "proxy": ProxyConfig(**{**PROXY, **(proxy or {})}), **changes})


def first() -> Candidate:
    return SPACE.feasible()[0]


def trained(
    store: Store,
    name: str,
    config: StudyConfig,
    *,
    state: TrialState = TrialState.COMPLETE,
    fingerprint: str | None = None,
    top1: float = 0.8,
) -> None:
    """A study with one trial, of the space's first candidate, trained for every epoch."""
    study = store.open(name, config.to_dict())
    candidate = first()
    assert candidate.config is not None
    new = NewTrial(params=dict(candidate.params), seed=config.seed, model=candidate.config.to_dict(), cost={"flops": 1})
    (trial,) = store.add(study, [new])
    store.start(trial)
    for epoch in range(1, config.proxy.epochs + 1):
        fidelity = config.proxy.fidelity(epochs=epoch, seed=config.seed, fingerprint=fingerprint)
        metrics = {"top1": top1 * epoch, "loss": 0.5, "seconds": 3.0 * epoch}
        store.report(trial, Report(epoch, metrics), fidelity={**fidelity, **config.latency_fidelity})
    store.finish(trial, state)


def test_the_same_training_is_taken_over_epoch_by_epoch_with_its_origin(store: Store) -> None:
    trained(store, "base", config(sampler="random"))
    reused = Reuse(store, ["base"], config(sampler="tpe")).of(first())
    assert reused is not None
    assert [(report.step, report.metrics["seconds"]) for report in reused.reports] == [(1, 3.0), (2, 6.0)]
    assert reused.fidelity == config().proxy.fidelity(epochs=2, seed=0)
    assert reused.origin == "study base, trial 0"


def test_other_candidates_still_have_to_be_trained(store: Store) -> None:
    trained(store, "base", config())
    reuse = Reuse(store, ["base"], config())
    assert len(reuse) == 1
    assert [reuse.of(candidate) is not None for candidate in SPACE.feasible()] == [True, False, False, False]


def test_the_same_variant_of_another_space_counts(store: Store) -> None:
    trained(store, "base", config())
    wider = stacking_space(channels=(48, 80), group_channels=(16, 32), l1=(1, 2), l3=(3, 4, 5))
    found = [candidate for candidate in wider.feasible() if Reuse(store, ["base"], config(space=wider)).of(candidate)]
    assert [candidate.config for candidate in found] == [first().config]


@pytest.mark.parametrize(
    "other",
    [
        config(seed=1),
        config({"epochs": 3}),
        config({"image_size": 64}),
        config({"dataset": "shapes:2000"}),
        config({"train_fraction": 1.0}),
        config({"channel_divisor": 2}),
        config({"batch_size": 16}),
        config({"drop_path_rate": 0.3}),
        config({"precision": "bfloat16"}),
    ],
)
def test_what_was_trained_otherwise_is_not_taken_over(store: Store, other: StudyConfig) -> None:
    trained(store, "base", other)
    assert Reuse(store, ["base"], config()).of(first()) is None
    assert Reuse(store, ["base"], other).of(first()) is not None


@pytest.mark.parametrize("state", [TrialState.PRUNED, TrialState.FAILED, TrialState.INFEASIBLE])
def test_only_complete_trials_are_taken_over(store: Store, state: TrialState) -> None:
    trained(store, "base", config(), state=state)
    assert Reuse(store, ["base"], config()).of(first()) is None


def test_where_it_was_trained_matters_only_to_how_long_it_took(store: Store) -> None:
    trained(store, "base", config({"threads": 2}))
    assert Reuse(store, ["base"], config()).of(first()) is not None
    assert Reuse(store, ["base"], config(objectives=("top1", "seconds"))).of(first()) is None
    assert Reuse(store, ["base"], config({"threads": 2}, objectives=("top1", "seconds"))).of(first()) is not None


def test_a_result_without_an_objective_of_this_study_is_no_result(store: Store) -> None:
    trained(store, "base", config())
    assert Reuse(store, ["base"], config(objectives=("top5",))).of(first()) is None
    assert Reuse(store, ["base"], config(objectives=("top1", "params"), require=("top5>=0.9",))).of(first()) is None


def test_latency_is_measured_apart_and_does_not_matter(store: Store) -> None:
    trained(store, "base", config(objectives=("top1", "latency_ms")))
    reused = Reuse(store, ["base"], config()).of(first())
    assert reused is not None
    assert "latency" not in reused.fidelity


def test_of_several_studies_the_first_named_answers(store: Store) -> None:
    trained(store, "one", config(), top1=0.3)
    trained(store, "two", config(), top1=0.4)
    reused = Reuse(store, ["two", "one"], config()).of(first())
    assert reused is not None
    assert reused.origin == "study two, trial 0"


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("NAS_DATA_CACHE", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    for label in ("cat", "dog"):
        for i in range(5):
            path = tmp_path / "images" / label / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(path)
    return f"imagefolder:{tmp_path / 'images'}"


def test_data_from_files_must_hold_the_same_wherever_they_lie(store: Store, images: str) -> None:
    fingerprint = opened(parse_dataset(images), 32).meta.fingerprint
    trained(store, "same", config({"dataset": "imagefolder:/another/machine"}), fingerprint=fingerprint)
    trained(store, "changed", config({"dataset": images}), fingerprint="0" * 64)
    assert Reuse(store, ["same"], config({"dataset": images})).of(first()) is not None
    assert Reuse(store, ["changed"], config({"dataset": images})).of(first()) is None


def test_an_unknown_study_is_refused_and_a_table_needs_no_reuse(store: Store) -> None:
    trained(store, "base", config())
    with pytest.raises(StoreError, match=r"no study 'bse' .*known: base"):
        Reuse(store, ["bse"], config())
    with pytest.raises(ValueError, match=r"table:x\.csv answers at once, so leave reuse out"):
        Reuse(store, ["base"], config(evaluator="table:x.csv"))


def test_a_study_that_trains_nothing_takes_nothing_over(store: Store) -> None:
    trained(store, "base", config())
    assert len(Reuse(store, ["base"], config(objectives=("params", "flops")))) == 0
