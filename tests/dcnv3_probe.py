"""Run as a program: what a fresh process makes of the operator, as one line of JSON."""

import json
import sys
import warnings

import torch

from dcnv3 import backend, dcnv3, dcnv3_reference


def probe() -> dict[str, object]:
    """The backend, the warnings on the way to it, and whether two calls give the reference's results."""
    draw = torch.Generator().manual_seed(0)
    value, offset, weights = (torch.randn(2, 5, 4, channels, generator=draw) for channels in (6, 54, 27))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = [dcnv3(value, offset, weights, kernel_size=3, groups=3, softmax=False) for _ in range(2)]
        which = backend()
    square = {"kernel_size": (3, 3), "stride": (1, 1), "padding": (1, 1), "dilation": (1, 1)}
    expected = dcnv3_reference(value, offset, weights, **square, groups=3, offset_scale=1.0, remove_center=False)
    return {
        "name": which.name,
        "reason": which.reason,
        "warnings": [f"{warning.category.__name__}: {warning.message}" for warning in caught],
        "agrees": all(torch.allclose(one, expected, rtol=1e-5, atol=1e-5) for one in found),
    }


if __name__ == "__main__":
    json.dump(probe(), sys.stdout)
