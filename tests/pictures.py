"""Images for comparison with Pillow: pieces of photographs, noise, and flat surfaces with a few spots, all of one size."""

import platform
from functools import cache

import numpy as np
import torch
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_sample_images

Pixels = NDArray[np.uint8]  # (N, H, W, 3)


@cache
def photographs() -> tuple[Pixels, ...]:
    return tuple(load_sample_images().images)  # two of 427 × 640


@st.composite
def pictures(draw: st.DrawFn, *, count: int = 6, least: int = 3, most: int = 70) -> Pixels:
    height, width = draw(st.integers(least, most)), draw(st.integers(least, most))
    return drawn_pictures(count, (height, width), draw(st.integers(0, 2**32)))


def drawn_pictures(count: int, size: tuple[int, int], seed: int) -> Pixels:
    rng = np.random.default_rng(seed)
    return np.stack([_picture(rng, kind % 4, size) for kind in range(count)])


def _picture(rng: np.random.Generator, kind: int, size: tuple[int, int]) -> Pixels:
    if kind == 0:
        return rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    if kind == 1:
        flat = np.full((*size, 3), rng.integers(0, 256, 3), dtype=np.uint8)
        flat[rng.integers(0, size[0]), : rng.integers(1, 4)] = rng.integers(0, 256, 3)
        return flat
    picture = photographs()[kind - 2]
    top, left = (rng.integers(0, whole - part + 1) for whole, part in zip(picture.shape, size, strict=False))
    return picture[top : top + size[0], left : left + size[1]]


def as_tensor(pixels: Pixels) -> torch.Tensor:
    """Uint8 (N, 3, H, W)."""
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)))


def as_pixels(images: list[Image.Image]) -> torch.Tensor:
    """Pillow's images as uint8 (N, 3, H, W)."""
    return as_tensor(np.stack([np.asarray(image) for image in images]))


def assert_same(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    """Equal, bit for bit, where Pillow is compiled without fused multiply-adds; elsewhere those may cut off one grey level more or less."""
    assert ours.shape == theirs.shape
    allowed = 0 if platform.machine() in ("x86_64", "AMD64") else 1
    assert int((ours.short() - theirs.short()).abs().max()) <= allowed
