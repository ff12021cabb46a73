"""The door from a search to training: declared, repeatable, and blind to the test images."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import trainer.proxy
from searchspace.recipes import RECIPES
from searchspace.stacking import stack
from trainer.data import load_dataset
from trainer.noise import least_significant_difference, noise_points
from trainer.optim import lr_factor, make_optimizer
from trainer.proxy import run_proxy
from trainer.proxy_config import ProxyConfig, ProxyResult

SMALL = stack(32, 16, 1, 2)
QUICK = ProxyConfig(epochs=3, train_fraction=0.3)


def metrics(results: Iterator[ProxyResult]) -> list[tuple[float, float]]:
    return [(result.metrics["top1"], result.metrics["loss"]) for result in results]


def test_the_same_seed_gives_the_same_metrics_to_the_bit_whatever_else_draws_numbers() -> None:
    quick = replace(QUICK, epochs=2, train_fraction=0.1)
    first = metrics(run_proxy(SMALL, quick, seed=3))
    torch.manual_seed(99)
    disturbed = []
    for result in run_proxy(SMALL, quick, seed=3):
        torch.rand(7)
        disturbed.append((result.metrics["top1"], result.metrics["loss"]))
    assert disturbed == first
    assert metrics(run_proxy(SMALL, quick, seed=4)) != first


def test_a_proxy_learns_and_reports_every_epoch_with_its_fidelity() -> None:
    results = list(run_proxy(SMALL, replace(QUICK, epochs=4, train_fraction=0.5), seed=0))
    assert [result.epoch for result in results] == [1, 2, 3, 4]
    assert results[-1].metrics["top1"] > 0.5  # chance is 0.1
    assert results[-1].metrics["loss"] < results[0].metrics["loss"]
    assert results[1].fidelity == {
        "dataset": "digits",
        "synthetic": False,
        "image_size": 32,
        "epochs": 2,
        "train_fraction": 0.5,
        "channel_divisor": 4,
        "batch_size": 32,
        "recipe": "proxy",
        "seed": 0,
    }


def test_drawn_shapes_are_learnt_but_not_exhausted_at_proxy_length() -> None:
    proxy = ProxyConfig(dataset="shapes:1500", train_fraction=1.0)
    *_, last = run_proxy(SMALL, proxy, seed=0)
    assert 0.15 < last.metrics["top1"] < 0.9  # chance is 0.1
    assert last.fidelity["synthetic"] is True


def test_a_proxy_leaves_the_process_as_it_found_it() -> None:
    threads, state = torch.get_num_threads(), torch.random.get_rng_state()
    torch.set_num_threads(threads + 1)
    try:
        list(run_proxy(SMALL, replace(QUICK, epochs=1, train_fraction=0.05, threads=1), seed=0))
        assert torch.get_num_threads() == threads + 1
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_search_never_sees_the_test_images(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = load_dataset("digits", seed=0)
    blind = SimpleNamespace(train=whole.train, validation=whole.validation, num_classes=10, fingerprint=None)  # asking for .test raises
    monkeypatch.setattr(trainer.proxy, "cached_dataset", lambda spec, *, seed, image_size: blind)
    assert len(list(run_proxy(SMALL, replace(QUICK, epochs=1, train_fraction=0.05), seed=0))) == 1


def test_running_out_of_memory_is_a_memory_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def starved(*_: object) -> None:
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes")

    monkeypatch.setattr(trainer.proxy.Trainer, "train_epoch", starved)
    with pytest.raises(MemoryError, match="tried to allocate 99 bytes"):
        list(run_proxy(SMALL, QUICK, seed=0))


def test_any_other_runtime_error_stays_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("shape mismatch")

    monkeypatch.setattr(trainer.proxy.Trainer, "train_epoch", broken)
    with pytest.raises(RuntimeError, match="shape mismatch"):
        list(run_proxy(SMALL, QUICK, seed=0))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_size": 16}, "at least 32"),
        ({"epochs": 0}, "epochs must be whole"),
        ({"train_fraction": 0}, r"must lie in \(0, 1\]"),
        ({"dataset": "mnist"}, "unknown data set"),
        ({"device": "tpu"}, "cpu or cuda"),
        ({"device": "cuda:one"}, "cpu or cuda"),
        ({"recipe": "magic"}, "unknown recipe 'magic'; known: published, proxy"),
        ({"precision": "float16"}, "precision must be one of float32, bfloat16, got 'float16'"),
        ({"precision": None}, "precision must be text, got None"),
        ({"drop_path_rate": 1}, "drop_path_rate must be at least 0 and below 1, got 1; leave it out for the recipe's"),
        ({"drop_path_rate": "0.1"}, "drop_path_rate must be at least 0 and below 1, got '0.1'"),
    ],
)
def test_a_proxy_that_cannot_be_trained_is_refused_at_birth(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ProxyConfig(**change)  # type: ignore[arg-type]


def test_a_file_that_weights_cannot_be_saved_in_is_refused_before_the_training(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"weights are saved in a file named \*\.safetensors, got .*net\.pt"):
        next(run_proxy(SMALL, ProxyConfig(), seed=0, weights=tmp_path / "net.pt"))


def test_two_spellings_of_a_data_set_are_one_proxy() -> None:
    assert ProxyConfig(dataset="shapes:2000") == ProxyConfig(dataset="shapes:2000,size=32,classes=10,difficulty=0.1")


def test_the_rate_warms_up_then_falls_along_a_cosine() -> None:
    recipe = replace(RECIPES["proxy"], warmup=0.1, min_lr_ratio=0.05)
    factors = [lr_factor(step, 100, recipe) for step in range(101)]
    assert factors[:10] == sorted(factors[:10])
    assert factors[10] == 1
    assert factors[10:] == sorted(factors[10:], reverse=True)
    assert factors[55] == pytest.approx(0.525)
    assert factors[100] == pytest.approx(0.05)


def test_the_published_warm_up_starts_where_it_says() -> None:
    recipe = RECIPES["published"]
    factors = [lr_factor(step, 600, recipe) for step in range(12)]
    assert factors[0] * recipe.lr == pytest.approx(5e-7)
    assert factors[5] == pytest.approx((1e-3 + 1) / 2)
    assert factors[10] == 1


def test_biases_and_norms_are_not_decayed_and_the_rate_follows_the_batch() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.LayerNorm(3))
    decayed, plain = make_optimizer(model, RECIPES["published"], batch_size=4096).param_groups
    assert [p.ndim for p in decayed["params"]] == [2]
    assert [p.ndim for p in plain["params"]] == [1, 1, 1]
    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.05, 0)
    assert decayed["lr"] == pytest.approx(4e-3)


def test_the_default_proxy_has_its_noise_on_record_and_others_say_that_they_have_not() -> None:
    default = ProxyConfig()
    points = noise_points(default.fidelity(epochs=default.epochs, seed=7))
    assert points is not None
    assert 0 < points < 50
    assert noise_points(default.fidelity(epochs=77, seed=7)) is None
    assert noise_points({}) is None


def test_the_noise_bound_is_the_t_interval_of_a_difference() -> None:
    assert least_significant_difference([0.0, 2.0]) == pytest.approx(12.7062 * 2, rel=1e-4)  # t(1) · √2 · √2
    with pytest.raises(ValueError, match="at least two seeds, got 1"):
        least_significant_difference([0.5])
