"""The choice of a route for float32 products."""

import pytest
import torch

from trainer import matmul
from trainer.matmul import LARGEST_ERROR, fastest_float32_matmul, float32_precision, product_error


@pytest.fixture(autouse=True)
def fresh_probe():
    before = torch.get_float32_matmul_precision()
    float32_precision.cache_clear()
    yield
    float32_precision.cache_clear()
    torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize(("rows", "inputs", "outputs"), [(512, 512, 1024), (2048, 64, 256), (49, 2048, 512)])
def test_products_keep_float32_accuracy(rows, inputs, outputs):
    x, weight = torch.randn(rows, inputs), torch.randn(outputs, inputs)
    exact = x.double() @ weight.double().T
    with fastest_float32_matmul():
        product = torch.nn.functional.linear(x, weight)
    assert (product - exact).norm() / exact.norm() < LARGEST_ERROR


def test_gradients_keep_float32_accuracy():
    x, weight, grad = torch.randn(512, 256), torch.randn(512, 256, requires_grad=True), torch.randn(512, 512)
    with fastest_float32_matmul():
        (found,) = torch.autograd.grad(torch.nn.functional.linear(x, weight), weight, grad)
    exact = grad.double().T @ x.double()
    assert (found - exact).norm() / exact.norm() < LARGEST_ERROR


@pytest.mark.parametrize("setting", ["highest", "high", "medium"])
def test_the_setting_of_before_comes_back(setting):
    torch.set_float32_matmul_precision(setting)
    with fastest_float32_matmul():
        assert torch.get_float32_matmul_precision() == float32_precision()
    assert torch.get_float32_matmul_precision() == setting


def test_the_setting_comes_back_after_an_error():
    before = torch.get_float32_matmul_precision()
    with pytest.raises(RuntimeError, match="shapes"), fastest_float32_matmul():
        torch.randn(2, 3) @ torch.randn(2, 3)
    assert torch.get_float32_matmul_precision() == before


def test_a_process_probes_once(monkeypatch):
    probes = []
    monkeypatch.setattr(matmul, "product_error", lambda precision: probes.append(precision) or 0.0)
    for _ in range(3):
        with fastest_float32_matmul():
            pass
    assert probes == ["medium"]


def test_other_devices_are_left_alone(monkeypatch):
    monkeypatch.setattr(matmul, "product_error", lambda precision: pytest.fail("probed"))
    with fastest_float32_matmul("cuda"):
        assert torch.get_float32_matmul_precision() == "highest"


@pytest.mark.parametrize(("error", "chosen"), [(2e-3, "highest"), (3e-7, "medium")])
def test_only_a_route_that_does_not_round_is_taken(monkeypatch, error, chosen):
    monkeypatch.setattr(matmul, "product_error", lambda precision: error)
    assert float32_precision() == chosen


def test_the_probe_leaves_setting_and_random_numbers_alone():
    before, state = torch.get_float32_matmul_precision(), torch.get_rng_state()
    assert product_error("highest") < 1e-6
    assert torch.get_float32_matmul_precision() == before
    assert torch.equal(torch.get_rng_state(), state)
