"""Small networks with drawn weights, and what every refusal of a file of weights has in common."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from searchspace.model_config import ModelConfig
from searchspace.styles import styled
from trainer.internimage import InternImage

State = dict[str, Tensor]


def small(style: str = "s", **changes: Any) -> ModelConfig:
    extra_norms = {"level2_post_norm_block_ids": (1,)} if style in {"h", "g"} else {}
    return replace(styled(channels=8, group_channels=4, depths=(1, 1, 2, 1), style=style), **extra_norms, **changes)


def network(config: ModelConfig, seed: int = 0, classes: int = 10) -> InternImage:
    """A network none of whose tensors is as it was initialised."""
    draw = torch.Generator().manual_seed(seed)
    model = InternImage(config, num_classes=classes).eval()
    with torch.no_grad():
        for tensor in model.state_dict().values():
            tensor.copy_(torch.rand(tensor.shape, generator=draw) * 0.2 + 0.1 if tensor.is_floating_point() else torch.tensor(seed + 3))
    return model


def other(model: InternImage, **options: Any) -> InternImage:
    return network(model.config, seed=1, **options)


def same(left: Mapping[str, Tensor], right: Mapping[str, Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def copied(model: nn.Module) -> State:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


@contextmanager
def refused(path: Path, match: str, model: nn.Module) -> Iterator[None]:
    """One line that names the file, and a network as it was."""
    before = copied(model)
    with pytest.raises(ValueError, match=match) as caught:
        yield
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"{path}: ")
    assert same(before, model.state_dict())
