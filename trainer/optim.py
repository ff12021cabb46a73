"""AdamW and its learning-rate schedule from a recipe."""

import math

import torch
from torch import nn

from searchspace.recipes import Recipe


def make_optimizer(model: nn.Module, recipe: Recipe, *, batch_size: int) -> torch.optim.AdamW:
    """AdamW at the recipe's rate for a batch, without weight decay on biases and other one-dimensional tensors."""
    decayed = [p for p in model.parameters() if p.ndim > 1]
    plain = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    # On CUDA the rate is a tensor: a captured step reads what it holds at the time.
    lr, device = peak_lr(recipe, batch_size), decayed[0].device
    rate = torch.tensor(lr, device=device) if device.type == "cuda" else lr
    # Fused: a network of 60 blocks has over a thousand small tensors, each otherwise worth a dozen calls a step.
    return torch.optim.AdamW(groups, lr=rate, betas=recipe.betas, eps=recipe.eps, fused=True)


def peak_lr(recipe: Recipe, batch_size: int) -> float:
    """The recipe's highest learning rate, in proportion to the batch."""
    return recipe.lr * batch_size / 512


def lr_factor(step: int, total_steps: int, recipe: Recipe) -> float:
    """Share of the peak rate at a 0-based step: linear warm-up over a fraction of all steps, then a cosine to the minimum."""
    warmup_steps = round(recipe.warmup * total_steps)
    if step < warmup_steps:
        if recipe.warmup_lr_ratio is None:
            return (step + 1) / (warmup_steps + 1)
        return recipe.warmup_lr_ratio + (1 - recipe.warmup_lr_ratio) * step / warmup_steps
    done = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    return recipe.min_lr_ratio + (1 - recipe.min_lr_ratio) * 0.5 * (1 + math.cos(math.pi * done))


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Give all parameters this learning rate from the next step on, without waiting for the device."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], torch.Tensor):
            group["lr"].fill_(lr)
        else:
            group["lr"] = lr
