"""What a first visit asks for, from memory and named early: Streamlit's page, the scripts of its elements, and Plotly's.

Streamlit opens a hundred files anew for every visit, and names Plotly's and those of most elements only when they are met. Here the page
itself names them, so that the browser reads them while it waits for others.
"""

import gzip
import re
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from dashboard.plotly_module import NAME, plotly_module

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]
Server = Callable[[Scope, Receive, Send], Awaitable[None]]

SCRIPT, FONT = "text/javascript; charset=utf-8", "font/woff2"
KINDS: Mapping[str, str] = {".js": SCRIPT, ".css": "text/css; charset=utf-8", ".woff2": FONT}
FOR_EVER = "public, immutable, max-age=31536000"  # such a file's name changes with what it holds
LOOPBACK = ("127.0.0.1", "::1")
FOLDER = "static/js"
ELEMENTS = ("BidiComponent", "Selectbox", "ButtonGroup", "Button", "Metric")  # of Streamlit, met on the way to the first figure
_IMPORTED = re.compile(r'(?:from|import)"\./([\w.-]+\.js)"')


@dataclass(frozen=True)
class Part:
    """A file as a browser gets it, read when it is first asked for."""

    read: Callable[[], bytes]
    kind: str
    kept: str = FOR_EVER

    @cached_property
    def body(self) -> bytes:
        """What the file holds."""
        return self.read()

    @cached_property
    def packed(self) -> bytes:
        """The same compressed."""
        return gzip.compress(self.body, compresslevel=6)


def parts_of(static: Path) -> dict[str, Part]:
    """The files of Streamlit's page by their address, Plotly's among them; `static` is the folder of its `index.html`."""
    files = [path for path in (static / "static").rglob("*") if path.suffix in KINDS]
    return {
        "": Part(lambda: page_of(static).encode(), "text/html; charset=utf-8", "no-cache"),
        NAME: Part(lambda: plotly_module().encode(), SCRIPT),
        **{path.relative_to(static).as_posix(): Part(path.read_bytes, KINDS[path.suffix]) for path in files},
    }


def page_of(static: Path) -> str:
    """Streamlit's page with Plotly's script before its own, and after them those that it would name later."""
    page = (static / "index.html").read_text(encoding="utf-8")
    plotly = f'<script type="module" async fetchpriority="high" src="./{NAME}"></script>\n    '
    later = "".join(f'  <link rel="modulepreload" crossorigin href="./{FOLDER}/{name}">\n  ' for name in _later(page, static / FOLDER))
    return page.replace('<script type="module"', f'{plotly}<script type="module"', 1).replace("</head>", f"{later}</head>", 1)


class Delivery:
    """ASGI middleware that answers with the `parts` below a `base`, and leaves all else to the `app` behind it."""

    def __init__(self, app: Server, *, parts: Mapping[str, Part], base: str = "") -> None:
        self.app = app
        self.parts = {f"{base.strip('/')}/{name}".lstrip("/"): part for name, part in parts.items()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        whole = scope["type"] == "http" and scope["method"] == "GET" and _header(scope, b"range") is None
        part = self.parts.get(scope["path"].removeprefix("/")) if whole else None
        if part is None:
            await self.app(scope, receive, send)
            return
        packed = _is_packed(scope, part)
        body = part.packed if packed else part.body
        headers = {"content-type": part.kind, "cache-control": part.kept, "vary": "accept-encoding", "content-length": str(len(body))}
        if packed:
            headers["content-encoding"] = "gzip"
        written = [(name.encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": 200, "headers": written})
        await send({"type": "http.response.body", "body": body})


def _later(page: str, folder: Path) -> list[str]:
    """The scripts of ELEMENTS, and what these import, that the page does not name."""
    wanted = [path.name for element in ELEMENTS for path in folder.glob(f"{element}.*.js")]
    named, found = set(re.findall(rf"{FOLDER}/([\w.-]+\.js)", page)), []
    while wanted:
        if (name := wanted.pop(0)) not in named:
            named.add(name)
            found.append(name)
            wanted += _IMPORTED.findall((folder / name).read_text(encoding="utf-8"))
    return found


def _is_packed(scope: Scope, part: Part) -> bool:
    """Whether to compress: for the same machine it takes longer than it saves, and of a font it saves nothing."""
    near = (scope.get("client") or ("",))[0] in LOOPBACK
    return not near and part.kind != FONT and b"gzip" in (_header(scope, b"accept-encoding") or b"")


def _header(scope: Scope, name: bytes) -> bytes | None:
    return next((value for key, value in scope["headers"] if key == name), None)
