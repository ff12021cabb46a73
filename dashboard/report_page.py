"""One HTML file with Plotly figures in it that needs nothing but a browser: no server, no network, light and dark."""

import html
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import plotly.io
from plotly.offline import get_plotlyjs

MARK = "<!-- nas report -->"  # by which a file is known to be one of ours
# Nothing may be fetched, sent or embedded, whatever the figures hold; WebGL traces compile their drawing commands (unsafe-eval).
_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; img-src data: blob:; font-src data:; "
    "base-uri 'none'; form-action 'none'"
)
_CONFIG = {
    "displaylogo": False, "responsive": True, "showSendToCloud": False, "modeBarButtonsToRemove": ["select2d", "lasso2d"]
}  # fmt: skip
_STYLE = """
:root { color-scheme: light dark; --ink: #1f2328; --dim: #59636e; --ground: #ffffff; --line: #d8dee4; --shade: #f4f6f8; }
@media screen and (prefers-color-scheme: dark) {
  :root { --ink: #e6edf3; --dim: #9aa4af; --ground: #0e1117; --line: #30363d; --shade: #171c24; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 76rem; background: var(--ground); color: var(--ink);
  font: 15px/1.5 system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
h1 { margin: 0; overflow-wrap: anywhere; } h2 { margin: 2.5rem 0 .5rem; font-size: 1.25rem; } h3 { margin: 1rem 0 0; font-size: 1rem; }
p { margin: .3rem 0; overflow-wrap: anywhere; } .dim { color: var(--dim); }
.numbers, .beside { display: flex; flex-wrap: wrap; gap: .75rem; margin: 1rem 0; }
.numbers > div { flex: 1 1 7rem; padding: .6rem .9rem; border: 1px solid var(--line); border-radius: .5rem; }
.numbers b { display: block; font-size: 1.4rem; font-weight: 600; } .beside > * { flex: 1 1 22rem; min-width: 0; }
figure { margin: .5rem 0; } .wide { overflow: auto; max-height: 32rem; border: 1px solid var(--line); border-radius: .5rem; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: .875rem; }
th, td { padding: .3rem .7rem; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--line); }
th { position: sticky; top: 0; background: var(--shade); font-weight: 600; }
td.words, th.words { text-align: left; } td.long { white-space: normal; min-width: 18rem; text-align: left; }
pre { overflow: auto; padding: .8rem; background: var(--shade); border-radius: .5rem; font-size: .8125rem; }
summary { cursor: pointer; }
@media print { .wide { max-height: none; overflow: visible; } section { break-inside: avoid; } }
"""
_SCRIPT = """
const places = [...document.querySelectorAll("figure > div")].map((place) => [place, JSON.parse(place.nextElementSibling.text)]);
function colours() {
  const style = getComputedStyle(document.body);
  const ink = style.color, ground = style.backgroundColor;
  return { "font.color": ink, "hoverlabel.bgcolor": ground, "hoverlabel.font.color": ink, "hoverlabel.bordercolor": ink };
}
for (const [place, { figure, config }] of places) {
  figure.layout.font = { family: getComputedStyle(document.body).fontFamily, size: 13, ...figure.layout.font };
  Plotly.newPlot(place, figure.data, figure.layout, config).then(() => Plotly.relayout(place, colours()));
}
for (const change of ["(prefers-color-scheme: dark)", "print"])
  matchMedia(change).addEventListener("change", () => places.forEach(([place]) => Plotly.relayout(place, colours())));
"""


@dataclass(frozen=True, slots=True)
class Section:
    """A heading, in plain words, with finished HTML below it."""

    title: str
    body: str


def escaped(text: object) -> str:
    """Text that a browser shows letter by letter."""
    return html.escape(str(text))


def paragraph(text: object, *, dim: bool = False) -> str:
    """Plain text as a paragraph."""
    return f'<p class="dim">{escaped(text)}</p>' if dim else f"<p>{escaped(text)}</p>"


def numbers(known: Mapping[str, str]) -> str:
    """A few numbers that sum something up, each below its name."""
    return f'<div class="numbers">{"".join(f"<div>{escaped(name)}<b>{escaped(value)}</b></div>" for name, value in known.items())}</div>'


def beside(parts: Iterable[str]) -> str:
    """Parts next to each other where there is room."""
    return f'<div class="beside">{"".join(f"<div>{part}</div>" for part in parts)}</div>'


def figure(drawn: go.Figure, *, alt: str) -> str:
    """A Plotly figure, which `alt` says in words; its own text must be escaped already, as in every chart."""
    told = {"figure": json.loads(plotly.io.to_json(drawn, validate=False)), "config": _CONFIG}
    height = drawn.layout.height or 430
    style = f"min-height:{height:g}px"
    return f'<figure role="img" aria-label="{escaped(alt)}"><div style="{style}"></div>{_json_script(told)}</figure>'


def table(frame: pd.DataFrame, *, words: Sequence[str] = (), long: Sequence[str] = ()) -> str:
    """A frame of texts and numbers that are ready to be shown; `words` stand to the left, `long` ones are wrapped."""
    kinds = {name: "long" if name in long else "words" if name in words else "" for name in frame}
    head = "".join(_cell("th", "words" if kinds[name] else "", name) for name in frame)
    lines = zip(*(frame[name] for name in frame), strict=True) if len(frame.columns) else ()
    rows = ("".join(_cell("td", kinds[name], value) for name, value in zip(frame, line, strict=True)) for line in lines)
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def details(title: str, value: Any) -> str:
    """A JSON value behind a line that opens it."""
    return f"<details><summary>{escaped(title)}</summary><pre>{escaped(json.dumps(value, indent=2, ensure_ascii=False))}</pre></details>"


def page(title: str, head: str, sections: Iterable[Section]) -> str:
    """The whole file: `head` is finished HTML above the sections."""
    body = "".join(f"<section><h2>{escaped(section.title)}</h2>{section.body}</section>" for section in sections)
    policy = f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
    size = '<meta name="viewport" content="width=device-width, initial-scale=1">'
    return (
        f'<!DOCTYPE html>\n{MARK}\n<html lang="en"><head><meta charset="utf-8">{policy}{size}<title>{escaped(title)}</title>'
        f"<style>{_STYLE}</style><script>{get_plotlyjs()}</script></head>\n<body><main>{head}{body}</main>"
        f"<script>{_SCRIPT}</script></body></html>\n"
    )


def _cell(tag: str, kind: str, value: object) -> str:
    return f"<{tag}{f' class={kind}' if kind else ''}>{escaped(value)}</{tag}>"


def _json_script(value: Any) -> str:
    """JSON that no text in it can leave: `</script>` and `<!--` need a `<`, of which there is none."""
    text = json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")
    return f'<script type="application/json">{text}</script>'
