"""Zero-cost scores as functions of an untrained network and its inputs; each works on a copy and leaves the network as it was."""

import math
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dcnv3.layer import DCNv3
from trainer.internimage import InternImage
from trainer.internimage_blocks import Block, Stage
from trainer.internimage_head import BiasedAttention

Norm = nn.LayerNorm | nn.BatchNorm2d
PERTURBATION = 0.01  # α of the Zen-score's paper
ZEN_REPEATS = 4


def synflow(network: InternImage, image_size: int) -> float:
    """Logarithm of the synaptic flow through all parameters (Tanaka et al. 2020, equation 2 with R the sum of the logits)."""
    flow, log_scale = synaptic_flow(network, image_size)
    return float(torch.stack([part.sum() for part in flow.values()]).sum().log()) + log_scale


def synaptic_flow(network: InternImage, image_size: int) -> tuple[Mapping[str, Tensor], float]:
    """|θ · ∂R/∂θ| of every parameter of the linearised network at an image of ones, and the logarithm of what divides them all.

    Float64. Linear networks conserve it: every layer that all paths go through has a sum of R.
    """
    linear = _linearised(network)
    scales = _divide_out_trunk(linear)
    ones = torch.ones(1, 3, image_size, image_size, dtype=torch.float64, device=_device(network))
    parameters = dict(linear.named_parameters())
    gradients = torch.autograd.grad(linear(ones).sum(), list(parameters.values()), allow_unused=True)
    flow = {name: (p * g).abs().detach() for (name, p), g in zip(parameters.items(), gradients, strict=True) if g is not None}
    return flow, float(torch.stack(scales).log().sum())


def naswot(network: InternImage, images: Tensor) -> float:
    """Log-determinant of how many GELU inputs have the same sign, for each pair of images (Mellor et al. 2021, equation 2).

    Minus infinity when two images light up the same units.
    """
    agreements: list[Tensor] = []
    copy = _copy(network)
    for module in copy.modules():
        if isinstance(module, nn.GELU):
            module.register_forward_pre_hook(lambda _, inputs: agreements.append(_agreement(inputs[0])))
    with torch.no_grad():
        copy(images)
    return float(torch.stack(agreements).sum(0).slogdet().logabsdet)


def grad_norm(network: InternImage, images: Tensor, labels: Tensor) -> float:
    """Euclidean norm of the gradient of one batch's mean cross-entropy (Abdelfattah et al. 2021, section 3)."""
    copy = _copy(network)
    gradients = torch.autograd.grad(F.cross_entropy(copy(images), labels), list(copy.parameters()), allow_unused=True)
    return math.sqrt(sum(float(gradient.double().square().sum()) for gradient in gradients if gradient is not None))


def zen(network: InternImage, batch: int, image_size: int, generator: torch.Generator) -> float:
    """Mean Zen-score of redrawn standard normal weights, inputs and perturbations, all from the CPU `generator` (Lin et al. 2021)."""
    chain = _copy(network).double()
    cut_residual_links(chain)
    draw = partial(torch.randn, generator=generator, dtype=torch.float64)
    total = 0.0
    for _ in range(ZEN_REPEATS):
        draw_weights(chain, draw)
        images, noise = (draw(batch, 3, image_size, image_size).to(_device(network)) for _ in range(2))
        total += expressivity(chain, images, PERTURBATION * noise)
    return total / ZEN_REPEATS


def expressivity(chain: InternImage, images: Tensor, perturbation: Tensor) -> float:
    """Logarithm of how far the last map moves with the images, as if no norm had divided it: what they divide by is added back."""
    divided: list[float] = []
    hooks = [
        norm.register_forward_pre_hook(lambda m, inputs: divided.append(_log_deviation(m, inputs[0])))
        for norm in on_the_way(chain)
        if isinstance(norm, Norm)
    ]
    with torch.no_grad():
        before = _last_map(chain, images)
        for hook in hooks:
            hook.remove()
        change = (_last_map(chain, images + perturbation) - before).flatten(1).norm(dim=1).mean()
    return float(change.log()) + sum(divided)


def cut_residual_links(network: InternImage) -> None:
    """Turn every block of `network` into its layers in a row, without the sums and the layer scale between them."""
    for level in (cast(Stage, level) for level in network.levels):
        level.blocks = nn.ModuleList(nn.Sequential(*_in_a_row(cast(Block, block))) for block in level.blocks)


def _in_a_row(block: Block) -> Iterator[nn.Module]:
    for body, norm, after in ((block.dcn, block.norm1, block.res_post_norm1), (block.mlp, block.norm2, block.res_post_norm2)):
        yield from (body, norm, after) if block.post_norm else (norm, body, after)


def _last_map(network: InternImage, images: Tensor) -> Tensor:
    stage4 = network.forward_features(images)[-1]
    return network.dcnv3_head_x4(stage4) if network.config.clip_projector else network.conv_head(stage4)


def on_the_way(network: InternImage) -> list[nn.Module]:
    """The modules that features go through: all but those of DCNv3 that only shape its offsets and masks."""
    layers = [module for module in network.modules() if isinstance(module, DCNv3)]
    aside = {inner for layer in layers for inner in layer.modules() if inner not in (layer.input_proj, layer.output_proj)}
    return [module for module in network.modules() if module not in aside]


def _log_deviation(norm: Norm, x: Tensor) -> float:
    """Root of the mean variance over what a norm treats alike, as the paper has it: pixels for a LayerNorm, channels for a BatchNorm."""
    dims = -1 if isinstance(norm, nn.LayerNorm) else (0, 2, 3)
    return float((x.var(dims, correction=0) + norm.eps).mean().log()) / 2


def draw_weights(network: InternImage, draw: Callable[..., Tensor]) -> None:
    """Standard normal matrices and kernels, no biases; what decides where and how DCNv3 samples stays zero."""
    for module in on_the_way(network):
        if isinstance(module, nn.Linear | nn.Conv2d):
            module.weight.data.copy_(draw(module.weight.shape))
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def _linearised(network: InternImage) -> InternImage:
    linear = _copy(network).double()
    for name in [name for name, module in linear.named_modules() if isinstance(module, Norm | nn.GELU)]:
        linear.set_submodule(name, nn.Identity())
    for pool in (module for module in linear.modules() if isinstance(module, BiasedAttention)):
        nn.init.zeros_(pool.q.weight)  # a query that asks for nothing weighs all tokens alike
    for name, parameter in linear.named_parameters():
        parameter.data = torch.zeros_like(parameter) if name.endswith("bias") else parameter.data.abs()
    return linear


def _divide_out_trunk(linear: InternImage) -> list[Tensor]:
    """Bring the maps behind the blocks down to at most 1 and note, as `linear` runs, what each was divided by.

    Not in stage 4: the heads of H and G also read the map of stage 3, and every path must be divided alike.
    """
    scales: list[Tensor] = []

    def divide(_block: nn.Module, _inputs: object, out: Tensor) -> Tensor:
        scales.append(out.detach().max())
        return out / scales[-1]

    for block in (block for level in list(linear.levels)[:-1] for block in cast(Stage, level).blocks):
        block.register_forward_hook(divide)
    return scales


def _agreement(x: Tensor) -> Tensor:
    signs = (x > 0).flatten(1).double() * 2 - 1
    return (signs @ signs.T + signs.shape[1]) / 2


def _copy(network: InternImage) -> InternImage:
    return deepcopy(network).train()


def _device(network: InternImage) -> torch.device:
    return network.head.weight.device
