"""The training loop: one specification for every recipe, an average that is exact, and measurements that can be repeated from a file."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from searchspace.recipes import RECIPES
from searchspace.stacking import stack
from trainer.average import Average
from trainer.compute import seeded_compute
from trainer.data import epoch_batches, load_dataset, subset, to_batch
from trainer.evaluation import evaluate_weights
from trainer.internimage import InternImage
from trainer.proxy import _epoch_seed, run_proxy
from trainer.proxy_config import ProxyConfig, ProxyResult
from trainer.step import Step

SMALL = stack(32, 16, 1, 2)
QUICK = ProxyConfig(epochs=2, train_fraction=0.1)
PUBLISHED = replace(QUICK, recipe="published")


def numbers(results: Iterator[ProxyResult]) -> list[dict[str, float]]:
    return [{name: value for name, value in result.metrics.items() if name != "seconds"} for result in results]


def test_the_proxy_recipe_trains_to_the_bit_as_its_plain_spelling() -> None:
    recipe, seed, losses = RECIPES["proxy"], 3, []
    data = load_dataset("digits", seed=0, image_size=32)
    split, total = subset(data.train, 0.1, seed=0), 2 * 4  # 108 images in batches of 32
    with seeded_compute("cpu", threads=1, seed=seed):
        model = InternImage(SMALL.divide_channels(4), num_classes=10)
    groups = [{"params": [p for p in model.parameters() if (p.ndim > 1) == wide], "weight_decay": 0.05 * wide} for wide in (True, False)]
    optimizer = torch.optim.AdamW(groups, lr=1e-2 * 32 / 512, fused=True)
    factors = [
        *(0.25, 0.5, 0.75),
        *(0.5 * (1 + torch.cos(torch.tensor(torch.pi * step / 5, dtype=torch.float64)).item()) for step in range(5)),
    ]
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: factors[min(step, total - 1)])
    for epoch in (1, 2):
        model.train()
        with seeded_compute("cpu", threads=1, seed=_epoch_seed(seed, epoch)):
            for images, labels in epoch_batches(split, 32, torch.Generator().manual_seed(_epoch_seed(seed, epoch))):
                loss = F.cross_entropy(model(to_batch(images, 32)), labels, label_smoothing=recipe.label_smoothing)
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                nn.utils.clip_grad_norm_(model.parameters(), 5.0)
                optimizer.step()
                schedule.step()
            model.eval()
            with torch.inference_mode():
                logits = [model(to_batch(images, 32)) for images in data.validation.images.split(128)]
            pairs = zip(logits, data.validation.labels.split(128), strict=True)
            losses.append(sum(float(F.cross_entropy(said, true, reduction="sum")) for said, true in pairs) / len(data.validation))
    assert [result.metrics["loss"] for result in run_proxy(SMALL, QUICK, seed=seed)] == losses


def test_the_average_of_weights_is_the_exponential_one_and_copies_counts() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    expected = model[0].weight.detach().clone()
    average = Average(model, decay=0.75)
    for step in range(3):
        with torch.no_grad():
            model[0].weight.add_(step + 1.0)
            model[1].num_batches_tracked.add_(1)
            model[1].running_mean.add_(0.5)
        average.update()
        expected = 0.75 * expected + 0.25 * model[0].weight.detach()
    torch.testing.assert_close(average.model[0].weight, expected)
    assert torch.equal(average.model[1].running_mean, model[1].running_mean)
    assert average.model[1].num_batches_tracked == 3
    with pytest.raises(ValueError, match=r"decay must lie in \[0, 1\), got decay=1"):
        Average(model, decay=1.0)


@pytest.mark.parametrize("proxy", [QUICK, PUBLISHED, replace(PUBLISHED, precision="bfloat16")], ids=["proxy", "published", "bfloat16"])
def test_the_file_of_a_training_measures_as_its_last_result(proxy: ProxyConfig, tmp_path: Path) -> None:
    weights = tmp_path / "trained.safetensors"
    *_, last = numbers(run_proxy(SMALL, proxy, seed=0, weights=weights))
    found = evaluate_weights(
        SMALL.divide_channels(4), weights, "digits", recipe=proxy.recipe, image_size=32, batch_size=128, precision=proxy.precision
    )
    assert found == {**last, "images": 359}
    assert set(last) == {"top1", "top5", "loss"}
    assert last["top1"] < last["top5"] < 1


def test_what_a_training_changes_shows_in_its_numbers() -> None:
    plain = numbers(run_proxy(SMALL, PUBLISHED, seed=0))
    assert numbers(run_proxy(SMALL, PUBLISHED, seed=0)) == plain
    brain = numbers(run_proxy(SMALL, replace(PUBLISHED, precision="bfloat16"), seed=0))
    assert brain != plain
    assert brain[-1]["loss"] == pytest.approx(plain[-1]["loss"], rel=0.02)
    assert numbers(run_proxy(SMALL, replace(PUBLISHED, drop_path_rate=0.1), seed=0)) == plain  # the recipe's own
    assert numbers(run_proxy(SMALL, replace(PUBLISHED, drop_path_rate=0.0), seed=0)) != plain


def test_five_classes_have_no_top_five() -> None:
    proxy = ProxyConfig(dataset="shapes:60,classes=4", epochs=1, train_fraction=1.0)
    (result,) = run_proxy(SMALL, proxy, seed=0)
    assert set(result.metrics) == {"top1", "loss", "seconds"}


def test_shares_of_a_batch_weigh_as_the_whole() -> None:
    """Two processes with 3 and 5 images average to the gradient of all 8."""
    torch.manual_seed(0)
    images, labels = torch.randn(8, 3, 4, 4), torch.arange(8) % 3

    def gradient(share: slice, weight: float | None) -> torch.Tensor:
        torch.manual_seed(1)
        model = nn.Sequential(nn.Flatten(), nn.Linear(48, 3))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
        recipe = replace(RECIPES["proxy"], clip_norm=1e9)
        Step(model, optimizer, recipe, precision="float32", average=None)(images[share], labels[share], weight)
        assert model[1].weight.grad is not None
        return model[1].weight.grad

    parts = [gradient(share, weight=2 / 8) for share in (slice(3), slice(3, 8))]
    torch.testing.assert_close((parts[0] + parts[1]) / 2, gradient(slice(8), None))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dataset_spec": "shapes:60,classes=4"}, "not trained for the 4 classes of shapes:60.*head"),
        ({"split": "exam"}, "split must be one of train, validation, test, got 'exam'"),
        ({"recipe": "magic"}, "recipe must be one of published, proxy, got 'magic'"),
        ({"precision": "int8"}, "precision must be one of float32, bfloat16, got 'int8'"),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"image_size": 31}, r"image_size must be at least 32 \(four stages\), got 31"),
        ({"device": "tpu"}, "device must be cpu or cuda .* got 'tpu'"),
    ],
)
def test_weights_are_not_measured_on_what_they_cannot_say(change: dict[str, object], message: str, tmp_path: Path) -> None:
    weights = tmp_path / "trained.safetensors"
    list(run_proxy(SMALL, replace(QUICK, epochs=1), seed=0, weights=weights))
    with pytest.raises(ValueError, match=message):
        evaluate_weights(SMALL.divide_channels(4), weights, **{"dataset_spec": "digits", **change})  # type: ignore[arg-type]


def test_an_empty_split_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = load_dataset("digits", seed=0, image_size=32)
    untested = replace(whole, test=whole.test.take(np.array([], np.int64)))
    monkeypatch.setattr("trainer.evaluation.load_dataset", lambda *_, **__: untested)
    with pytest.raises(ValueError, match="digits has no test images; it has: train, validation"):
        evaluate_weights(SMALL, tmp_path / "none.safetensors", "digits", split="test")


def test_settings_younger_than_a_stored_study_are_written_only_where_they_depart() -> None:
    old = {**QUICK.to_dict()}
    assert "precision" not in old
    assert "drop_path_rate" not in old
    assert ProxyConfig.from_dict(json.loads(json.dumps(old))) == QUICK
    new = replace(QUICK, precision="bfloat16", drop_path_rate=0.2)
    assert ProxyConfig.from_dict(new.to_dict()) == new
    departed = set(new.fidelity(epochs=2, seed=0, fingerprint="f").items()) - set(QUICK.fidelity(epochs=2, seed=0).items())
    assert departed == {("precision", "bfloat16"), ("drop_path_rate", 0.2), ("fingerprint", "f")}
