"""AABA stacking: four numbers (C1, C', L1, L3) for the twelve of an InternImage."""

from searchspace.model_config import ModelConfig, width_violation
from searchspace.styles import styled


def stack(channels: int, group_channels: int, l1: int, l3: int, *, style: str = "t") -> ModelConfig:
    """The variant (C1, C', L1, L3) of the paper's section 3.2; ValueError names the broken rule."""
    if violation := stacking_violation(channels, group_channels, l1, l3):
        raise ValueError(violation)
    return styled(channels=channels, group_channels=group_channels, depths=(l1, l1, l3, l1), style=style)


def stacking_violation(channels: int, group_channels: int, l1: int, l3: int) -> str | None:
    """The stacking rule that (C1, C', L1, L3) breaks, with its values; None when it breaks none."""
    if min(channels, group_channels, l1, l3) < 1:
        return f"C1, C', L1 and L3 must be at least 1, got {channels}, {group_channels}, {l1}, {l3}"
    if violation := width_violation(channels, group_channels):
        return violation
    if l1 > l3:
        return f"L1 must not exceed L3 (rule 4), got L1={l1}, L3={l3}"
    return None
