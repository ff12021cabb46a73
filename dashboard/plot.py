"""Draws a Plotly figure on the page: zoom, camera and legend outlast a refresh, and a click on a point names its trial."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import plotly
import plotly.graph_objects as go
import plotly.io
import streamlit as st
from streamlit.components.v1 import declare_component

# `st.plotly_chart` takes a figure with new data for another chart: it would forget the reader's zoom with every refresh, and lose a click
# that came just before one. It hears no click in three dimensions either.
_LOAD = """
function plotly(address) {
  if (window.Plotly) return Promise.resolve(window.Plotly);
  window.plotlyOnItsWay ??= new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = new URL(address, document.baseURI).href;
    script.onload = () => resolve(window.Plotly);
    script.onerror = () => reject(new Error("Plotly's script did not load"));
    document.head.append(script);
  });
  return window.plotlyOnItsWay;
}
"""
_FETCH = """
export default function ({ data }) { plotly(data); }
"""
_DRAW = """
function themed(layout, place) {
  const style = getComputedStyle(place);
  const ink = style.getPropertyValue("--st-text-color").trim() || style.color;
  const ground = style.getPropertyValue("--st-background-color").trim() || "#fff";
  const font = { family: style.fontFamily, size: 13, ...layout.font, color: ink };
  const hoverlabel = { bgcolor: ground, bordercolor: ink, font: { ...font, size: 12 }, ...layout.hoverlabel };
  return { ...layout, font, hoverlabel, modebar: { bgcolor: "rgba(0,0,0,0)", color: "#8A939B", activecolor: ink, ...layout.modebar } };
}

export default function ({ data, parentElement, setTriggerValue }) {
  const place = parentElement.querySelector(".plot");
  const { figure, told: { config, alt, script } } = JSON.parse(new TextDecoder().decode(data));
  place.setAttribute("aria-label", alt);
  place.style.minHeight = `${figure.layout.height ?? 430}px`;
  const turn = (place.turn = (place.turn ?? 0) + 1);
  const drawn = async (Plotly) => {
    if (turn !== place.turn || !place.isConnected) return;
    await Plotly.react(place, figure.data, themed(figure.layout, place), config);
    place.removeAllListeners("plotly_click");
    place.on("plotly_click", ({ points }) => {
      const chosen = [points[0].customdata].flat()[0];
      if (chosen !== undefined && chosen !== null) setTriggerValue("chosen", chosen);
    });
    place.watch ??= new ResizeObserver(() => place.isConnected && place.offsetWidth && Plotly.Plots.resize(place));
    place.watch.observe(parentElement instanceof Element ? parentElement : place);
    await new Promise(requestAnimationFrame);
  };
  // One after the other, each on the screen before the next is begun: the first is what one came for.
  window.plotsInTurn = (window.plotsInTurn ?? Promise.resolve()).then(() => plotly(script)).then(drawn).catch(console.error);
  return () => setTimeout(() => {
    if (place.isConnected) return;
    place.watch?.disconnect();
    window.Plotly?.purge(place);
  });
}
"""
CONFIG: Mapping[str, Any] = {"displaylogo": False, "showSendToCloud": False, "modeBarButtonsToRemove": ["select2d", "lasso2d"]}


def fetch_plotly() -> None:
    """Have the browser fetch and read Plotly's script, most of a first visit, while the store is being read."""
    st.components.v2.component("plotly-script", js=_LOAD + _FETCH, isolate_styles=False)(key="plotly-script", data=_address(), height=1)


def draw(figure: go.Figure, key: str, *, alt: str, on_click: Callable[[int], None] | None = None) -> None:
    """Show a figure under a `key` of its own; `alt` says in words what it shows.

    A click on a point calls `on_click` with the first value of the point's `customdata`, which must be a trial's number. The view of the
    reader (zoom, camera, hidden traces) stays while the figure's `uirevision` does.
    """
    told = json.dumps({"config": CONFIG, "alt": alt, "script": _address()})
    payload = f'{{"figure": {plotly.io.to_json(figure, validate=False)}, "told": {told}}}'

    def clicked() -> None:
        chosen = st.session_state[key].get("chosen")
        if on_click is not None and chosen is not None:
            on_click(int(chosen))

    component = st.components.v2.component("plot", html='<div class="plot" role="figure"></div>', js=_LOAD + _DRAW, isolate_styles=False)
    component(key=key, data=payload.encode(), on_chosen_change=clicked)


def _address() -> str:
    """Where the page finds Plotly's script: the installed one, since nothing comes from the network."""
    folder = Path(plotly.__file__).parent / "package_data"
    return f"component/{declare_component('plotly', path=folder).name}/plotly.min.js"
