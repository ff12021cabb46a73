"""The four stages of a variant as a figure: how deep, how wide, in how many groups and at which resolution."""

import plotly.graph_objects as go

from dashboard.charts.theme import BLUE, styled
from searchspace.cost import stage_sides
from searchspace.model_config import STAGES, ModelConfig

THICKNESS = (0.36, 0.52, 0.7, 0.9)  # every stage has twice the channels of the one before: drawn to scale, the first would be a line
ROW_PX = 62


def stages_figure(config: ModelConfig, image_size: int = 224, *, deepest: int | None = None) -> go.Figure:
    """A bar a stage, as long as it has blocks and thicker with its channels; `deepest` makes several figures comparable."""
    sides = stage_sides(image_size)
    labels = [f"stage {stage + 1}<br>{sides[stage]} × {sides[stage]}" for stage in range(STAGES)]
    figure = go.Figure(
        go.Bar(
            orientation="h",
            y=labels,
            x=list(config.depths),
            width=list(THICKNESS),
            text=[stage_text(config, stage) for stage in range(STAGES)],
            textposition=["inside" if 2 * depth > (deepest or max(config.depths)) else "outside" for depth in config.depths],
            insidetextanchor="start",
            textangle=0,
            marker={"color": BLUE, "line": {"width": 0}},
            cliponaxis=False,
            hovertext=[_hover(config, stage, sides[stage]) for stage in range(STAGES)],
            hoverinfo="text",
        )
    )
    styled(figure, x_title="blocks", y_title="", keep="stages", legend=False)
    figure.update_yaxes(autorange="reversed", showgrid=False, fixedrange=True)
    figure.update_xaxes(range=[0, 1.02 * (deepest or max(config.depths))], fixedrange=True, tickformat="d")
    return figure.update_layout(height=STAGES * ROW_PX + 70, margin={"t": 8}, barmode="overlay")


def stage_text(config: ModelConfig, stage: int) -> str:
    """`4 × 64 channels, 4 groups`."""
    groups = config.groups[stage]
    return f"{config.depths[stage]} × {config.widths[stage]:,} channels, {groups} group{'' if groups == 1 else 's'}"


def _hover(config: ModelConfig, stage: int, side: int) -> str:
    width, groups = config.widths[stage], config.groups[stage]
    return (
        f"<b>stage {stage + 1}</b><br>{config.depths[stage]} blocks<br>{width:,} channels in {groups} groups of {width // groups}<br>"
        f"feature map {side} × {side}<br>{config.points} sampling points a group"
    )
