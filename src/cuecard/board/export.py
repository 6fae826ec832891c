"""The board as files: the same pages, for those who have no board.

Pages are asked of the application itself, from the list of runs on. Links lead from file to file;
what only a board can do, such as filters and forms, is left out.
"""

from __future__ import annotations

import asyncio
import html
import os
import re
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from starlette.types import ASGIApp, Message

from cuecard.board.app import STATIC, build_board
from cuecard.board.settings import BoardSettings
from cuecard.errors import ConfigError
from cuecard.plain_files import write_bytes, write_text

_LINK = re.compile(r'(?P<name>href|src)="(?P<to>[^"]*)"')
_PAGE = re.compile(r"/|/registry(/[a-z0-9][a-z0-9._-]*)?|/runs/[^/]+(/rows)?")
_STATIC = "/static/"
# What says which rows or runs are shown; with anything else in it an address is a board's alone.
_USUAL = {"sort": "changed", "order": "down", "show": "all"}
_ORDER = {"order": "file"}


def export_board(settings: BoardSettings, folder: Path) -> int:
    """Write the runs, their rows and the registry as files.

    Args:
        folder: it must be new or empty.

    Returns:
        How many pages were written.

    Raises:
        ConfigError: the folder holds something.
        FileError: it cannot be written.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(
            "the folder of the export holds something",
            where="--export",
            got=str(folder),
            expected="a new folder",
        )
    board = build_board(replace(settings, server=None, keys=None), exported=True)
    written: set[str] = set()
    waiting = ["/", "/registry"]
    while waiting:
        address = waiting.pop()
        file = _file_of(address)
        if file is None or file in written:
            continue
        written.add(file)
        status, body = asyncio.run(_get(board.app, address))
        if status == 200:
            text = body.decode("utf-8")
            waiting += [_absolute(html.unescape(m["to"]), address) for m in _LINK.finditer(text)]
            write_text(_linked(text, address, file), folder / file)
    for path in (*STATIC.glob("*.*"), *(STATIC / "vendor").iterdir()):
        if "htmx" not in path.name:
            write_bytes(path.read_bytes(), folder / "static" / path.name)
    return sum((folder / file).is_file() for file in written)


def _file_of(address: str) -> str | None:
    """The file of a page by its address; None for what is not written."""
    parts = urlsplit(address)
    if parts.scheme or parts.netloc or not _PAGE.fullmatch(parts.path):
        return None
    usual = _USUAL | (_ORDER if parts.path.endswith("/rows") else {})
    page = ""
    for name, value in parse_qsl(parts.query):
        if name == "page":
            page = "" if value == "1" else f"-{value}"
        elif value != usual.get(name, ""):
            return None
    return f"{unquote(parts.path).strip('/') or 'index'}{page}.html"


def _linked(text: str, address: str, file: str) -> str:
    """A page's HTML, its links from file to file."""
    here = Path(file).parent

    def link(found: re.Match[str]) -> str:
        to = html.unescape(found["to"])
        if to.startswith("#"):
            return found[0]
        target = _absolute(to, address)
        place = target[1:] if target.startswith(_STATIC) else _file_of(target)
        if place is None:
            return 'aria-disabled="true"'
        return f'{found["name"]}="{html.escape(Path(os.path.relpath(place, here)).as_posix())}"'

    return _LINK.sub(link, text)


def _absolute(to: str, address: str) -> str:
    return urlsplit(address).path + to if to.startswith("?") else to.partition("#")[0]


async def _get(app: ASGIApp, address: str) -> tuple[int, bytes]:
    """The status and the body of a page."""
    parts = urlsplit(address)
    status, body = 0, b""

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        nonlocal status, body
        status = message.get("status", status)
        body += message.get("body", b"")

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": unquote(parts.path),
        "raw_path": parts.path.encode(),
        "query_string": parts.query.encode(),
        "root_path": "",
        "headers": [(b"host", b"localhost"), (b"accept", b"text/html")],
        "client": None,
        "server": ("localhost", 80),
    }
    await app(scope, receive, send)
    return status, body
