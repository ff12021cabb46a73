"""Scores of untrained networks: what they tell apart, what they cannot, and that nothing is left changed."""

import math
from copy import deepcopy
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from searchspace.cost import cost
from searchspace.model_config import ModelConfig
from searchspace.score_table import SCORE_TABLE, is_constant
from searchspace.stacking import stack
from searchspace.styles import STYLES
from trainer import zero_cost
from trainer.internimage import InternImage
from trainer.proxy_config import ProxyConfig
from trainer.score_functions import (
    Norm,
    cut_residual_links,
    draw_weights,
    expressivity,
    grad_norm,
    naswot,
    on_the_way,
    synaptic_flow,
    synflow,
    zen,
)
from trainer.zero_cost import SCORES, scores

PROXY = ProxyConfig()
BASE = stack(64, 16, 1, 1)
MEASURED = ("synflow", "naswot", "grad_norm", "zen")
SEEDS = range(3)


def network_of(config: ModelConfig = BASE, seed: int = 0) -> InternImage:
    torch.manual_seed(seed)
    return InternImage(PROXY.proxy_of(config), num_classes=10)


@pytest.fixture(scope="module")
def base() -> dict[str, list[float]]:
    return over_seeds(BASE, MEASURED)


def over_seeds(config: ModelConfig, names: tuple[str, ...]) -> dict[str, list[float]]:
    found = [scores(config, PROXY, names, seed=seed) for seed in SEEDS]
    return {name: [values[name] for values in found] for name in names}


def spread(values: list[float]) -> float:
    return max(values) - min(values)


@pytest.mark.parametrize(
    ("larger", "names"),
    [
        (stack(64, 16, 1, 8), ("synflow", "naswot", "zen")),  # the gradient norm does not tell depths apart beyond its seeds
        (stack(128, 16, 1, 1), MEASURED),
    ],
    ids=["deeper", "wider"],
)
def test_a_larger_network_scores_higher_by_more_than_the_seeds_differ(
    base: dict[str, list[float]], larger: ModelConfig, names: tuple[str, ...]
) -> None:
    for name, values in over_seeds(larger, names).items():
        assert min(values) - max(base[name]) > max(spread(values), spread(base[name])) / 2, name


def test_zen_is_blind_to_the_group_width() -> None:
    one, other = (scores(stack(64, group, 1, 2), PROXY, ["zen"], seed=0) for group in (16, 32))
    assert one == other  # a new DCNv3 is a mean filter, whatever its groups


def test_synflow_is_independent_of_the_data() -> None:
    found = [scores(BASE, replace(PROXY, dataset=data), ["synflow", "naswot"], seed=0) for data in ("digits", "shapes:100")]
    assert found[0]["synflow"] == found[1]["synflow"]
    assert found[0]["naswot"] != found[1]["naswot"]


@pytest.mark.parametrize("style", STYLES)
def test_synaptic_flow_is_conserved_from_the_first_layer_to_the_last(style: str) -> None:
    network = InternImage(stack(16, 8, 1, 6, style=style), num_classes=3)
    flow, log_scale = synaptic_flow(network, 64)
    ends = [float(flow[name].sum()) for name in ("patch_embed.conv1.weight", "levels.1.downsample.conv.weight", "head.weight")]
    assert ends == pytest.approx([ends[0]] * len(ends), rel=1e-12)
    assert synflow(network, 64) > math.log(ends[0]) + log_scale


def test_what_is_divided_out_of_the_trunk_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    network = network_of()
    divided = synflow(network, 32)
    monkeypatch.setattr("trainer.score_functions._divide_out_trunk", lambda _: [torch.ones(())])
    assert synflow(network, 32) == pytest.approx(divided, rel=1e-12)


def test_a_flow_beyond_float64_has_a_logarithm() -> None:
    network = network_of()
    for matrix in (parameter for parameter in network.levels.parameters() if parameter.ndim == 2):
        matrix.data *= 1e30
    assert 710 < synflow(network, 32) < math.inf


def chain_and_inputs(config: ModelConfig) -> tuple[InternImage, Tensor, Tensor]:
    draw = partial(torch.randn, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    chain = network_of(config).double()
    cut_residual_links(chain)
    draw_weights(chain, draw)
    return chain, draw(8, 3, 32, 32), draw(8, 3, 32, 32) / 100


@pytest.mark.parametrize("config", [stack(64, 16, 1, 1), stack(64, 16, 2, 8), stack(64, 16, 1, 4, style="s")])
def test_zen_adds_back_what_norms_take_away(config: ModelConfig) -> None:
    chain, images, noise = chain_and_inputs(config)
    free = deepcopy(chain)
    for name in [name for name, module in free.named_modules() if isinstance(module, Norm) and module in on_the_way(free)]:
        free.set_submodule(name, nn.Identity())
    without_norms = expressivity(free, images, noise)
    assert without_norms > 25
    # Not exactly: norms also take the mean away, and GELU bends less where numbers are large.
    assert expressivity(chain, images, noise) == pytest.approx(without_norms, abs=1.5)


def test_zen_rises_by_the_logarithm_of_a_scale_that_a_norm_takes_away() -> None:
    chain, images, noise = chain_and_inputs(BASE)
    before = expressivity(chain, images, noise)
    chain.levels[1].downsample.conv.weight.data *= 100
    assert expressivity(chain, images, noise) - before == pytest.approx(math.log(100), abs=1e-6)


def test_naswot_counts_the_units_in_which_two_images_differ() -> None:
    class TwoUnits(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.act = nn.GELU()

        def forward(self, images: Tensor) -> Tensor:
            return self.act(images)

    images = torch.tensor([[1.0, -2.0, 3.0], [1.0, 2.0, 3.0], [-1.0, 2.0, 3.0]])
    kernel = torch.tensor([[3.0, 2.0, 1.0], [2.0, 3.0, 2.0], [1.0, 2.0, 3.0]])
    assert naswot(TwoUnits(), images) == pytest.approx(float(kernel.logdet()))  # type: ignore[arg-type]
    assert naswot(TwoUnits(), images[:1].repeat(2, 1)) == -math.inf  # type: ignore[arg-type]


def test_the_gradient_norm_is_that_of_a_training_s_first_step() -> None:
    network, images, labels = network_of(), torch.randn(6, 3, 32, 32), torch.arange(6)
    expected = deepcopy(network).train()
    nn.functional.cross_entropy(expected(images), labels).backward()
    norms = [parameter.grad.norm() for parameter in expected.parameters() if parameter.grad is not None]
    assert grad_norm(network, images, labels) == pytest.approx(float(torch.stack(norms).norm()), rel=1e-5)


def test_a_scored_network_comes_back_as_it_was() -> None:
    network, images = network_of().eval(), torch.randn(4, 3, 32, 32)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    logits = network(images)
    synflow(network, 32), naswot(network, images), grad_norm(network, images, torch.arange(4)), zen(network, 2, 32, torch.Generator())
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert torch.equal(network(images), logits)  # no hook, layer or mode left changed
    assert not network.training
    assert all(parameter.grad is None for parameter in network.parameters())


def test_the_same_seed_gives_the_same_scores_to_the_bit_and_leaves_the_process_as_it_was() -> None:
    threads, state, few = torch.get_num_threads(), torch.random.get_rng_state(), replace(PROXY, batch_size=6)
    scores(BASE, replace(few, threads=threads + 1), ["grad_norm"], seed=5)
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.random.get_rng_state(), state)
    whole = scores(BASE, few, MEASURED, seed=5)
    torch.rand(7)
    assert {name: scores(BASE, few, [name], seed=5)[name] for name in reversed(MEASURED)} == whole
    other = scores(BASE, few, MEASURED, seed=6)
    assert all(other[name] != value for name, value in whole.items())


def test_params_and_flops_are_those_of_the_full_variant_and_build_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zero_cost, "InternImage", None)
    size = cost(BASE)
    assert scores(BASE, PROXY, ["flops", "params"], seed=0) == {"flops": size.flops, "params": size.params}


def test_every_score_has_its_words_and_its_function() -> None:
    assert list(SCORES) == list(SCORE_TABLE)
    for name, score in SCORES.items():
        assert (score.label, score.paper, score.adapted) == (SCORE_TABLE[name].label, SCORE_TABLE[name].paper, SCORE_TABLE[name].adapted)
        assert score.direction in ("minimize", "maximize")


def test_an_unknown_score_is_named_beside_the_known_ones() -> None:
    with pytest.raises(ValueError, match="unknown score 'jacov'; known: synflow, naswot, grad_norm, zen, params, flops"):
        scores(BASE, PROXY, ["zen", "jacov"], seed=0)


@pytest.mark.skipif("torch.cuda.is_available()")
def test_a_device_that_is_not_there_is_one_line() -> None:
    with pytest.raises(ValueError, match=r"^device cuda is not there: torch finds 0 CUDA devices; use --device cpu$"):
        scores(BASE, replace(PROXY, device="cuda"), ["zen"], seed=0)


def test_running_out_of_memory_is_a_memory_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def starved(*_: object) -> None:
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes")

    monkeypatch.setattr(zero_cost, "synflow", starved)
    with pytest.raises(MemoryError, match="tried to allocate 99 bytes"):
        scores(BASE, PROXY, ["synflow"], seed=0)


@pytest.mark.parametrize(
    ("values", "constant"),
    [
        ([3.0, 3.0, 3.0], True),
        ([3.0, 3.0 + 1e-12], True),
        ([0.0, 0.0], True),
        ([-math.inf, math.nan], True),
        ([3.0, 3.001], False),
        ([3.0, math.nan], False),
        ([0.0, 1e-30], False),
        ([3.0], False),
    ],
)
def test_constant_is_what_tells_no_two_candidates_apart(values: list[float], constant: bool) -> None:
    assert is_constant(values) is constant
