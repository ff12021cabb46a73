"""AdamW and its learning-rate schedule from a recipe."""

import math

import torch
from torch import nn

from searchspace.recipes import Recipe


def make_optimizer(model: nn.Module, recipe: Recipe, *, batch_size: int) -> torch.optim.AdamW:
    """AdamW at the recipe's rate scaled by batch / 512, without weight decay on biases and other one-dimensional tensors."""
    decayed = [p for p in model.parameters() if p.ndim > 1]
    plain = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    # Fused: a network of 60 blocks has over a thousand small tensors, each otherwise worth a dozen calls a step.
    return torch.optim.AdamW(groups, lr=recipe.lr * batch_size / 512, betas=recipe.betas, eps=recipe.eps, fused=True)


def lr_factor(step: int, total_steps: int, recipe: Recipe) -> float:
    """Share of the peak rate at a 0-based step: linear warm-up over a fraction of all steps, then a cosine to the minimum."""
    warmup_steps = round(recipe.warmup * total_steps)
    if step < warmup_steps:
        return (step + 1) / (warmup_steps + 1)
    done = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    return recipe.min_lr_ratio + (1 - recipe.min_lr_ratio) * 0.5 * (1 + math.cos(math.pi * done))


def make_schedule(optimizer: torch.optim.Optimizer, recipe: Recipe, total_steps: int) -> torch.optim.lr_scheduler.LambdaLR:
    """The recipe's schedule, to be stepped after every optimizer step."""
    return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: lr_factor(step, total_steps, recipe))
