"""Draws a Plotly figure on the page: zoom, camera and legend outlast a refresh, and a click on a point names its trial."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import plotly.graph_objects as go
import streamlit as st
from plotly.utils import PlotlyJSONEncoder

from dashboard.plotly_module import NAME

# `st.plotly_chart` takes a figure with new data for another chart: it would forget the reader's zoom with every refresh, and lose a click
# that came just before one. It hears no click in three dimensions either.
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
  const leave = () => setTimeout(() => {
    if (place.isConnected) return;
    place.watch?.disconnect();
    place.written = null;
    window.Plotly?.purge(place);
  });
  const written = new TextDecoder().decode(data), look = JSON.stringify(themed({}, place));
  place.choose = (number) => setTriggerValue("chosen", number);
  if (place.written === written && place.look === look) return leave;  // it stands there as it is
  Object.assign(place, { written, look });
  const { figure, told: { config, alt, script } } = JSON.parse(written);
  place.setAttribute("aria-label", alt);
  place.style.minHeight = `${figure.layout.height ?? 430}px`;
  const turn = (place.turn = (place.turn ?? 0) + 1);
  const drawn = async ({ default: Plotly }) => {
    if (turn !== place.turn || !place.isConnected) return;
    await Plotly.react(place, figure.data, themed(figure.layout, place), config);
    for (const event of ["plotly_click", "plotly_hover", "plotly_unhover"]) place.removeAllListeners(event);
    const told = ([{ customdata }]) => [customdata].flat()[0] ?? null;
    const inSpace = ([{ data }]) => data.type.endsWith("3d");
    const choose = (number) => { if (number !== null) place.choose(number); };
    place.on("plotly_click", ({ points }) => { if (!inSpace(points)) choose(told(points)); });
    // Of a click in space Plotly tells while the button is down, if a picture falls into that time: the page would change under a press
    // that may be the beginning of a turn. Here a click is a press that is let go where it began, over a point.
    place.over = null;
    place.on("plotly_hover", ({ points }) => { place.over = inSpace(points) ? told(points) : null; });
    place.on("plotly_unhover", () => { place.over = null; });
    place.onpointerdown = ({ target, clientX: x, clientY: y }) => {
      if (target.closest(".modebar, .legend")) return;
      const released = (end) => { if (Math.hypot(end.clientX - x, end.clientY - y) < 5) choose(place.over); };
      window.addEventListener("pointerup", released, { once: true, capture: true });
    };
    place.width = place.offsetWidth;
    place.watch ??= new ResizeObserver(() => {  // which calls at once, too
      if (!place.isConnected || !place.offsetWidth || place.width === place.offsetWidth) return;
      place.width = place.offsetWidth;
      Plotly.Plots.resize(place);
    });
    place.watch.observe(parentElement instanceof Element ? parentElement : place);
    await new Promise(requestAnimationFrame);
  };
  // One after the other, each on the screen before the next is begun: the first is what one came for.
  const loaded = () => import(new URL(script, document.baseURI).href);
  window.plotsInTurn = (window.plotsInTurn ?? Promise.resolve()).then(loaded).then(drawn).catch(console.error);
  return leave;
}
"""
_TELL = """
export default function ({ data, setTriggerValue }) {
  const begun = () => document.querySelector(`.st-key-${data} .plot`)?.written;
  const drawn = async () => {
    for (let picture = 0; picture < 100 && !begun(); picture++) await new Promise(requestAnimationFrame);
    await window.plotsInTurn;
  };
  drawn().then(() => setTriggerValue("drawn", true));
}
"""
DRAWN = "drawn-before"
CONFIG: Mapping[str, Any] = {"displaylogo": False, "showSendToCloud": False, "modeBarButtonsToRemove": ["select2d", "lasso2d"]}


def is_drawn(key: str) -> bool:
    """Whether a reader sees the figure of this `key`; of a reader's first page False, and the page runs again once it stands there.

    What follows the figure, and what that is shown with, would otherwise hold up what one came for.
    """
    if st.session_state.get(DRAWN) or not st.context.headers:  # without a browser nobody would tell
        return True
    component = st.components.v2.component("figure-drawn", js=_TELL, isolate_styles=False)
    component(key="figure-drawn", data=key, height=1, on_drawn_change=lambda: st.session_state.update({DRAWN: True}))
    return False


def draw(figure: go.Figure, key: str, *, alt: str, on_click: Callable[[int], None] | None = None) -> None:
    """Show a figure under a `key` of its own; `alt` says in words what it shows.

    A click on a point calls `on_click` with the first value of the point's `customdata`, which must be a trial's number. The view of the
    reader (zoom, camera, hidden traces) stays while the figure's `uirevision` does.
    """
    told = {"figure": figure.to_dict(), "told": {"config": CONFIG, "alt": alt, "script": NAME}}
    payload = json.dumps(told, cls=PlotlyJSONEncoder, ensure_ascii=False, separators=(",", ":"))  # to_json escapes for pages: 3 MB, not 2

    def clicked() -> None:
        chosen = st.session_state[key].get("chosen")
        if on_click is not None and chosen is not None:
            on_click(int(chosen))

    component = st.components.v2.component("plot", html='<div class="plot" role="figure"></div>', js=_DRAW, isolate_styles=False)
    component(key=key, data=payload.encode(), on_chosen_change=clicked)
