import asyncio
import gzip
import re
from pathlib import Path
from typing import Any

import pytest
from streamlit.file_util import get_static_dir

from dashboard.delivery import ELEMENTS, Delivery, parts_of
from dashboard.plotly_module import NAME, plotly_module

STATIC = Path(get_static_dir())
PARTS = parts_of(STATIC)
BEHIND = b"the server behind"


def answer(path: str, *, base: str = "", client: str = "127.0.0.1", kind: str = "http", method: str = "GET", **headers: str) -> Any:
    """Headers and body of what comes back."""
    sent: list[Any] = []

    async def behind(scope: Any, receive: Any, send: Any) -> None:
        await send({"headers": []})
        await send({"body": BEHIND})

    async def send(message: Any) -> None:
        sent.append(message)

    written = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": kind, "method": method, "path": path, "headers": written, "client": (client, 1)}
    asyncio.run(Delivery(behind, parts=PARTS, base=base)(scope, None, send))  # type: ignore[arg-type]
    return {name.decode(): value.decode() for name, value in sent[0]["headers"]}, sent[1]["body"]


def scripts(page: str) -> list[str]:
    return re.findall(r'(?:src|href)="\./([^"]+\.js)"', page)


def test_the_page_names_plotlys_script_before_its_own_and_those_of_elements_after():
    page = answer("/")[1].decode()
    own = scripts((STATIC / "index.html").read_text(encoding="utf-8"))
    named = scripts(page)
    assert named[: 1 + len(own)] == [NAME, *own]
    later = named[1 + len(own) :]
    assert len(set(named)) == len(named)
    assert all(any(name.startswith(f"static/js/{element}.") for name in later) for element in ELEMENTS)


def test_a_script_named_early_comes_with_all_that_it_imports():
    named = set(scripts(answer("/")[1].decode()))
    for name in named - {NAME}:
        imported = re.findall(r'(?:from|import)"\./([\w.-]+\.js)"', (STATIC / name).read_text(encoding="utf-8"))
        assert {f"static/js/{each}" for each in imported} <= named


@pytest.mark.parametrize("suffix", [".js", ".css", ".woff2"])
def test_streamlits_files_come_as_they_are_and_need_not_be_asked_for_again(suffix):
    path = min((STATIC / "static").rglob(f"*{suffix}"))
    headers, body = answer(f"/{path.relative_to(STATIC).as_posix()}")
    assert body == path.read_bytes()
    assert "immutable" in headers["cache-control"]
    assert headers["content-length"] == str(len(body))
    assert "content-encoding" not in headers


def test_plotlys_script_comes_as_a_module_and_the_page_is_asked_for_every_time():
    assert answer(f"/{NAME}")[1].decode() == plotly_module()
    assert answer("/")[0]["cache-control"] == "no-cache"


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("/", {"method": "HEAD"}),
        ("/", {"method": "POST"}),
        (f"/{NAME}", {"range": "bytes=0-9"}),
        ("/_stcore/stream", {"kind": "websocket"}),
        ("/_stcore/health", {}),
        ("/static/js/../../index.html", {}),
        ("//", {}),
    ],
)
def test_all_else_goes_to_the_server_behind(path, asked):
    assert answer(path, **asked)[1] == BEHIND


def test_only_other_machines_get_scripts_compressed():
    headers, body = answer(f"/{NAME}", client="192.168.0.7", accept_encoding="gzip, br")
    assert headers["content-encoding"] == "gzip"
    assert gzip.decompress(body).decode() == plotly_module()
    font = min((STATIC / "static").rglob("*.woff2")).relative_to(STATIC).as_posix()
    for path, asked in {
        f"/{NAME}": {"client": "192.168.0.7"},
        "/": {"accept_encoding": "gzip"},
        f"/{font}": {"client": "192.168.0.7", "accept_encoding": "gzip"},
    }.items():
        assert "content-encoding" not in answer(path, **asked)[0]


def test_a_base_path_is_part_of_every_address():
    assert answer(f"/base/{NAME}", base="/base/")[1] == answer("/" + NAME)[1]
    assert answer("/base/", base="base")[1] == answer("/")[1]
    assert answer("/", base="base")[1] == BEHIND
