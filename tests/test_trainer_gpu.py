"""Training on a CUDA device: captured steps train as eager ones do, and nothing inside an epoch waits for the device."""

import logging
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import trainer.loop
from searchspace.stacking import stack
from trainer.compute import seeded_compute
from trainer.data import load_dataset
from trainer.evaluation import evaluate_weights
from trainer.internimage import InternImage
from trainer.loop import Trainer
from trainer.proxy import run_proxy
from trainer.proxy_config import ProxyConfig
from trainer.step import WARM_UP, GraphedStep

pytestmark = pytest.mark.gpu
SMALL = stack(32, 16, 1, 2)
PROXY = ProxyConfig(epochs=3, train_fraction=0.3, device="cuda")  # 323 images: ten whole batches and a short one
PUBLISHED = replace(PROXY, recipe="published", precision="bfloat16")


@pytest.fixture(scope="session", autouse=True)
def device() -> torch.device:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    return torch.device("cuda")


@pytest.fixture
def no_waiting() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Synchronization debug mode is a prototype")  # said once, however it is used
        torch.cuda.set_sync_debug_mode("error")
    yield
    torch.cuda.set_sync_debug_mode("default")


def trainer_of(proxy: ProxyConfig) -> Trainer:
    data = load_dataset("digits", seed=0, image_size=32)
    return Trainer(InternImage(SMALL, num_classes=10, drop_path_rate=0.1), data.train, proxy)


@pytest.mark.parametrize("proxy", [PROXY, PUBLISHED], ids=["proxy", "published"])
def test_nothing_inside_an_epoch_waits_for_the_device(proxy: ProxyConfig, request: pytest.FixtureRequest) -> None:
    trained = trainer_of(proxy)
    trained.train_epoch(seed=1)  # kernels are compiled, the step is captured
    torch.cuda.synchronize()
    request.getfixturevalue("no_waiting")
    trained.train_epoch(seed=2)


# Sums in another order move the losses by 5e-5 and 1.3e-7, convolutions rounded to TF32 by 1.5e-4 and 7e-6; steps that do nothing by 0.16
# and 0.003, one batch over and over by at least 0.005 and 1e-4, a rate that stays as it was captured by 0.06 and 5e-4.
@pytest.mark.parametrize(
    ("proxy", "rel"), [(PROXY, 1e-3), (replace(PROXY, recipe="published", drop_path_rate=0.0), 2e-5)], ids=["proxy", "published"]
)
def test_captured_steps_train_as_eager_ones(
    proxy: ProxyConfig, rel: float, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    captured = [result.metrics["loss"] for result in run_proxy(SMALL, proxy, seed=0)]
    assert "without a CUDA graph" not in caplog.text
    monkeypatch.setattr(trainer.loop, "GraphedStep", lambda step, *_: step)
    eager = [result.metrics["loss"] for result in run_proxy(SMALL, proxy, seed=0)]
    assert captured == pytest.approx(eager, rel=rel)


def test_the_device_learns_what_the_processor_learns() -> None:
    *_, there = run_proxy(SMALL, PROXY, seed=0)
    *_, here = run_proxy(SMALL, replace(PROXY, device="cpu"), seed=0)
    assert there.metrics["loss"] == pytest.approx(here.metrics["loss"], rel=0.05)


def test_a_training_is_interrupted_and_measured_from_its_file(tmp_path: Path) -> None:
    training = run_proxy(SMALL, PUBLISHED, seed=0, checkpoints=tmp_path / "checkpoints")
    first = next(training)
    training.close()
    weights = tmp_path / "trained.safetensors"
    told, *_, last = run_proxy(SMALL, PUBLISHED, seed=0, checkpoints=tmp_path / "checkpoints", weights=weights)
    assert told == first
    found = evaluate_weights(
        SMALL.divide_channels(4), weights, "digits", image_size=32, batch_size=512, device="cuda", precision="bfloat16"
    )
    assert found["loss"] == pytest.approx(last.metrics["loss"], rel=1e-3)


def doubling(scale: Tensor) -> tuple[GraphedStep, list[Tensor]]:
    """A step that adds `scale` random numbers to its batch, and what it has last made."""
    made = [torch.zeros(4, 2, device="cuda")]

    def update(batch: Tensor, target: Tensor) -> None:
        made[0][: len(batch)] = batch + target[:, None] + scale * torch.rand_like(batch)

    parameter = nn.Parameter(torch.zeros(1, device="cuda"))
    return GraphedStep(update, torch.optim.SGD([parameter]), torch.device("cuda", torch.cuda.current_device())), made


def test_replays_take_their_own_batch_and_others_run_eagerly() -> None:
    step, made = doubling(torch.zeros(1, device="cuda"))
    for value in range(WARM_UP + 3):
        step(torch.full((4, 2), float(value), device="cuda"), torch.ones(4, device="cuda"))
        assert torch.equal(made[0], torch.full((4, 2), value + 1.0, device="cuda"))
        assert step.captured == (value >= WARM_UP)
    step(torch.full((3, 2), 50.0, device="cuda"), torch.ones(3, device="cuda"))
    assert made[0][:, 0].tolist() == [51.0] * 3 + [WARM_UP + 3.0]


def test_replays_draw_anew_and_from_the_seed() -> None:
    step, made = doubling(torch.ones(1, device="cuda"))
    batch, target = torch.zeros(4, 2, device="cuda"), torch.zeros(4, device="cuda")
    for _ in range(WARM_UP + 1):
        step(batch, target)
    drawn = []
    for seed in (5, 5, 6):
        with seeded_compute("cuda", threads=1, seed=seed):
            for _ in range(2):
                step(batch, target)
                drawn.append(made[0].clone())
    assert torch.equal(drawn[0], drawn[2])
    assert torch.equal(drawn[1], drawn[3])
    assert not torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[4])


def test_a_step_that_cannot_be_captured_runs_eagerly_and_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    sums = []
    parameter = nn.Parameter(torch.zeros(1, device="cuda"))
    optimizer = torch.optim.SGD([parameter])

    def update(batch: Tensor, _: Tensor) -> None:
        sums.append((batch + 0 * torch.rand_like(batch)).sum().item())  # and draws, before as after the capture

    step = GraphedStep(update, optimizer, torch.device("cuda", torch.cuda.current_device()))
    before = torch.cuda.current_stream()
    for value in range(WARM_UP + 3):
        step(torch.full((2,), float(value), device="cuda"), torch.zeros(2, device="cuda"))
    assert sums == [2.0 * value for value in range(WARM_UP + 3)]
    assert not step.captured
    assert torch.cuda.current_stream() == before
    (said,) = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert said.startswith("training without a CUDA graph: ")


@pytest.mark.skipif("torch.cuda.device_count() < 2")
def test_steps_are_captured_on_one_device_after_another() -> None:
    there, here = (
        [result.metrics["loss"] for result in run_proxy(SMALL, replace(PROXY, device=f"cuda:{index}"), seed=0)] for index in (0, 1)
    )
    assert here == pytest.approx(there, rel=1e-2)


@pytest.mark.skipif("torch.cuda.device_count() < 2")
def test_two_devices_train_as_one() -> None:
    alone = [result.metrics["loss"] for result in run_proxy(SMALL, PROXY, seed=0)]
    together = [result.metrics["loss"] for result in run_proxy(SMALL, PROXY, seed=0, world=2)]
    assert together == pytest.approx(alone, rel=1e-2)
