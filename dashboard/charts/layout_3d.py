"""How figures in three dimensions look."""

import plotly.graph_objects as go

from dashboard.charts.theme import CLEAR, GREY


def styled_3d(figure: go.Figure, *, titles: tuple[str, str, str], keep: str) -> go.Figure:
    """As `theme.styled`, for a scene whose axes x, y and z have these titles; the camera stays as long as `keep` does."""
    axis = {"gridcolor": GREY, "gridwidth": 1, "linecolor": GREY, "zeroline": False, "showbackground": False, "showspikes": False}
    scene = {name: {"title": {"text": title}, **axis} for name, title in zip(("xaxis", "yaxis", "zaxis"), titles, strict=True)}
    return figure.update_layout(
        height=560,
        margin={"l": 0, "r": 0, "t": 40, "b": 0},
        paper_bgcolor=CLEAR,
        legend={"orientation": "h", "x": 0, "xanchor": "left", "y": 1.0, "yanchor": "bottom", "bgcolor": CLEAR},
        hoverlabel={"align": "left"},
        scene={**scene, "aspectmode": "cube", "camera": {"eye": {"x": 1.6, "y": -1.6, "z": 0.7}, "center": {"x": 0, "y": 0, "z": -0.12}}},
        uirevision=keep,
    )
