"""Figures from data frames, one module each; no Streamlit."""

from dashboard.charts.curves import curves_figure
from dashboard.charts.front import front_figure
from dashboard.charts.theme import hover_text

__all__ = ["curves_figure", "front_figure", "hover_text"]
