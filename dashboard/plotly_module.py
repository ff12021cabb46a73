"""Plotly's installed script as a module, without the functions around it that a browser would read again and again."""

import re
from pathlib import Path

import plotly
from plotly.offline import get_plotlyjs_version

NAME = f"plotly-{get_plotlyjs_version()}.js"  # where the page finds it, from its own address
EDGE = 20_000  # characters at either end, in which the functions around the script begin and end

# The script is a function in a function. A browser skims such a one, then reads all of it when it is called; and once more for each of both
# when an exception is thrown within, of which Plotly provokes some as it begins, if developer tools look on. A module's top is read once.
_HEAD = re.compile(r'\A\s*(/\*.*?\*/)\s*\(\s*function\(root, factory\) \{.*?\(\) => \{\s*"use strict";\s*var Plotly=\(\(\)=>\{', re.DOTALL)
_END = re.compile(r"return ([\w$]+)\(\);\}\)\(\);")
_TAIL = re.compile(r"window\.Plotly = Plotly;\s*return Plotly;\s*\}\)\);\s*\Z")


def plotly_module() -> str:
    """The installed script as a module: its default export is Plotly, and so is `window.Plotly`."""
    return as_module((Path(plotly.__file__).parent / "package_data" / "plotly.min.js").read_text(encoding="utf-8"))


def as_module(script: str) -> str:
    """The script without the functions around it, or as a whole where it is built in another way."""
    last = max(0, len(script) - EDGE)
    head, tail, ends = _HEAD.match(script[:EDGE]), _TAIL.search(script, last), list(_END.finditer(script, last))
    if head is None or tail is None or not ends:
        return f"{script}\nexport default window.Plotly;\n"
    inside, notices = script[head.end() : ends[-1].start()], script[ends[-1].end() : tail.start()]
    return f"{head[1]}\n{inside}const Plotly={ends[-1][1]}();{notices}window.Plotly = Plotly;\nexport default Plotly;\n"
