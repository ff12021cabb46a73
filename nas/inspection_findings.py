"""What images show of a network before and after its training: sampling points, effective receptive fields, and both in numbers."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from searchspace.model_config import STAGES
from studies.inspections import WHEN, Layer

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from trainer.inspect import Sampling
    from trainer.internimage import InternImage

SHARES = (50, 90)  # percent of an effective receptive field, whose radii are given
BYTES = 12  # of a point: x, y and modulation
Place = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Findings:
    """Points of the trained network by number of the image and layer, fields (4, H, W) with their middles, and a row for each stage."""

    points: Mapping[tuple[int, Layer], "NDArray[Any]"]
    fields: Mapping[str, "NDArray[Any]"]
    centres: Sequence[Place]
    strides: Sequence[int]
    rows: Sequence[Mapping[str, Any]]


def find(networks: Mapping[str, "InternImage"], images: "Tensor", stages: Sequence[int], at: Place | None) -> Findings:
    """Look at networks, one for each of `WHEN`, with normalised images (N, 3, H, W); stages count from 1, `at` is x, y in the image."""
    from trainer.inspect import STRIDES, map_pixel, receptive_fields, sampling_points

    size = (images.shape[3], images.shape[2])
    centres = [_scaled(map_pixel(at, stage, size), STRIDES[stage]) for stage in range(STAGES)]
    fields = {when: receptive_fields(networks[when], images, at=at) for when in WHEN}
    found = {when: sampling_points(networks[when], images, stages=[stage - 1 for stage in stages]) for when in WHEN}
    rows = [
        {
            "stage": stage,
            "stride": STRIDES[stage - 1],
            **{key: value for when in WHEN for key, value in _reach(found[when], stage - 1, when).items()},
            **{key: value for when in WHEN for key, value in _radii(fields[when][stage - 1], centres[stage - 1], when).items()},
        }
        for stage in stages
    ]
    points = {key: values for sampling in found["after"] for key, values in _points(sampling).items()}
    return Findings(points, {when: field.numpy() for when, field in fields.items()}, centres, STRIDES, rows)


def _scaled(pixel: Place, stride: int) -> Place:
    return pixel[0] * stride, pixel[1] * stride


def _reach(found: Sequence["Sampling"], stage: int, when: str) -> dict[str, float]:
    """How far points lie from their output pixel: on average by modulation, and the farthest of each, over all of a stage's layers."""
    layers = [(sampling.distances(), sampling.modulation) for sampling in found if sampling.stage == stage]
    means = [float((away * weight).sum() / weight.sum()) for away, weight in layers]
    farthest = [float(away.amax(-1).mean()) for away, _ in layers]
    return {f"reach_{when}": sum(means) / len(means), f"farthest_{when}": sum(farthest) / len(farthest)}


def _radii(field: "Tensor", centre: Place, when: str) -> dict[str, float | None]:
    from trainer.inspect import mass_radius

    radii = {share: mass_radius(field, centre, share / 100) for share in SHARES}
    return {f"radius_{share}_{when}": None if math.isnan(radius) else radius for share, radius in radii.items()}


def _points(sampling: "Sampling") -> dict[tuple[int, Layer], "NDArray[Any]"]:
    import torch

    stacked = torch.stack([sampling.x, sampling.y, sampling.modulation], -1).numpy()
    _, height, width, groups, points, _ = stacked.shape
    layer = Layer(stage=sampling.stage + 1, block=sampling.block + 1, size=(height, width), groups=groups, points=points)
    return {(number, layer): values for number, values in enumerate(stacked)}
